"""Lines that differ between two versions of a text."""

from __future__ import annotations

import contextlib
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradfix.edits import Edit, apply, normalise
from gradfix.errors import EditError
from gradfix.proof.touched import touched
from gradfix.source import Source, Span

TEXT = "one\ntwo\nthree\nfour\nif five:\n  body\n"


def _edits(changes: list[tuple[str, str]]) -> list[Edit]:
    """A piece of the text and what to put there; `^piece` inserts before it."""
    made = []
    for piece, new in changes:
        start = TEXT.index(piece.lstrip("^"))
        made.append(Edit(Span(start, start if piece.startswith("^") else start + len(piece)), new))
    return made


@pytest.mark.parametrize(
    ("one", "other", "lines"),
    [
        ([], [("two", "2")], ({2}, {2})),
        ([], [("two", "2\nzwei")], ({2}, {2, 3})),
        ([], [("^two", "new\n")], (set(), {2})),
        ([], [("two\n", "")], ({2}, set())),
        ([], [("o\nthr", "x")], ({2, 3}, {2})),
        ([("two", "2\nzwei")], [("two", "2\nzwei"), ("four", "4")], ({5}, {5})),
        ([("one", "1\neins")], [("three", "3")], ({1, 2, 4}, {1, 3})),
        ([("two", "2")], [("two", "zwei")], ({2}, {2})),
        ([("two", "2")], [("two", "2")], (set(), set())),
        ([], [("^one", "import torch\n"), ("four", "4")], ({4}, {1, 5})),
        ([], [("^wo", "x\nt")], (set(), {2})),
        ([], [("^\nthree", "\nnew")], (set(), {3})),
        ([], [("^wo", "x"), ("^ree", "y")], ({2, 3}, {2, 3})),
        ([], [("^  body", "  new\n"), ("^body", "new\n  ")], (set(), {6, 7})),
        ([], [("^body", "new = 1\n  ")], (set(), {6})),
    ],
)
def test_touched_lines(
    one: list[tuple[str, str]], other: list[tuple[str, str]], lines: tuple[set[int], set[int]]
) -> None:
    assert touched(Source.from_text("f.py", TEXT), _edits(one), _edits(other)) == lines


@given(
    st.text("ab\n ", max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4), st.text("ab\n ", max_size=6))),
)
def test_the_other_lines_correspond(text: str, changes: list[tuple[int, int, str]]) -> None:
    made: tuple[list[Edit], list[Edit]] = ([], [])
    for number, (start, length, new) in enumerate(changes):
        start = min(start, len(text))
        edit = Edit(Span(start, min(start + length, len(text))), new)
        if any(known.span == edit.span for known in chain(*made)):
            continue  # what is inserted at one place stands in the order given
        for edits in (made[number % 2], *([made[1 - number % 2]] if number % 3 else [])):
            with contextlib.suppress(EditError):
                normalise([*edits, edit])
                edits.append(edit)
    source = Source.from_text("f.py", text)
    differing = touched(source, *made)
    left, right = (
        [line for n, line in enumerate(apply(text, edits).split("\n"), 1) if n not in lines]
        for edits, lines in zip(made, differing, strict=True)
    )
    assert left == right
