"""`copy_saved`: whoever else holds the tensor, the write reaches them, and backward has its own values."""

from __future__ import annotations

import pytest
from programs import assert_cured, fixed

from gradfix import registry
from gradfix.engine import engine
from gradfix.findings import Applicability, Severity
from gradfix.source import Source

pytest.importorskip("torch")

MODIFIED = "modified by an inplace operation"
HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
LEAF = "x = torch.randn(3, 3, requires_grad=True)\n"

# Each program, and a line that its fix must have.
PROGRAMS = {
    "input of a method, an alias read later": (
        "h = x * 2\nkeep = h\na = h.sin()\nh += 1\nloss = (a + keep).sum()\n",
        "a = h.clone().sin()",
    ),
    "result, an alias read later": (
        "y = x.exp()\nkeep = y\ny[0] = 0.0\nloss = (y * keep.detach()).sum()\nshow(keep)\n",
        "y = x.exp().clone()",
    ),
    "both operands of a product": (
        "h = x * 2\nkeep = h\na = h * h\nh.mul_(3)\nloss = (a + keep).sum()\n",
        "a = h.clone() * h.clone()",
    ),
    "an operand in parentheses": (
        "h = x * 2\nkeep = h.view(-1)\na = (h) ** 2\nh -= 0.5\nloss = a.sum() + keep.sum()\n",
        "a = (h.clone()) ** 2",
    ),
    "result of an operator": (
        "h = 2.0 ** x\nkeep = h\nh -= 0.5\nloss = (h + keep).sum()\n",
        "h = (2.0 ** x).clone()",
    ),
    "through a view named before": (
        "y = x.sigmoid()\nrow = y[0]\nrow[1] = 3.0\nloss = (y * 2).sum()\nshow(row)\n",
        None,
    ),
    "in a function that is called": (
        "def f(t):\n    return t.cos()\n\ny = x * 1.5\nkeep = [y]\na = f(y)\ny[1] = 0\nloss = (a + keep[0]).sum()\n",
        "    return t.clone().cos()",
    ),
    "a variable of a comprehension, which no clone before it can take the place of": (
        "def block(t):\n    t[0], u = torch.cos(t[:, 2]), t * 2\n    return t\n\na = F.gelu(x)\ns = block(a)\n"
        "h = torch.sigmoid(s)\nboth = [t.sigmoid_() for t in (h, a)]\nblock(both[0])\nloss = both[0].sum()\n",
        "both = [t.copy_(t.sigmoid()) for t in (h, a)]",
    ),
    "in a loop over a list": (
        "y, z = x * 2, x + 1\na = y.sin() * z.cos()\nfor each in [y, z]:\n    each.mul_(2)\nloss = (a + y + z).sum()\n",
        "a = y.clone().sin() * z.clone().cos()",
    ),
    "a closure writes": (
        "def f(t):\n    y = t.exp()\n    def bump():\n        y.add_(1)\n    bump()\n    return y\nloss = f(x).sum()\n",
        "    y = t.exp().clone()",
    ),
    "saved in place by a method": (
        "y = x * 2\nkeep = y\ny.exp_()\ny[0] = 1.0\nloss = (y + keep).sum()\nshow(keep)\n",
        "y.copy_(y.exp())",
    ),
    "saved in place by a function": (
        "y = x * 2\nkeep = y\nz = F.leaky_relu_(y, 0.1)\nz.mul_(2)\nloss = (y + keep).sum()\nshow(keep)\n",
        "z = y.copy_(F.leaky_relu(y.clone(), 0.1))",
    ),
    "saved in place by a flag": (
        "y = x * 2\nkeep = y\nz = F.relu(y, inplace=True)\nz += 1\nloss = (y + keep).sum()\nshow(keep)\n",
        "z = y.copy_(F.relu(y.clone()))",
    ),
    "saved in place by a module": (
        "act = nn.ReLU(inplace=True)\ny = x * 2\nkeep = y\nz = act(y)\nz += 1\nloss = (y + keep).sum()\nshow(keep)\n",
        "z = y.copy_(act(y.clone()))",
    ),
    "saved in place by the write itself, a round before": (
        "y = x * 2\nboth = [t.sigmoid_() for t in (y, y)]\nloss = (y + both[0]).sum()\n",
        "both = [t.copy_(t.sigmoid()) for t in (y, y)]",
    ),
    "a mask used as an index": (
        "y = x * 2\nm = y > 0\nsame = m\ny[m] = 0.5\nm[0] = True\nloss = (y * same).sum()\nshow(same)\n",
        None,
    ),
    "over several lines": (
        "h = x * 2\nkeep = h\na = torch.mul(\n    h,  # the gate\n    x,\n)\nh += 1\nloss = (a + keep).sum()\n",
        "    h.clone(),  # the gate",
    ),
    "the right side of an augmented assignment": (
        "w = x * 2\nsame = w\ny = x + 1\ny *= w\nw += 1\nloss = (y + same).sum()\n",
        "y *= w.clone()",
    ),
    "a swap of rows": (
        "y = x.tanh()\nkeep = y\ny[0], y[1] = y[1], y[0]\nloss = (y * keep.detach()).sum()\nshow(y)\n",
        "y = x.tanh().clone()",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_write_stays_and_backward_is_right(name: str) -> None:
    body, line = PROGRAMS[name]
    text = assert_cured(HEAD + LEAF + body + "show(loss)\nloss.backward()\n", MODIFIED, "x")
    assert line is None or line in text.splitlines(), text


def test_a_call_of_something_unknown_asks_first() -> None:
    text = (
        "import torch.nn as nn\n\n\nclass Block(nn.Module):\n"
        "    def __init__(self, inner):\n        super().__init__()\n        self.inner = inner\n\n"
        "    def forward(self, x):\n        h = x * 2\n        keep = h\n        out = self.inner(h)\n"
        "        h += 1\n        return out + keep\n"
    )
    assert fixed(text) == text
    assert "out = self.inner(h.clone())" in fixed(text, Applicability.UNSAFE)


@pytest.mark.parametrize(("target", "kept"), [("v", True), ("w", False)])
def test_a_copy_is_offered_beside_a_new_tensor_for_what_a_caller_handed_over(target: str, *, kept: bool) -> None:
    text = (
        f"def f(v):\n    w = v * 1\n    {target} /= {target}.norm()\n    return {target}\n\n\n"
        "def g(x):\n    return f(x.sin())\n"
    )
    source = Source.from_text("f.py", "import torch\n\n\n" + text)
    (result,) = engine.fix(source, registry.builtin(), engine.Policy()).applied
    titles = [fix.title for fix in (result.fix, *result.alternatives) if fix is not None]
    assert titles[0] == f"Write `{target} /= {target}.norm()` as an assignment of a new tensor"
    assert (f"Let backward keep a copy of `{target}`" in titles) is kept


@pytest.mark.parametrize("target", ["z", "held.z"])
def test_a_write_that_reads_what_it_has_written_is_not_given_a_copy_for_sure(target: str) -> None:
    text = "class Held: pass\nheld = Held()\nz = x.exp()\nheld.z = z\n" + f"{target} *= z[:, 0]\nz.sum().backward()\n"
    source = Source.from_text("program.py", HEAD + LEAF + text)
    (finding,) = engine.check_source(source, registry.builtin(), least=Severity.WARNING)
    grades = {rewrite.form: rewrite.applicability for rewrite in finding.rewrites}
    assert set(grades.values()) == {Applicability.UNSAFE}, grades
    assert "saved-copy" in grades


@pytest.mark.parametrize(("line", "grade"), [("y = step() * step()", "unsafe"), ("y = step() * x.cos()", "safe")])
def test_an_operand_is_not_copied_before_others_that_write_to_it(line: str, grade: str) -> None:
    """Python reads both operands once both are evaluated: a copy of the first would hold the values of before."""
    step = "cell = [x * 2]\ndef step():\n    cell[0].add_(1)\n    return cell[0]\n"
    source = Source.from_text("program.py", f"{HEAD}{LEAF}{step}{line}\n(y * step()).sum().backward()\n")
    (finding,) = engine.check_source(source, registry.builtin(), least=Severity.WARNING)
    assert [way.applicability.value for way in finding.rewrites if way.form == "saved-copy"] == [grade]


NUMBERS = {  # what a round has before there is a tensor
    "behind a test": "out[:, i] = x[:, i] * (out[:, i - 1] if i else 1)",
    "behind `and`": "out[:, i] = x[:, i] * (i and out[:, i - 1])",
    "handed to a function": "out[:, i] = torch.mul(x[:, i], out[:, i - 1] if i else 1)",
}


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_a_number_in_one_round_gets_no_copy(name: str) -> None:
    """It is a tensor in the others: `(out[:, i - 1] if i else 1).clone()` raised."""
    assert_cured(
        f"{HEAD}{LEAF}def fill(x):\n    out = torch.empty(3, 3)\n    for i in range(3):\n        {NUMBERS[name]}\n"
        "    return out\n\n\nloss = globals()['fill'](x).sum()\nshow(loss)\nloss.backward()\n",
        MODIFIED,
        "x",
    )
