"""Pieces of the source with labelled places, in the way of rustc: a gutter with line numbers, and marks under the code.

Columns on the screen are not characters: tabs are widened, East Asian wide characters take two columns and combining
ones none (`unicodedata`), control characters are shown as their pictures, so that no file can send escape sequences.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradfix.report.paint import Paint
from gradfix.report.visible import picture
from gradfix.source import Source, Span

TAB = 4
WIDTH = 120  # longer lines are cut around their marks
_LEAD = 20  # columns kept left of the marks of a cut line


@dataclass(frozen=True, slots=True)
class Label:
    """A place to mark: the main one with `^`, others with `-`."""

    span: Span
    text: str
    primary: bool = False


@dataclass(frozen=True, slots=True)
class _Mark:
    line: int
    start: int  # columns on the screen
    end: int
    label: Label


def snippet(source: Source, labels: Sequence[Label], gutter: int, paint: Paint) -> Iterator[str]:
    """The lines of the labels in their order, each with its marks under it, one row a label.

    `gutter` is the number of columns for line numbers. One line between two labels is shown, more become `...`.
    """
    marks = sorted((_mark(source, label) for label in labels), key=lambda mark: (mark.line, mark.start, mark.end))
    bar = paint.frame(" " * gutter + " |")
    shown = 0
    yield bar
    for line in sorted({mark.line for mark in marks}):
        if shown and line == shown + 2:
            yield _code(source, shown + 1, (0, WIDTH), gutter, paint)
        elif shown and line > shown + 2:
            yield paint.frame("...")
        here = [mark for mark in marks if mark.line == line]
        window = _window(source, line, here)
        yield _code(source, line, window, gutter, paint)
        yield from (f"{bar} {_underline(source, mark, window, paint)}" for mark in here)
        shown = line


def gutter_width(lines: Sequence[int]) -> int:
    """How many columns the largest of these line numbers takes."""
    return len(str(max(lines)))


def numbered(number: int, sign: str, text: str, gutter: int, paint: Paint) -> str:
    """One line of a small diff: `sign` is `-` or `+`."""
    head = paint.frame(f"{number:>{gutter}}")
    shown = _shown(text)
    body = f"{sign} {shown if len(shown) <= WIDTH else shown[: WIDTH - 3] + '...'}".rstrip()
    return f"{head} {paint.added(body) if sign == '+' else paint.removed(body)}"


def _mark(source: Source, label: Label) -> _Mark:
    """A span over several lines is marked on its first line with text."""
    at = source.position(label.span.start)
    whole = source.line_span(at.line)
    text = whole.text(source.text)
    end = min(label.span.end, whole.end) - whole.start
    start_column = _columns(text[: at.column])
    return _Mark(at.line, start_column, max(start_column + 1, _columns(text[:end].rstrip())), label)


def _underline(source: Source, mark: _Mark, window: tuple[int, int], paint: Paint) -> str:
    start, end = max(mark.start, window[0]) - window[0], min(mark.end, window[1]) - window[0]
    cut = 3 if window[0] else 0
    text = mark.label.text
    if source.position(max(mark.label.span.start, mark.label.span.end - 1)).line > mark.line:
        text = f"{text} (to line {source.position(mark.label.span.end - 1).line})".strip()
    marks = ("^" if mark.label.primary else "-") * (end - start)
    tail = f"{marks} {_shown(text)}".rstrip()
    return " " * (start + cut) + (paint.bold(tail) if mark.label.primary else paint.frame(tail))


def _code(source: Source, line: int, window: tuple[int, int], gutter: int, paint: Paint) -> str:
    shown = _cut(_shown(source.line_text(line)), window)
    return f"{paint.frame(f'{line:>{gutter}} |')} {shown}".rstrip()


def _window(source: Source, line: int, marks: Sequence[_Mark]) -> tuple[int, int]:
    """The columns of a line that are shown: all of a short line, else from a little before the first mark."""
    if _columns(source.line_text(line)) <= WIDTH:
        return 0, WIDTH
    first = max(0, min(mark.start for mark in marks) - _LEAD)
    return first, first + WIDTH


def _cut(shown: str, window: tuple[int, int]) -> str:
    kept: list[str] = []
    column = 0
    for character in shown:
        if window[0] <= column < window[1]:
            kept.append(character)
        column += _width(character)
    return ("..." if window[0] else "") + "".join(kept) + ("..." if column > window[1] else "")


def _shown(text: str) -> str:
    """`text` as it may go to a terminal: tabs to the next stop, control characters as pictures."""
    if text.isprintable():
        return text
    pieces: list[str] = []
    column = 0
    for character in text:
        piece = " " * (TAB - column % TAB) if character == "\t" else picture(character)
        pieces.append(piece)
        column += sum(map(_width, piece))
    return "".join(pieces)


def _columns(text: str) -> int:
    shown = _shown(text)
    return len(shown) if shown.isascii() else sum(map(_width, shown))


def _width(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
