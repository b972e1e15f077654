"""Which lines two versions of one text have different, told by the edits that made them."""

from __future__ import annotations

from collections.abc import Sequence

from gradfix import edits as edit_sets
from gradfix.edits import Edit
from gradfix.source import Source, Span


def touched(source: Source, one: Sequence[Edit], other: Sequence[Edit]) -> tuple[frozenset[int], frozenset[int]]:
    """The lines (from 1) of both versions that edits of only one of them reach.

    A version that has nothing where the other has something has no lines there.
    """
    spans = sorted({edit.span for edit in set(one) ^ set(other)})
    return lines_of(source, one, spans), lines_of(source, other, spans)


def lines_of(source: Source, edits: Sequence[Edit], spans: Sequence[Span]) -> frozenset[int]:
    """The lines (from 1) where `spans` of the source stand after the edits."""
    ordered = edit_sets.normalise(edits)
    version = Source.from_text(source.path, edit_sets.apply(source.text, ordered))
    lines: set[int] = set()
    for span in spans:
        start, end = _moved(ordered, span)
        if start < end:
            lines.update(range(version.position(start).line, version.position(end - 1).line + 1))
    return frozenset(lines)


def _moved(ordered: Sequence[Edit], span: Span) -> tuple[int, int]:
    """Where `span`, with what the edits in it or at it put there, stands after all of them."""
    before = [edit for edit in ordered if edit.span.end <= span.start and not _at(edit, span)]
    inside = [edit for edit in ordered if edit not in before and (edit.span.overlaps(span) or _at(edit, span))]
    start = min([span.start, *(edit.span.start for edit in inside)])
    end = max([span.end, *(edit.span.end for edit in inside)])
    shift = sum(map(_growth, before))
    return start + shift, end + shift + sum(map(_growth, inside))


def _at(edit: Edit, span: Span) -> bool:
    """An insertion at the start of `span`, or what stands at the place that `span` is."""
    return edit.span == span or (not len(edit.span) and edit.span.start == span.start)


def _growth(edit: Edit) -> int:
    return len(edit.text) - len(edit.span)
