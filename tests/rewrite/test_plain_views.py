"""`split_plainly`: parts that may be written, whose base sees it."""

from __future__ import annotations

import pytest
from programs import assert_cured, fixed, run

from gradfix.findings import Applicability

torch = pytest.importorskip("torch")

HEAD = "import torch\nimport torch as th\nfrom torch import chunk\n"
LEAF = "x = torch.randn(4, 6, requires_grad=True)\ny = x * 2\n"
HELD = "kept = [y]\n"  # so that `y` can't be made of its parts again

PROGRAMS = {
    "a loop": ("for row in y:\n    row += 1\n", "for row in [y[i] for i in range(len(y))]:"),
    "a loop over a view": ("for col in y.t():\n    col += 1\n", "for col in [y.t()[i] for i in range(len(y.t()))]:"),
    "enumerate": ("for n, row in enumerate(y):\n    row *= n\n", None),
    "the name of the counter taken": (
        "i = 1\nfor row in y:\n    row += i\n",
        "for row in [y[k] for k in range(len(y))]:",
    ),
    "a function": ("a, b = torch.chunk(y, 2, dim=1)\na += b\n", "a, b = y.tensor_split(2, 1)"),
    "a function by its own name": ("a, b = chunk(y, 2)\na += b\n", "a, b = y.tensor_split(2)"),
    "split by a number": ("a, b, c = y.split(2, -1)\nb -= a\n", None),
    "split by sizes": ("a, b, c = y.split([1, 2, 3], dim=1)\nb -= 1\nc[0] = 0.0\n", None),
    "split by sizes with names": ("n = 2\na, b = y.split((n, 4), 1)\nb -= 1\n", "a, b = y.tensor_split((n,), 1)"),
    "unbind along the last": ("cols = torch.unbind(y, -1)\ncols[0].add_(cols[1])\n", None),
    "unpacked": ("a, b, c, d = y\nb += 1\n", "a, b, c, d = y[0], y[1], y[2], y[3]"),
    "unpacked with a star": ("a, *rest = y\na += 1\n", "a, *rest = [y[i] for i in range(len(y))]"),
    "a list of all": ("rows = list(y)\nrows[1] += rows[0]\n", "rows = [y[i] for i in range(len(y))]"),
    "a list by a comprehension": (
        "rows = [row for row in y]\nrows[1].add_(rows[0])\n",
        "rows = [y[i] for i in range(len(y))]",
    ),
    "a comprehension that leaves some out": (
        "rows = [row for row in y if len(row) > 1]\nrows[1].add_(rows[0])\n",
        "rows = [row for row in [y[i] for i in range(len(y))] if len(row) > 1]",
    ),
    "a part of a part": ("for row in y:\n    row[1:] += 1\n", None),
    "the base is written": ("a, b = y.chunk(2)\ny += 1\nshow(a * b)\n", "a, b = y.tensor_split(2)"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_parts_may_be_written(name: str) -> None:
    body, line = PROGRAMS[name]
    end = "show(kept[0])\nloss = (kept[0] * x).sum()\nloss.backward()\n"
    text = assert_cured(
        HEAD + LEAF + HELD + body + end,
        "multiple views" if "y += 1" not in body else "its base",
        "x",
        by_differences=True,
    )
    assert line is None or line in text.splitlines(), text


def test_an_item_that_is_assigned_back_needs_a_list() -> None:
    """`parts[0] += 1` assigns the item after the write, which a tuple refuses."""
    text = HEAD + LEAF + "parts = y.chunk(2)\nparts[0] += 1\nshow(y)\nloss = (y * x).sum()\nloss.backward()\n"
    made = fixed(text)
    assert "parts = list(y.tensor_split(2))" in made
    shown = run(made, "x").shown[0]
    x = run(HEAD + LEAF + "show(x)\n").shown[0]
    assert torch.equal(shown, torch.cat([x[:2] * 2 + 1, x[2:] * 2]))


def test_more_chunks_ask() -> None:
    text = HEAD + LEAF + HELD + "a, b, c = y.chunk(3, 1)\na += 1\n(kept[0] * 2).sum().backward()\n"
    assert fixed(text) == text
    assert "a, b, c = y.tensor_split(3, 1)" in fixed(text, Applicability.UNSAFE)


@pytest.mark.parametrize("split", ["(x * 2).chunk(2)", "y.split(sizes)", "y.clone().unbind()"])
def test_what_cannot_be_repeated_or_is_not_written_out_stays(split: str) -> None:
    text = HEAD + LEAF + f"sizes = [1, 3]\nparts = {split}\nfirst = parts[0]\nsame = first\nfirst += 1\n"
    text += "(same * 2).sum().backward()\n"
    assert fixed(text, Applicability.UNSAFE) == text
