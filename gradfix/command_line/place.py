"""A place as editors name it, `FILE:LINE[:COL]`, and which findings it is in."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gradfix.errors import UsageError
from gradfix.findings import Finding
from gradfix.source import Source, Span

_PLACE = re.compile(r"(?P<path>.+?):(?P<line>\d+)(?::(?P<column>\d+))?", re.DOTALL)
_HELP = "expected FILE:LINE or FILE:LINE:COL, both counted from 1"


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column count from 1, as compilers print them; a column counts characters."""

    path: str  # "-" for stdin
    line: int
    column: int | None = None
    stdin_filename: str | None = None


def place_of(given: Sequence[str], stdin_filename: str | None) -> Place:
    """The place of `FILE:LINE[:COL]`; for stdin `-:LINE`, `FILE:LINE -`, or `-` with a place as `stdin_filename`.

    Colons and drive letters in names are fine. Raises `UsageError` for anything else.
    """
    names = [name for name in given if name != "-"]
    stdin = len(names) < len(given)
    if not names and stdin_filename is not None:
        place = _parsed(stdin_filename)
        return Place("-", place.line, place.column, place.path)
    if len(names) != 1:
        raise UsageError(_HELP)
    place = _parsed(names[0])
    if place.path == "-":
        return Place("-", place.line, place.column, stdin_filename)
    if stdin:
        return Place("-", place.line, place.column, stdin_filename or place.path)
    return place


def covers(place: Place, source: Source, finding: Finding) -> bool:
    """Whether the place lies in the finding or in the write it is about; a line covers all that touches it."""
    spans = [finding.span]
    if finding.hazard is not None:
        spans.append(finding.hazard.write.span)
    return any(_covers(place, source, span) for span in spans)


def _covers(place: Place, source: Source, span: Span) -> bool:
    start, end = source.position(span.start), source.position(span.end)
    if not start.line <= place.line <= end.line:
        return False
    if place.column is None:
        return True
    column = place.column - 1
    return (place.line > start.line or column >= start.column) and (place.line < end.line or column <= end.column)


def _parsed(text: str) -> Place:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} names no place: {_HELP}")
    path, line, column = match["path"], int(match["line"]), match["column"]
    if column is not None and not os.path.exists(path) and os.path.exists(f"{path}:{line}"):
        path, line, column = f"{path}:{line}", int(column), None  # a name that ends in a number
    if line < 1 or (column is not None and int(column) < 1):
        raise UsageError(f"{text!r}: lines and columns count from 1")
    return Place(path, line, None if column is None else int(column))
