"""What the fixes of one pass have taken in a text, places and names: others that want those must see what they made."""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence

from gradfix.edits import Edit
from gradfix.source import Source, Span

_NAME = re.compile(r"[^\W\d]\w*")


class Taken:
    """The places that edits have taken in a text. Two insertions at one place take it both (an import, say)."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def collides(self, edits: Iterable[Edit]) -> bool:
        """Whether one of `edits` overlaps a taken place, or inserts where something is inserted already."""
        return any(self._hit(edit.span) for edit in edits)

    def take(self, edits: Iterable[Edit]) -> None:
        """Take the places of `edits`, which collide with none."""
        for edit in edits:
            insort(self._spans, edit.span)

    def _hit(self, span: Span) -> bool:
        at = bisect_right(self._spans, span)
        near = self._spans[max(0, at - 2) : at + 2]  # an insertion may lie between a span and its neighbour
        return any(span.overlaps(other) or (not len(span) and span == other) for other in near)


class Spoken:
    """The names that edits put somewhere, and those that they give up for others."""

    def __init__(self) -> None:
        self._put: set[str] = set()
        self._given_up: set[str] = set()

    def collides(self, source: Source, edits: Sequence[Edit]) -> bool:
        """Whether one side renames what the other puts somewhere under its old name."""
        put, given_up = _names(source, edits)
        return not (self._given_up.isdisjoint(put) and self._put.isdisjoint(given_up))

    def take(self, source: Source, edits: Sequence[Edit]) -> None:
        """Remember the names of `edits`."""
        put, given_up = _names(source, edits)
        self._put |= put
        self._given_up |= given_up


def _names(source: Source, edits: Sequence[Edit]) -> tuple[frozenset[str], frozenset[str]]:
    """The names that edits put, and those that they replace by another name."""
    renamed = frozenset(
        name for e in edits if e.text.isidentifier() and (name := e.span.text(source.text)).isidentifier()
    )
    put = frozenset(name for edit in edits for name in _NAME.findall(edit.text))
    return put - renamed, renamed
