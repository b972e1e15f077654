"""Lines that differ between two versions of a text."""

from __future__ import annotations

import pytest

from gradfix.edits import Edit
from gradfix.source import Source, Span
from gradfix.touched import touched

TEXT = "one\ntwo\nthree\nfour\n"


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
    ],
)
def test_touched_lines(
    one: list[tuple[str, str]], other: list[tuple[str, str]], lines: tuple[set[int], set[int]]
) -> None:
    assert touched(Source.from_text("f.py", TEXT), _edits(one), _edits(other)) == lines
