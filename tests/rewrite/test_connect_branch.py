"""`connect_branch` and `scalar_loss` on snippets with facts made by hand: the exact text they write."""

from __future__ import annotations

import pytest
from build import Branch, backward, branch, tensor, value
from test_rebind import obstacle

from gradfix import edits
from gradfix.analysis.facts import ConditionKind, IndexKind, ObstacleKind, Tracked
from gradfix.findings import Applicability, Refusal
from gradfix.rewrite import scalar_loss

from build import TORCH  # isort: skip

SCALAR = value(dtype="float32")
ITEM = ConditionKind.ITEM
ANCHOR = "y = torch.where(torch.zeros_like(y, dtype=torch.bool), x.sum(), y)\n"

MASKED = {
    "seed": (
        branch("if x[0] > 0:\n    y[0] = x[0]\n", written=SCALAR),
        "y = torch.select_scatter(y, torch.where(x[0] > 0, x[0], y[0]), 0, 0)\n",
    ),
    "shapes unknown": (
        branch("if x[0] > 0:\n    y[0] = x[0]\n"),
        "y[0] = torch.where(x[0] > 0, x[0], y[0])\n",
    ),
    "somebody else may see the buffer": (
        branch(
            "if x[0] > 0:\n    y[0] = x[0]\n",
            written=SCALAR,
            obstacles=(obstacle(ObstacleKind.CALLER_SEES, "y", certain=False),),
        ),
        "y[0] = torch.where(x[0] > 0, x[0], y[0])\n",
    ),
    "test of unknown shape": (
        branch("if x.sum(1) > 0:\n    y[0] = x[0]\n", written=SCALAR),
        "y = torch.select_scatter(y, torch.where((x.sum(1) > 0).reshape(()), x[0], y[0]), 0, 0)\n",
    ),
    "number": (
        branch("if x.sum() > 0:\n    y[0] = 1.5\n"),
        "y = torch.select_scatter(y, torch.where(x.sum() > 0, 1.5, y[0]), 0, 0)\n",
    ),
    "linear": (
        branch("if x[0] > 0:\n    y[0] = 2 * x[0] - x[1] / 4\n"),
        "y[0] = torch.where(x[0] > 0, 2 * x[0] - x[1] / 4, y[0])\n",
    ),
    "square root": (
        branch("if x[0] > 0:\n    y[0] = x[0].sqrt()\n", written=SCALAR),
        "condition = (x[0] > 0).reshape(())\n"
        "y = torch.select_scatter(y, torch.where(condition, torch.where(condition, x[0], 1.0).sqrt(), y[0]), 0, 0)\n",
    ),
    "product of two": (
        branch("if x[0] > 0:\n    y[0] = x[0] * w\n", sources=("x", "w")),
        "condition = (x[0] > 0).reshape(())\n"
        "y[0] = torch.where(condition, torch.where(condition, x[0], 1.0) * torch.where(condition, w, 1.0), y[0])\n",
    ),
    "several writes": (
        branch("if x[0] > 0:\n    y[0] = x[0]\n    y[1] = y[0] - x[1]\n"),
        "condition = x[0] > 0\n"
        "y[0] = torch.where(condition, x[0], y[0])\n"
        "y[1] = torch.where(condition, y[0] - x[1], y[1])\n",
    ),
    "augmented": (
        branch("if x[0] > 0:\n    y[0] += x[1]\n"),
        "y = torch.select_scatter(y, torch.where((x[0] > 0).reshape(()), y[0] + x[1], y[0]), 0, 0)\n",
    ),
    "else": (
        branch("if x[0] > 0:\n    y[0] = x[0]\nelse:\n    y[0] = -x[0]\n", written=SCALAR),
        "y = torch.select_scatter(y, torch.where(x[0] > 0, x[0], -x[0]), 0, 0)\n",
    ),
    "elif": (
        branch("if x[0] > 0:\n    y[0] = x[0]\nelif x[1] > 0:\n    y[0] = x[1]\n"),
        "y[0] = torch.where(x[0] > 0, x[0], torch.where(x[1] > 0, x[1], y[0]))\n",
    ),
    "elif and else": (
        branch("if x[0] > 0:\n    y[0] = x[0]\nelif x[1] > 0:\n    y[0] = x[1]\nelse:\n    y[0] = 3\n"),
        "y[0] = torch.where(x[0] > 0, x[0], torch.where(x[1] > 0, x[1], 3))\n",
    ),
    "guard in the else": (
        branch("if x[0] > 0:\n    y[0] = x[0]\nelse:\n    y[0] = x[1].exp()\n"),
        "condition = (x[0] > 0).reshape(())\n"
        "y[0] = torch.where(condition, x[0], torch.where(condition, 1.0, x[1]).exp())\n",
    ),
    "number taken from the tensor": (
        branch("if x[0].item() > 0:\n    y[0] = x[0]\n", condition=ITEM),
        "y[0] = torch.where(x[0] > 0, x[0], y[0])\n",
    ),
    "compared in double": (
        branch("if x[0].item() > 0.1:\n    y[0] = x[0]\n", condition=ITEM),
        "y[0] = torch.where(x[0].double() > 0.1, x[0], y[0])\n",
    ),
    "and": (
        branch("if x[0] > 0 and x[1] < 1:\n    y[0] = x[0]\n"),
        "y[0] = torch.where((x[0] > 0) & (x[1] < 1), x[0], y[0])\n",
    ),
    "not": (
        branch("if not x[0] > 0:\n    y[0] = x[0]\n"),
        "y[0] = torch.where(~(x[0] > 0), x[0], y[0])\n",
    ),
    "chained comparison": (
        branch("if 0 < x[0] < 1:\n    y[0] = x[0]\n"),
        "y[0] = torch.where((0 < x[0]) & (x[0] < 1), x[0], y[0])\n",
    ),
    "truth of a number": (
        branch("if x[0]:\n    y[0] = x[0]\n"),
        "y[0] = torch.where(x[0] != 0, x[0], y[0])\n",
    ),
    "slice": (
        branch("if x[0] > 0:\n    y[0:2] = x[1:3]\n", written=value(2)),
        "y = torch.slice_scatter(y, torch.where((x[0] > 0).reshape(()), x[1:3], y[0:2]), 0, 0, 2)\n",
    ),
    "loop": (
        branch(
            "for i in range(3):\n    if x[i] > 0:\n        y[i] = x[i]\n", written=SCALAR, kinds={"i": IndexKind.INT}
        ),
        "for i in range(3):\n    y = torch.select_scatter(y, torch.where(x[i] > 0, x[i], y[i]), 0, i)\n",
    ),
    "comments": (
        branch("if x[0] > 0:  # when\n    # why\n    y[0] = x[0]  # what\n    # end\nz = 1\n"),
        "# when\n# why\ny[0] = torch.where(x[0] > 0, x[0], y[0])  # what\n# end\nz = 1\n",
    ),
    "crlf and tabs": (
        branch("while 1:\r\n\tif x[0] > 0:\r\n\t\t# why\r\n\t\ty[0] = x[0]\r\n"),
        "while 1:\r\n\t# why\r\n\ty[0] = torch.where(x[0] > 0, x[0], y[0])\r\n",
    ),
    "one line": (branch("if x[0] > 0: y[0] = x[0]  # c\n"), "y[0] = torch.where(x[0] > 0, x[0], y[0])  # c\n"),
    "test over lines": (
        branch("if (\n    x[0]  # a\n    > 0\n):\n    y[0] = x[0]\n"),
        "# a\ny[0] = torch.where(x[0] > 0, x[0], y[0])\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), MASKED.values(), ids=MASKED)
def test_masking(before: Branch, after: str) -> None:
    assert len(before.texts()) == 2, "the anchor is the alternative"
    assert before.best() == after


KEPT = {
    "effect": "if x[0] > 0:\n    print(x)\n    y[0] = x[0]\n",
    "local": "if x[0] > 0:\n    h = x * 2\n    y[0] = h[0]\n",
    "random": "if x[0] > 0:\n    y[0] = torch.rand_like(x[0])\n",
    "unknown call": "if x[0] > 0:\n    y[0] = g(x)\n",
    "raise": "if x[0] > 0:\n    y[0] = x[0]\n    raise ValueError\n",
    "index made for the branch": "if x[i] > 0:\n    y[0] = x[i + 1]\n",
    "item of a dict": "if x[0] > 0:\n    y[0] = d[k]\n",
    "division of numbers": "if x[0] > 0:\n    y[0] = x[0] + 1 / n\n",
    "python guard in the test": "if n > 1 and x[1] > 0:\n    y[0] = x[0]\n",
    "test with an effect": "if (z := x[0]) > 0:\n    y[0] = x[0]\n",
    "test reads the buffer": "if y[0] > x[0]:\n    y[0] = x[0]\n",
    "three tensors to guard": "if x[0] > 0:\n    y[0] = x[0] * x[1] * x[2]\n",
    "different places": "if x[0] > 0:\n    y[0] = x[0]\nelse:\n    y[1] = x[1]\n",
    "mask": "if x[0] > 0:\n    y[m] = x[0]\n",
    "matrix inverse": "if x[0] > 0:\n    y[0] = x.inverse()[0]\n",
    "number compared with another": "if x[0].item() > limit:\n    y[0] = x[0]\n",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_keeps_the_branch_and_anchors(text: str) -> None:
    before = branch(text)
    assert before.texts() == [text + ANCHOR]


ANCHORED = {
    "two sources": (
        branch("if x[0] > 0:\n    y[0] = g(x, w)\n", sources=("x", "w")),
        "y = torch.where(torch.zeros_like(y, dtype=torch.bool), x.sum() + w.sum(), y)\n",
    ),
    "buffer without dimensions": (
        branch("if x[0] > 0:\n    y[...] = g(x)\n", buffer=tensor(dtype="float32", tracked=Tracked.NO)),
        "y = torch.where(torch.zeros_like(y, dtype=torch.bool), x.sum().to(y), y)\n",
    ),
}


@pytest.mark.parametrize(("before", "line"), ANCHORED.values(), ids=ANCHORED)
def test_anchor(before: Branch, line: str) -> None:
    assert before.best() == before.source.text + line


def test_an_anchor_stands_behind_the_trailing_comment() -> None:
    before = branch("while 1:\n    if x[0] > 0: y[0] = g(x)  # c\n    z = 1")
    assert before.best() == f"while 1:\n    if x[0] > 0: y[0] = g(x)  # c\n    {ANCHOR}    z = 1"


def test_an_anchor_needs_a_tensor_known_outside_the_branch() -> None:
    assert "known outside it" in branch("if c:\n    y[0] = g(self.w)\n", sources=()).refusal().reason
    inside = branch("if m[0] > 0:\n    h = g()\n    y[0] = h\n", sources=("h",))
    assert "known outside it" in inside.refusal().reason


def test_a_number_taken_from_a_tensor_under_a_name_is_no_mask() -> None:
    text = "if t > 0:\n    y[0] = x[0]\n"
    assert branch(text, condition=ITEM).texts() == [text + ANCHOR]


def test_an_integer_buffer_is_refused() -> None:
    before = branch("if x[0] > 0:\n    y[0] = x[0]\n", buffer=tensor(3, dtype="int64", tracked=Tracked.NO))
    assert "integers" in before.refusal().reason


def test_an_alias_read_later_forbids_the_anchor_but_not_the_mask() -> None:
    alias = obstacle(ObstacleKind.ALIAS_READ)
    masked = branch("if x[0] > 0:\n    y[0] = x[0]\n", obstacles=(alias,))
    assert masked.texts() == ["y[0] = torch.where(x[0] > 0, x[0], y[0])\n"]
    assert "`z` is the same tensor" in branch("if x[0] > 0:\n    y[0] = g(x)\n", obstacles=(alias,)).refusal().reason


@pytest.mark.parametrize(("only", "grade"), [(True, Applicability.SAFE), (False, Applicability.UNSAFE)])
def test_safe_only_where_the_loss_has_no_other_connection(only: bool, grade: Applicability) -> None:
    before = branch("if x[0] > 0:\n    y[0] = x[0]\n", only_connection=only)
    assert {rewrite.applicability for rewrite in before.rewrites()} == {grade}


BACKWARD = {
    "name": ("z.backward()\n", ["z.sum().backward()\n", "z.backward(torch.ones_like(z))\n"]),
    "arguments": (
        "z.backward(retain_graph=True)  # c\n",
        [
            "z.sum().backward(retain_graph=True)  # c\n",
            "z.backward(torch.ones_like(z), retain_graph=True)  # c\n",
        ],
    ),
    "expression": ("(x + y).backward()\n", ["(x + y).sum().backward()\n"]),
    "function": (
        "torch.autograd.backward(z)\n",
        ["torch.autograd.backward(z.sum())\n", "torch.autograd.backward(z, torch.ones_like(z))\n"],
    ),
    "attribute": ("self.z.backward()\n", ["self.z.sum().backward()\n", "self.z.backward(torch.ones_like(self.z))\n"]),
    "one line": ("if c: z.backward()\n", ["if c: z.sum().backward()\n", "if c: z.backward(torch.ones_like(z))\n"]),
}


@pytest.mark.parametrize(("text", "after"), BACKWARD.values(), ids=BACKWARD)
def test_scalar_loss(text: str, after: list[str]) -> None:
    source, call = backward(text)
    made = []
    for rewrite in scalar_loss(source, call, TORCH):
        assert rewrite.applicability is Applicability.UNSAFE
        built = rewrite.build(source)
        assert not isinstance(built, Refusal)
        made.append(edits.apply(text, built))
    assert made == after
