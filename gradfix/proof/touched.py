"""Which lines two versions of one text have different, told by the edits that made them."""

from __future__ import annotations

from collections.abc import Sequence

from gradfix import edits as edit_sets
from gradfix.edits import Edit
from gradfix.source import Source, Span


def touched(source: Source, one: Sequence[Edit], other: Sequence[Edit]) -> tuple[frozenset[int], frozenset[int]]:
    """The lines (from 1) of both versions that differ, where edits of only one of them are.

    All others correspond: they are as many in both versions, and the same in their order.
    """
    versions = [_version(source, edits) for edits in (one, other)]
    regions: list[tuple[range, range]] = []
    for span in sorted({edit.span for edit in set(one) ^ set(other)}):
        left, right = (_whole_lines(version, *_moved(edits, span)) for version, edits in versions)
        if regions and (left.start < regions[-1][0].stop or right.start < regions[-1][1].stop):
            last = regions.pop()
            left, right = _spanning(last[0], left), _spanning(last[1], right)
        regions.append((left, right))
    differing = [_without_equal_ends(versions[0][0], left, versions[1][0], right) for left, right in regions]
    return frozenset().union(*(left for left, _ in differing)), frozenset().union(*(right for _, right in differing))


def _version(source: Source, edits: Sequence[Edit]) -> tuple[Source, Sequence[Edit]]:
    ordered = edit_sets.normalise(edits)
    return Source.from_text(source.path, edit_sets.apply(source.text, ordered)), ordered


def _whole_lines(version: Source, start: int, end: int) -> range:
    return range(version.position(start).line, version.position(end).line + 1)


def _spanning(one: range, other: range) -> range:
    return range(min(one.start, other.start), max(one.stop, other.stop))


def _without_equal_ends(one: Source, ours: range, other: Source, theirs: range) -> tuple[range, range]:
    """Both ranges of lines without the equal lines that they begin and end with."""
    head, most = 0, min(len(ours), len(theirs))
    while head < most and one.line_text(ours[head]) == other.line_text(theirs[head]):
        head += 1
    tail, most = 0, most - head
    while tail < most and one.line_text(ours[-1 - tail]) == other.line_text(theirs[-1 - tail]):
        tail += 1
    return ours[head : len(ours) - tail], theirs[head : len(theirs) - tail]


def lines_of(source: Source, edits: Sequence[Edit], spans: Sequence[Span]) -> frozenset[int]:
    """The lines (from 1) where `spans` of the source stand after the edits."""
    version, ordered = _version(source, edits)
    lines: set[int] = set()
    for span in spans:
        start, end = _moved(ordered, span)
        if start < end:
            lines.update(range(version.position(start).line, version.position(end - 1).line + 1))
    return frozenset(lines)


def places_of(source: Source, edits: Sequence[Edit], spans: Sequence[Span]) -> tuple[tuple[int, int, int, int], ...]:
    """Line and column of both ends, columns in bytes of UTF-8, of those `spans` of the source that the edits leave."""
    version, ordered = _version(source, edits)
    moved = [_moved(ordered, span) for span in spans if not any(e.span.overlaps(span) for e in ordered)]
    ends = [[(version.position(at).line, version.utf8_column(at)) for at in one] for one in moved]
    return tuple(dict.fromkeys((*start, *end) for start, end in ends))


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
