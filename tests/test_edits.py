"""Edits: order, overlap, applying, composing passes into one edit set of the original."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradfix import edits
from gradfix.edits import Edit, compose, normalise, overlaps, trim
from gradfix.errors import EditError
from gradfix.source import Span

TEXT = st.text(alphabet="ab\r\n", max_size=12)


@st.composite
def edit_sets(draw: st.DrawFn, text: str) -> list[Edit]:
    """Edits of `text` that don't overlap, in any order except that insertions at one offset keep theirs."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return [Edit(Span(start, end), draw(st.text(alphabet="abX\r\n", max_size=3))) for start, end in pairs]


@st.composite
def edited_twice(draw: st.DrawFn) -> tuple[str, list[Edit], list[Edit]]:
    text = draw(TEXT)
    first = draw(edit_sets(text))
    return text, first, draw(edit_sets(edits.apply(text, first)))


def one_by_one(text: str, edit_set: list[Edit]) -> str:
    """The plain meaning: from the last to the first, so that offsets stay true."""
    for edit in reversed(edit_set):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


@given(st.data(), TEXT)
def test_all_at_once_is_the_same_as_one_by_one(data: st.DataObject, text: str) -> None:
    edit_set = data.draw(edit_sets(text))
    assert edits.apply(text, edit_set) == one_by_one(text, edit_set)


@given(edited_twice())
def test_a_composition_does_both_passes(case: tuple[str, list[Edit], list[Edit]]) -> None:
    text, first, second = case
    composed = compose(text, first, second)
    assert edits.apply(text, composed) == edits.apply(edits.apply(text, first), second)
    assert composed == normalise(composed)


@given(edited_twice())
def test_a_composition_leaves_alone_what_both_passes_left_alone(case: tuple[str, list[Edit], list[Edit]]) -> None:
    text, first, second = case
    origins: list[int] = list(range(len(text)))
    for edit_set in (first, second):
        for edit in reversed(edit_set):
            origins[edit.span.start : edit.span.end] = [-1] * len(edit.text)
    for edit in compose(text, first, second):
        assert not set(origins) & set(range(edit.span.start, edit.span.end))


@given(st.data(), TEXT)
def test_composing_with_nothing_changes_nothing_but_noops(data: st.DataObject, text: str) -> None:
    edit_set = data.draw(edit_sets(text))
    real = tuple(edit for edit in normalise(edit_set) if edit.span.text(text) != edit.text)
    assert compose(text, edit_set, []) == real
    assert compose(text, [], edit_set) == compose(text, [], real)


def test_a_second_pass_over_the_text_of_the_first_becomes_one_edit() -> None:
    text = "a = 1\nb = 2\nc = 3\n"
    first = [Edit(Span(6, 11), "b = torch.add(b, 1)")]
    second = [Edit(Span(10, 15), "th")]
    assert compose(text, first, second) == (Edit(Span(6, 11), "b = th.add(b, 1)"),)


def test_a_second_pass_elsewhere_stays_an_edit_of_its_own() -> None:
    text = "a = 1\nb = 2\nc = 3\n"
    first, second = [Edit(Span(0, 5), "alpha = 1")], [Edit(Span(20, 21), "4")]
    assert compose(text, first, second) == (Edit(Span(0, 5), "alpha = 1"), Edit(Span(16, 17), "4"))


def test_a_second_pass_that_only_touches_the_first_stays_an_edit_of_its_own() -> None:
    first = [Edit(Span(2, 4), "XYZ"), Edit(Span(6, 6), "!")]
    second = [Edit(Span(0, 2), ""), Edit(Span(5, 7), "?"), Edit(Span(8, 9), "+")]
    assert edits.apply("abcdefgh", first) == "abXYZef!gh"
    assert compose("abcdefgh", first, second) == (
        Edit(Span(0, 2), ""),
        Edit(Span(2, 4), "XYZ"),
        Edit(Span(4, 6), "?"),
        Edit(Span(6, 6), "!"),
        Edit(Span(6, 7), "+"),
    )


def test_what_follows_an_edit_of_both_passes_stays_an_edit_of_its_own() -> None:
    first, second = [Edit(Span(2, 4), "XYZ")], [Edit(Span(3, 4), "-"), Edit(Span(5, 6), "+")]
    assert compose("abcdefgh", first, second) == (Edit(Span(2, 4), "X-Z"), Edit(Span(4, 5), "+"))


