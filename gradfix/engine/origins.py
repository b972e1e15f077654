"""Where a place of an edited text was in the text before. Each question takes logarithmic time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from gradfix.edits import Edit
from gradfix.source import Span


class Origins:
    """The way back through one edit set, which must be in order and free of overlaps."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self._starts: list[int] = []  # of what each edit put in, in the text after
        self._ends: list[int] = []
        self._grown: list[int] = []  # how much longer the text is by then
        self._replaced = [edit.span for edit in edits]
        grown = 0
        for edit in edits:
            start = edit.span.start + grown
            grown += len(edit.text) - len(edit.span)
            self._starts.append(start)
            self._ends.append(start + len(edit.text))
            self._grown.append(grown)

    def offset(self, offset: int) -> int | None:
        """Where `offset` was; None inside what an edit put in."""
        last = bisect_right(self._starts, offset) - 1
        if last < 0:
            return offset
        return None if offset < self._ends[last] else offset - self._grown[last]

    def replaced(self, offset: int) -> Span | None:
        """What stood in the text before where an edit put in the text at `offset`; None where no edit did."""
        last = bisect_right(self._starts, offset) - 1
        return self._replaced[last] if last >= 0 and offset < self._ends[last] else None

    def span(self, span: Span) -> Span | None:
        """Where `span` was; None when an edit put in some of it or took something out of it."""
        start = self.offset(span.start)
        last = max(span.start, span.end - 1)
        if start is None or bisect_right(self._starts, span.start) != bisect_right(self._starts, last):
            return None
        return Span(start, start + len(span))
