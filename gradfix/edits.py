"""Edits: what to put where. Plain values over a text; nothing here knows Python.

An edit set is a sequence of edits of one text. Two edits overlap when they share a character, or when one inserts
strictly inside the other. Insertions at the same offset are put one after the other in the order given; an insertion
at the start of a replacement comes before its text, one at the end after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gradfix.errors import EditError
from gradfix.source import Span


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Put `text` in place of the characters of `span`; an empty span inserts."""

    span: Span
    text: str


def normalise(edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Sorted by place, without edits that insert nothing nowhere. Raises `EditError` when two overlap."""
    ordered = sorted((edit for edit in edits if edit.span.start < edit.span.end or edit.text), key=_place)
    for before, after in pairwise(ordered):
        if before.span.end > after.span.start:
            raise EditError(f"edits overlap: {_where(before)} and {_where(after)}")
    return tuple(ordered)


def within(text: str, edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """As `normalise`; raises `EditError` as well when an edit lies outside `text`."""
    ordered = normalise(edits)
    if ordered and ordered[-1].span.end > len(text):
        raise EditError(f"edit {_where(ordered[-1])} lies outside the text, which ends at {len(text)}")
    return ordered


def apply(text: str, edits: Iterable[Edit]) -> str:
    """`text` with all `edits` made at once. Raises `EditError` when they overlap or lie outside `text`."""
    return splice(text, within(text, edits), 0, len(text))


def splice(text: str, edits: Sequence[Edit], start: int, end: int) -> str:
    """What `text[start:end]` becomes by `edits`, which are in order, don't overlap and lie all inside that piece."""
    pieces: list[str] = []
    for edit in edits:
        pieces += (text[start : edit.span.start], edit.text)
        start = edit.span.end
    pieces.append(text[start:end])
    return "".join(pieces)


def compose(text: str, first: Iterable[Edit], second: Iterable[Edit]) -> tuple[Edit, ...]:
    """One edit set of `text` that does `first`, then `second`, which is expressed on `apply(text, first)`.

    Edits of both that overlap become one; what changes nothing in the end is left out. Raises `EditError` as `apply`.
    """
    earlier = within(text, first)
    middle = splice(text, earlier, 0, len(text))
    later = within(middle, second)
    return tuple(edit for edit in _composed(middle, earlier, later) if edit.span.text(text) != edit.text)


def trim(text: str, edit: Edit) -> Edit:
    """The same change without the characters that stay the same at its start and end; never cuts a CRLF in two."""
    old, new = edit.span.text(text), edit.text
    prefix = _common_prefix(old, new)
    if _splits_crlf(old, prefix) or _splits_crlf(new, prefix):
        prefix -= 1
    old, new = old[prefix:], new[prefix:]
    suffix = _common_prefix(old[::-1], new[::-1])
    if _splits_crlf(old, len(old) - suffix) or _splits_crlf(new, len(new) - suffix):
        suffix -= 1
    start = edit.span.start + prefix
    return Edit(Span(start, start + len(old) - suffix), new[: len(new) - suffix])


def overlaps(edits_a: Iterable[Edit], edits_b: Iterable[Edit]) -> bool:
    """Whether some edit of one set overlaps one of the other. Raises `EditError` when a set overlaps itself."""
    left, right = normalise(edits_a), normalise(edits_b)
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i].span.overlaps(right[j].span):
            return True
        if _place(left[i]) <= _place(right[j]):
            i += 1
        else:
            j += 1
    return False


def _place(edit: Edit) -> tuple[int, int]:
    return edit.span.start, edit.span.end


def _where(edit: Edit) -> str:
    return f"{edit.span.start}..{edit.span.end}"


def _composed(middle: str, earlier: Sequence[Edit], later: Sequence[Edit]) -> Iterator[Edit]:
    """Walk both sets over `middle`; what overlaps an edit of the other set becomes one edit of the original with it."""
    grown = 0  # how much longer `middle` is than the original, up to here
    i = j = 0
    while i < len(earlier) or j < len(later):
        made = _made(earlier, i, grown)
        if j == len(later) or (made is not None and made.end <= later[j].span.start):
            yield earlier[i]
            grown += _growth(earlier[i])
            i += 1
            continue
        first_later, start = j, later[j].span.start
        if made is not None and made.start < later[j].span.end:
            start = min(start, made.start)
        original_start = start - grown
        earlier_end, later_end = -1, later[j].span.end
        j += 1
        while True:
            if (made := _made(earlier, i, grown)) is not None and made.start < later_end:
                earlier_end = made.end
                grown += _growth(earlier[i])
                i += 1
            elif j < len(later) and later[j].span.start < earlier_end:
                later_end = later[j].span.end
                j += 1
            else:
                break
        end = max(earlier_end, later_end)
        yield Edit(Span(original_start, end - grown), splice(middle, later[first_later:j], start, end))


def _made(edits: Sequence[Edit], index: int, grown: int) -> Span | None:
    """What `edits[index]` put into the text after the edits before it made it longer by `grown`."""
    if index == len(edits):
        return None
    start = edits[index].span.start + grown
    return Span(start, start + len(edits[index].text))


def _growth(edit: Edit) -> int:
    return len(edit.text) - len(edit.span)


def _common_prefix(a: str, b: str) -> int:
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _splits_crlf(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1] == "\r" and text[at] == "\n"
