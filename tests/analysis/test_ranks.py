"""How many dimensions a tensor is known to have, where a program takes its shape apart."""

from __future__ import annotations

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.source import Source

HEAD = "import torch\n\n\ndef f(x, flag):\n"


def rank(*lines: str) -> int | None:
    """Of `x` at the last write of a function of these lines."""
    text = HEAD + "".join(f"    {line}\n" for line in lines)
    return analyse(Source.from_text("f.py", text)).writes[-1].tensor.rank


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("rows, columns = x.shape", 2),
        ("batch, *others = x.shape", None),
        ("a, b, c = x.size()", 3),
        ("[a, b] = x.size()", 2),
        ("a = b, c = x.shape", 2),
        ("a, b = x.size(0), x.size(1)", None),
        ("shape = x.shape", None),
        ("a, b = x.size(0)", None),
    ],
)
def test_a_shape_taken_apart_shows_the_rank(shown: str, expected: int | None) -> None:
    assert rank(shown, "x.relu_()") == expected


def test_what_one_branch_shows_is_not_known_behind_it() -> None:
    assert rank("if flag:", "    a, b = x.shape", "x.relu_()") is None
    assert rank("if flag:", "    a, b = x.shape", "else:", "    x.relu_()") is None
    assert rank("if flag:", "    a, b = x.shape", "    x.relu_()") == 2


def test_a_name_bound_again_holds_another_tensor() -> None:
    assert rank("a, b = x.shape", "x = x.reshape(flag)", "x.relu_()") is None


def test_a_write_to_the_memory_is_still_one_to_what_was_saved() -> None:
    """Before the shape is taken apart and behind it, it is the same object."""
    text = HEAD + "    y = x.exp()\n    a, b = y.shape\n    y.mul_(2)\n    return y.sum()\n"
    facts = analyse(Source.from_text("f.py", text))
    assert [bool(write.hazards) for write in facts.writes] == [True]
