"""Where a simple statement stands in its text, and how several statements are put in its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gradfix.edits import Edit
from gradfix.source import Source, Span

_ONLY_SPACE = re.compile(r"[ \t\f]*\Z")
_ONLY_COMMENT = re.compile(r"[ \t\f]*(#.*)?\Z")
_CONTINUED = re.compile(r"\\(\r\n|\r|\n)\Z")


@dataclass(frozen=True, slots=True)
class Site:
    """A statement of the source, without its indentation, its trailing comment or its neighbours after `;`."""

    span: Span
    text: str
    separator: str  # what goes between statements put here: a newline with the indentation, or "; "

    @property
    def is_alone(self) -> bool:
        """Whether nothing else stands on its lines, so that statements on lines of their own can take its place."""
        return self.separator != "; "


def site_of(source: Source, statement: ast.stmt) -> Site:
    """The place of `statement`."""
    span = source.span_of(statement)
    first = source.position(span.start)
    before = source.line_text(first.line)[: first.column]
    last = source.line_span(source.position(span.end).line)
    after = source.text[span.end : last.end]
    begins = Span(0, span.start - first.column).text(source.text)
    alone = _ONLY_SPACE.match(before) and _ONLY_COMMENT.match(after) and not _CONTINUED.search(begins)
    newline = source.newline_at(first.line) or source.newline
    separator = newline + before.replace("\f", "") if alone else "; "
    return Site(span, span.text(source.text), separator)


def replace(site: Site, statements: Sequence[str]) -> tuple[Edit, ...]:
    """Edits that put `statements` in the place of the one at `site`; a trailing comment stays behind the last."""
    return (Edit(site.span, site.separator.join(statements)),)


def removed(source: Source, statement: ast.stmt) -> Edit | None:
    """The edit that takes the lines of `statement` away; None where something else stands on them."""
    span = source.span_of(statement)
    first, last = source.position(span.start).line, source.position(span.end).line
    start, end = source.line_span(first).start, source.line_span(last).end
    if (source.text[start : span.start] + source.text[span.end : end]).strip():
        return None
    return Edit(Span(start, end + len(source.newline_at(last))), "")


def prepend(site: Site, statements: Sequence[str]) -> tuple[Edit, ...]:
    """Edits that put `statements` before the one at `site`, which isn't touched."""
    text = "".join(statement + site.separator for statement in statements)
    return (Edit(Span(site.span.start, site.span.start), text),)
