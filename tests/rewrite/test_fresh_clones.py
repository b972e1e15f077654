"""A clone is made where the tensor is, if that reads well, or in a line of its own."""

from __future__ import annotations

import pytest

from gradfix.edits import apply
from gradfix.rewrite.text import names
from gradfix.rewrite.text.fresh_clones import clone_before
from gradfix.source import Source

ALONE = "y = y.clone()\n"
MADE = {
    "a call": ("y = x.exp()\n", "y = x.exp().clone()\n"),
    "a name": ("y = x\n", "y = x.clone()\n"),
    "an attribute": ("y = x.T  # turned\n", "y = x.T.clone()  # turned\n"),
    "a part": ("y = x[0]\n", "y = x[0].clone()\n"),
    "a sum": ("y = x + 1\n", "y = (x + 1).clone()\n"),
    "another tensor": ("z = x.exp()\n", "z = x.exp()\n" + ALONE),
    "something between": ("y = x.exp()\nz = y * 2\n", "y = x.exp()\nz = y * 2\n" + ALONE),
    "another block": ("if True:\n    y = x.exp()\n", "if True:\n    y = x.exp()\n" + ALONE),
    "two names": ("z = y = x.exp()\n", "z = y = x.exp()\n" + ALONE),
    "parentheses": ("y = (x.exp())\n", "y = (x.exp())\n" + ALONE),
    "several lines": ("y = x.exp(\n)\n", "y = x.exp(\n)\n" + ALONE),
    "one or the other": ("y = x if True else z\n", "y = x if True else z\n" + ALONE),
    "a shared line": ("z = 1; y = x.exp()\n", "z = 1; y = x.exp()\n" + ALONE),
    "a long line": (f"y = x{'.exp()' * 14}\n", f"y = x{'.exp()' * 14}\n" + ALONE),
    "one to be left alone": ("y = x.exp()  # gradfix: ignore\n", "y = x.exp()  # gradfix: ignore\n" + ALONE),
}


@pytest.mark.parametrize("name", MADE)
def test_a_clone_is_made_where_the_tensor_is(name: str) -> None:
    before, after = MADE[name]
    source = Source.from_text("program.py", before + "y[0] = 1\n")
    statement = names.tree_of(source).body[-1]
    assert apply(source.text, clone_before(source, statement, "y")) == after + "y[0] = 1\n"


def test_other_lines_come_between_the_clone_and_the_write() -> None:
    source = Source.from_text("program.py", "y = x.exp()\nrow[0] = 1\n")
    statement = names.tree_of(source).body[-1]
    made = apply(source.text, clone_before(source, statement, "y", ["row = y[0]"]))
    assert made == "y = x.exp()\n" + ALONE + "row = y[0]\nrow[0] = 1\n"
