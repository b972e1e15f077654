"""Comments that silence findings.

    # noqa                              everything, on these lines; as other linters read it
    # noqa: GF101, E501                 these codes
    # gradfix: ignore                   everything of gradfix
    # gradfix: ignore[GF101, masked-assignment]
    # gradfix: file-ignore[GF2]         the same for the whole file, wherever it stands

A comment counts for all lines of the statement it stands in or behind, and for no other. Entries are names of codemods,
codes, or what codes begin with. A list that can't be read (`# noqa: why not`, `ignore[GF101`) silences nothing.
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from gradfix.findings import Finding
from gradfix.source import Source, Span


@dataclass(frozen=True, slots=True)
class Suppression:
    """One comment that silences something."""

    span: Span  # of the text that does it, from the `#` on
    first_line: int
    last_line: int
    entries: tuple[str, ...] | None  # none: everything
    shared: bool  # a `noqa`, which other tools read too

    def names(self, code: str, name: str) -> bool:
        """Whether findings of this code and name are meant."""
        return self.entries is None or any(_means(entry, code, name) for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Suppressions:
    """The suppressions of one source, in the order of the text."""

    source: Source = field(repr=False)
    comments: tuple[Suppression, ...]

    def covers(self, code: str, name: str, span: Span) -> bool:
        """Whether a finding with this code and codemod name at `span` is silenced."""
        return self.over(code, name, span) is not None

    def over(self, code: str, name: str, span: Span) -> Suppression | None:
        """The comment that silences it, the first of several."""
        return next(self._of(code, name, span), None)

    def unused(
        self, found: Iterable[tuple[str, str, Span]], codes: Collection[str]
    ) -> tuple[tuple[Suppression, tuple[str, ...]], ...]:
        """The comments that silence nothing, each with its entries that don't; no entries when it has no list.

        `found` are code, name and span of all findings before any was silenced; `codes` those of the codemods that
        ran. Of a `noqa` only entries that mean some of `codes` are judged: the others are for other tools.
        """
        used: dict[Suppression, set[str]] = {}
        for code, name, span in found:
            for comment in self._of(code, name, span):
                means = (entry for entry in comment.entries or () if _means(entry, code, name))
                used.setdefault(comment, set()).update(means)
        unused = ((comment, _idle(comment, used.get(comment), codes)) for comment in self.comments)
        return tuple((comment, entries) for comment, entries in unused if entries is not None)

    def _of(self, code: str, name: str, span: Span) -> Iterator[Suppression]:
        if not self.comments:
            return
        first = self.source.position(span.start).line
        last = self.source.position(max(span.start, span.end - 1)).line
        for comment in self.comments:
            if comment.first_line <= last and first <= comment.last_line and comment.names(code, name):
                yield comment


@dataclass(frozen=True, slots=True)
class Unreported:
    """A finding that nobody is told of: a comment silences it, or else it is less severe than what was asked for."""

    source: Source = field(repr=False)
    finding: Finding
    comment: Suppression | None


def suppressions(source: Source) -> Suppressions:
    """The comments of `source` that silence findings; text in strings doesn't count.

    A text that mentions none costs a search, any other is tokenised (twice the cost of parsing it): ask when there are
    findings. Where the tokeniser gives up, the comments up to there count.
    """
    lowered = source.text.lower()
    if "noqa" not in lowered and "gradfix:" not in lowered:
        return Suppressions(source, ())
    return Suppressions(source, tuple(_found(source)))


_CODE = r"[A-Za-z]+[0-9]+"
_NOQA = re.compile(rf"#\s*noqa(?![\w-])(?P<colon>\s*:\s*(?P<entries>{_CODE}(?:\s*[,\s]\s*{_CODE})*)?)?", re.IGNORECASE)
_IGNORE = re.compile(r"#\s*gradfix:\s*(?P<file>file-)?ignore(?:\s*\[(?P<entries>[^\[\]#]*)\])?(?![\w-]|\s*\[)")
_LAYOUT = {tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def _found(source: Source) -> Iterator[Suppression]:
    for offset, comment, first, last in _comments(source):
        for match in _NOQA.finditer(comment):
            if match["entries"] or not match["colon"]:
                yield Suppression(_span(offset, match), first, last, _entries(match), shared=True)
        for match in _IGNORE.finditer(comment):
            lines = (1, source.line_count) if match["file"] else (first, last)
            yield Suppression(_span(offset, match), *lines, _entries(match), shared=False)


def _comments(source: Source) -> Iterator[tuple[int, str, int, int]]:
    """Each comment with its offset, and the first and last line of the statement it belongs to."""
    lines = (source.line_text(line) + "\n" for line in range(1, source.line_count + 1))
    first = None
    waiting: list[tuple[int, str]] = []
    try:
        for token in tokenize.generate_tokens(lambda: next(lines, "")):
            if token.type == tokenize.COMMENT:
                comment = source.line_span(token.start[0]).start + token.start[1], token.string
                if first is None:
                    yield *comment, token.start[0], token.start[0]
                else:
                    waiting.append(comment)
            elif token.type == tokenize.NEWLINE and first is not None:
                yield from ((*comment, first, token.start[0]) for comment in waiting)
                first, waiting = None, []
            elif first is None and token.type not in _LAYOUT:
                first = token.start[0]
    except (tokenize.TokenError, SyntaxError):
        yield from ((*comment, first or 1, source.line_count) for comment in waiting)


def _span(offset: int, match: re.Match[str]) -> Span:
    return Span(offset + match.start(), offset + match.end())


def _entries(match: re.Match[str]) -> tuple[str, ...] | None:
    return None if match["entries"] is None else tuple(re.findall(r"[^\s,]+", match["entries"]))


def _means(entry: str, code: str, name: str) -> bool:
    return entry == name or code.upper().startswith(entry.upper())


def _idle(comment: Suppression, used: set[str] | None, codes: Collection[str]) -> tuple[str, ...] | None:
    """The entries that did nothing; none when there is nothing to complain of."""
    if comment.entries is None:
        return () if used is None and not comment.shared else None
    idle = [entry for entry in comment.entries if entry not in (used or ())]
    if comment.shared:
        idle = [entry for entry in idle if any(_means(entry, code, "") for code in codes)]
    return tuple(idle) if idle or not comment.entries else None
