"""The way back through edits, against its plain meaning: mark every character and look where the marks went."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from gradfix import edits as edit_sets
from gradfix.edits import Edit
from gradfix.engine.origins import Origins
from gradfix.source import Span

TEXT = "abcdefghijklmnopqrst"


@st.composite
def edit_lists(draw: st.DrawFn) -> list[Edit]:
    """Edits in order that put in capitals and don't overlap."""
    cuts = sorted(draw(st.lists(st.integers(0, len(TEXT)), max_size=10)))
    made = [
        Edit(Span(start, end), draw(st.text("XYZ", max_size=3)))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    return list(edit_sets.normalise(made))


@given(edit_lists())
def test_offsets_lead_back_to_the_same_character(edits: list[Edit]) -> None:
    after = edit_sets.apply(TEXT, edits)
    origins = Origins(edits)
    for offset, character in enumerate(after):
        origin = origins.offset(offset)
        assert (origin is None) == character.isupper()
        assert origin is None or TEXT[origin] == character


@example([Edit(Span(1, 4), "XXX")], 0, 5)  # as long as before, and not the same
@given(edit_lists(), st.integers(0, 30), st.integers(1, 8))
def test_spans_lead_back_when_they_are_whole(edits: list[Edit], start: int, size: int) -> None:
    after = edit_sets.apply(TEXT, edits)
    span = Span(start, start + size)
    if span.end > len(after):
        return
    origin = Origins(edits).span(span)
    whole = span.text(after) in TEXT  # no capitals, nothing missing: the letters of TEXT differ
    assert (origin is not None) == whole
    assert origin is None or origin.text(TEXT) == span.text(after)