def test_a_pass_that_takes_back_the_first_leaves_no_edit() -> None:
    assert compose("a = 1\n", [Edit(Span(4, 5), "23")], [Edit(Span(4, 6), "1")]) == ()


def test_insertions_at_one_place_keep_their_order() -> None:
    place = Span(1, 1)
    assert edits.apply("ab", [Edit(place, "2"), Edit(place, "1"), Edit(place, "3")]) == "a213b"


def test_insertions_at_the_ends_of_a_replacement_go_around_it() -> None:
    replacement = Edit(Span(1, 3), "XY")
    assert edits.apply("abcd", [Edit(Span(3, 3), ">"), replacement, Edit(Span(1, 1), "<")]) == "a<XY>d"


def test_normalise_sorts_and_drops_what_does_nothing() -> None:
    later, earlier = Edit(Span(4, 5), "x"), Edit(Span(0, 1), "")
    assert normalise([later, Edit(Span(2, 2), ""), earlier]) == (earlier, later)


@pytest.mark.parametrize(
    "pair",
    [
        (Span(0, 3), Span(2, 4)),
        (Span(0, 3), Span(1, 2)),
        (Span(0, 3), Span(0, 3)),
        (Span(0, 3), Span(0, 1)),
        (Span(0, 3), Span(1, 1)),
    ],
)
def test_edits_that_overlap_are_refused(pair: tuple[Span, Span]) -> None:
    one, other = (Edit(span, "x") for span in pair)
    for edit_set in ([one, other], [other, one]):
        with pytest.raises(EditError, match="overlap"):
            normalise(edit_set)
    assert overlaps([one], [other])
    assert overlaps([other], [one])


def test_edits_outside_the_text_are_refused() -> None:
    with pytest.raises(EditError, match=r"4\.\.5 lies outside the text, which ends at 4"):
        edits.apply("abcd", [Edit(Span(4, 5), "x")])
    with pytest.raises(EditError, match="outside"):
        compose("abcd", [Edit(Span(0, 4), "")], [Edit(Span(1, 1), "x")])


@given(st.data(), TEXT)
def test_overlaps_says_whether_both_can_be_made_at_once(data: st.DataObject, text: str) -> None:
    first, second = data.draw(edit_sets(text)), data.draw(edit_sets(text))
    try:
        normalise([*first, *second])
        expected = False
    except EditError:
        expected = True
    assert overlaps(first, second) == overlaps(second, first) == expected


@given(st.data(), TEXT)
def test_a_trimmed_edit_makes_the_same_change_and_is_as_short_as_newlines_allow(data: st.DataObject, text: str) -> None:
    for edit in data.draw(edit_sets(text)):
        trimmed = trim(text, edit)
        assert edits.apply(text, [trimmed]) == edits.apply(text, [edit])
        assert edit.span.contains(trimmed.span)
        old, new = trimmed.span.text(text), trimmed.text
        if old and new and "\r" not in text + edit.text:
            assert old[0] != new[0]
            assert old[-1] != new[-1]
        assert trim(text, trimmed) == trimmed


def test_a_trimmed_edit_does_not_cut_a_crlf_in_two() -> None:
    assert trim("a\r\nb", Edit(Span(0, 3), "a\n")) == Edit(Span(1, 3), "\n")
    assert trim("a\nb", Edit(Span(0, 2), "a\r\n")) == Edit(Span(1, 2), "\r\n")
    assert trim("a\r\n", Edit(Span(0, 3), "a\r")) == Edit(Span(1, 3), "\r")


def test_ten_times_the_edits_take_about_ten_times_as_long() -> None:
    def seconds(count: int) -> float:
        text = "x" * (10 * count)
        first = [Edit(Span(10 * i, 10 * i + 1), "yy") for i in range(count)]
        second = [Edit(Span(11 * i, 11 * i + 1), "z") for i in range(count)]
        start = time.process_time()
        compose(text, first, second)
        return time.process_time() - start

    assert min(seconds(20_000) for _ in range(3)) < 40 * min(seconds(2_000) for _ in range(3))
