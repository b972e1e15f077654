"""Which lines a fix takes away and which it puts there, straight from its edits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gradfix import edits as edit_sets
from gradfix.edits import Edit
from gradfix.source import Source, Span

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Change:
    """Lines `first`, `first + 1`, … of the old text (from 1), without their newlines, and what stands there instead."""

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]


def changes(source: Source, edits: Iterable[Edit]) -> Iterator[Change]:
    """The changed pieces in order; edits in the same or in touching lines are one piece."""
    group: list[Edit] = []
    bounds = (0, 0)
    for edit in edit_sets.normalise(edit_sets.trim(source.text, edit) for edit in edits):
        first, last = source.position(edit.span.start).line, source.position(edit.span.end).line
        if group and first > bounds[1]:
            yield from _change(source, bounds, group)
            group = []
        bounds = (bounds[0], max(bounds[1], last)) if group else (first, last)
        group.append(edit)
    if group:
        yield from _change(source, bounds, group)


def _change(source: Source, bounds: tuple[int, int], group: list[Edit]) -> Iterator[Change]:
    start = source.line_span(bounds[0]).start
    end = source.line_span(bounds[1]).end + len(source.newline_at(bounds[1]))
    moved = [Edit(Span(edit.span.start - start, edit.span.end - start), edit.text) for edit in group]
    old = _LINE.findall(source.text[start:end])
    new = _LINE.findall(edit_sets.apply(source.text[start:end], moved))
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    kept_old, kept_new = old[head : len(old) - tail], new[head : len(new) - tail]
    if kept_old or kept_new:
        yield Change(bounds[0] + head, _bare(kept_old), _bare(kept_new))


def _common(a: list[str], b: list[str]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _bare(lines: list[str]) -> tuple[str, ...]:
    return tuple(line.rstrip("\r\n") for line in lines)
