"""Unified diffs made from edits, with no diff algorithm: the edits say what changed.

The lines of a patch end in `\\n` and nothing else, as `git apply` and `patch` read them; a `\\r` belongs to its line.
`unidiff` is imported when a patch is made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from gradfix.edits import Edit, splice, trim, within
from gradfix.source import Source, Span

if TYPE_CHECKING:
    from unidiff.patch import Hunk, Line, PatchedFile


def patch_of(source: Source, edits: Iterable[Edit], path: str | None = None, context: int = 3) -> PatchedFile:
    """The patch that makes `edits` in the file of `source`; it has no hunks when they change nothing.

    `path` names the file from where the patch will be applied (default: `source.path`); a root or drive is left out.
    Changes at most `2 * context` lines apart share a hunk. Raises `EditError` as `edits.apply`.
    """
    from unidiff.patch import PatchedFile

    text, ordered = source.text, within(source.text, edits)
    if source.bom:  # to the tools that apply the patch the mark is the first character of the first line
        text, ordered = "\ufeff" + text, tuple(_moved(edit, 1) for edit in ordered)
    name = _posix(source.path if path is None else path)
    patched = PatchedFile(source=_quoted(f"a/{name}"), target=_quoted(f"b/{name}"))
    patched.extend(_hunks(text, list(_changes(text, ordered)), context))
    return patched


def render(patches: Iterable[PatchedFile]) -> str:
    """The text of one patch over several files, those without hunks left out."""
    return "".join(_header(patch) + "".join(map(str, patch)) for patch in patches if patch)


def encode(source: Source, patch: PatchedFile) -> bytes:
    """The patch of one file as bytes: its lines in the encoding of the file, as `git apply` and `patch` compare them.

    Raises `FileProblem` when the new lines have characters the encoding lacks.
    """
    if not patch:
        return b""
    plain = Source(source.path, source.text, source.encoding, bom=False)  # the mark stands in the first line already
    lines = _lines("".join(map(str, patch)))
    return _header(patch).encode() + b"".join(_encoded(plain, line[0], line[1:]) for line in lines)


def _encoded(source: Source, mark: str, rest: str) -> bytes:
    """One line of a hunk: what marks it is ASCII in every file, and UTF-7, for one, spells a `+` otherwise."""
    return mark.encode() + (source.encode(rest) if mark in " +-" else rest.encode())


@dataclass(frozen=True, slots=True)
class _Change:
    """Whole lines put in place of whole lines."""

    start: int  # offset of the first old line
    end: int
    line: int  # how many lines stand before it in the old text
    old: Sequence[str]
    new: Sequence[str]

    @property
    def after(self) -> int:
        """How many lines stand before what follows it in the old text."""
        return self.line + len(self.old)


def _changes(text: str, ordered: Sequence[Edit]) -> Iterator[_Change]:
    """The changes in order, at least one unchanged line between two of them."""
    edits = [edit for edit in (trim(text, edit) for edit in ordered) if len(edit.span) or edit.text]
    line = counted = first = 0
    while first < len(edits):
        start = _line_start(text, edits[first].span.start)
        stop, end = _block(text, edits, first, start)
        line += text.count("\n", counted, start)
        counted = start
        change = _change(text, splice(text, edits[first:stop], start, end), start, end, line)
        if change.old or change.new:
            yield change
        first = stop


def _change(text: str, new_text: str, start: int, end: int, line: int) -> _Change:
    """`new_text` in place of the lines from `start` to `end`, without the lines that stay the same at both ends."""
    old, new = _lines(text[start:end]), _lines(new_text)
    head = _equal(old, new)
    tail = _equal(old[head:][::-1], new[head:][::-1])
    start += sum(map(len, old[:head]))
    end -= sum(map(len, old[len(old) - tail :]))
    return _Change(start, end, line + head, old[head : len(old) - tail], new[head : len(new) - tail])


def _block(text: str, edits: Sequence[Edit], first: int, start: int) -> tuple[int, int]:
    """Which edits, up to which one, change the lines from `start` to which offset, so that whole lines stay whole."""
    stop, end = first, start
    while True:
        while stop < len(edits) and _line_start(text, edits[stop].span.start) <= end:
            end = max(end, _line_end(text, edits[stop].span.end))
            stop += 1
        if end == len(text) or _ends_a_line(text, edits, first, stop, end):
            return stop, end
        end = _line_end(text, end + 1)


def _ends_a_line(text: str, edits: Sequence[Edit], first: int, stop: int, end: int) -> bool:
    """Whether the new text of a block of edits is empty or ends in a newline."""
    for index in range(stop - 1, first - 1, -1):
        edit = edits[index]
        if edit.span.end < end:
            break
        if edit.text:
            return edit.text.endswith("\n")
        end = edit.span.start
    return end == 0 or text[end - 1] == "\n"


def _hunks(text: str, changes: Sequence[_Change], context: int) -> Iterator[Hunk]:
    grown = 0  # how many lines longer the new text is than the old, up to here
    first = 0
    while first < len(changes):
        stop = first + 1
        while stop < len(changes) and changes[stop].line - changes[stop - 1].after <= 2 * context:
            stop += 1
        yield _hunk(text, changes[first:stop], context, grown)
        grown += _growth(changes[first:stop])
        first = stop


def _hunk(text: str, changes: Sequence[_Change], context: int, grown: int) -> Hunk:
    """One hunk of `changes`; `grown` counts the lines added less those removed before it."""
    from unidiff.patch import Hunk

    before, after = _lines_before(text, changes[0].start, context), _lines_after(text, changes[-1].end, context)
    line = changes[0].line - len(before)
    removed = changes[-1].after + len(after) - line
    added = removed + _growth(changes)
    marked = [(" ", value) for value in before]
    end = changes[0].start
    for change in changes:
        marked += [(" ", value) for value in _lines(text[end : change.start])]
        marked += [("-", value) for value in change.old]
        marked += [("+", value) for value in change.new]
        end = change.end
    marked += [(" ", value) for value in after]
    hunk = Hunk(line + bool(removed), removed, line + grown + bool(added), added)
    hunk.extend(_numbered(marked, line, line + grown))
    return hunk


def _numbered(marked: Iterable[tuple[str, str]], old_line: int, new_line: int) -> Iterator[Line]:
    """The lines of a hunk, each with its numbers in the old and the new file."""
    from unidiff.constants import LINE_TYPE_NO_NEWLINE, LINE_VALUE_NO_NEWLINE
    from unidiff.patch import Line

    for kind, value in marked:
        old_line += kind != "+"
        new_line += kind != "-"
        whole = value if value.endswith("\n") else value + "\n"
        yield Line(whole, kind, old_line if kind != "+" else None, new_line if kind != "-" else None)
        if whole is not value:
            yield Line(LINE_VALUE_NO_NEWLINE + "\n", LINE_TYPE_NO_NEWLINE)


def _growth(changes: Iterable[_Change]) -> int:
    """How many lines longer the changes make the text."""
    return sum(len(change.new) - len(change.old) for change in changes)


def _moved(edit: Edit, by: int) -> Edit:
    return Edit(Span(edit.span.start + by, edit.span.end + by), edit.text)


def _line_start(text: str, offset: int) -> int:
    return text.rfind("\n", 0, offset) + 1


def _line_end(text: str, offset: int) -> int:
    """Where the line that ends at or after `offset` ends, its newline included."""
    if offset == 0 or text[offset - 1 : offset] == "\n":
        return offset
    newline = text.find("\n", offset)
    return len(text) if newline < 0 else newline + 1


def _lines(text: str) -> list[str]:
    """With their newlines; `str.splitlines` would split at form feeds and more."""
    pieces = text.split("\n")
    lines = [piece + "\n" for piece in pieces[:-1]]
    return [*lines, pieces[-1]] if pieces[-1] else lines


def _lines_before(text: str, offset: int, count: int) -> list[str]:
    start = offset
    for _ in range(count):
        start = _line_start(text, max(start - 1, 0))
    return _lines(text[start:offset])


def _lines_after(text: str, offset: int, count: int) -> list[str]:
    end = offset
    for _ in range(count):
        end = min(len(text), _line_end(text, end + 1))
    return _lines(text[offset:end])


def _equal(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines at the start are the same."""
    for count, (before, after) in enumerate(zip(old, new, strict=False)):
        if before != after:
            return count
    return min(len(old), len(new))


def _posix(path: str) -> str:
    pure = PurePath(path)
    return PurePath(*pure.parts[1:]).as_posix() if pure.anchor else pure.as_posix()


_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
_ODD = re.compile(r'[\x00-\x1f\x7f"\\\ud800-\udfff]')


def _quoted(name: str) -> str:
    """As git does with `core.quotePath=false`: in C's way when the name has control characters, `"` or a backslash."""
    if not _ODD.search(name):
        return name
    return '"' + _ODD.sub(lambda match: _escaped(match.group()), name) + '"'


def _escaped(character: str) -> str:
    return "".join("\\" + _ESCAPES.get(byte, f"{byte:03o}") for byte in os.fsencode(character))


def _header(patch: PatchedFile) -> str:
    return "".join(
        f"{mark} {name}\t\n" if " " in name else f"{mark} {name}\n"  # the tab says where a name with spaces ends
        for mark, name in (("---", patch.source_file), ("+++", patch.target_file))
    )
