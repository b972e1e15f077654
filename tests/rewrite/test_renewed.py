"""Buffers that each round of a loop fills before it reads them: made in the round, where nobody can tell."""

from __future__ import annotations

import pytest
from programs import assert_cured, fixed

torch = pytest.importorskip("torch")

INPLACE = "modified by an inplace operation"
HEAD = "import torch\n\nx = torch.rand(3, requires_grad=True)\nn = 3\nloss = 0\n"
TAIL = "loss.backward()\nshow(loss)\n"
RENEWED = {
    "slots of a loop": (
        "out = torch.zeros(n)\n",
        "for s in (1.0, 2.0):\n",
        "    for i in range(n):\n        v = s * x[i]\n        out[i] = v\n    loss = loss + out.prod()\n",
    ),
    "one after the other": (
        "out = torch.eye(2)\n",
        "for s in (1.0, 2.0):\n    c = s * x\n",
        "    out[0, 0] = c[0].cos()\n    out[0, 1] = c[1].sin()\n    loss = loss + (out @ out).sum()\n",
    ),
    "the same slots of several": (
        "out = torch.ones_like(x)\n",
        "for s in (1.0, 2.0):\n",
        "    for i in range(n):\n        if i % 2 == 0:\n            out[i] = s * x[i]\n    loss = loss + out.prod()\n",
    ),
    "a loop in a loop in a loop": (
        "out = x.new_zeros(2, n)\n",
        "for epoch in range(2):\n    for s in (1.0, 2.0):\n",
        "        for a in range(2):\n            for i in reversed(range(n)):\n"
        "                out[a, i] = s * x[i] + a\n"
        "        loss = loss + (out * out).sum()\n",
    ),
    "things gone through by number": (
        "out = torch.zeros(len(xs), dtype=torch.float32)\n",
        "for s in (1.0, 2.0):\n",
        "    for i, v in enumerate(xs):\n        e = s * v.exp()\n        out[i] = e\n    loss = loss + out.norm()\n",
    ),
}
FILL = "    for i in range(n):\n        out[i] = s * x[i]\n"
READ = "    loss = loss + out.prod()\n"
FILL_K, FILL_XS = FILL.replace("range(n)", "range(k)"), FILL.replace("range(n)", "range(len(xs))").replace("x[", "xs[")
TWO = "    out[0] = s * x[0]\n    out[1] = s * x[1]\n"
SQUARE = "    loss = loss + (out * out).sum()\n"
CLEARED = {  # how the buffer is made, and how each round begins
    "zeros": ("torch.zeros_like(x)", "out.zero_()"),
    "ones": ("x.new_ones(n)", "out.fill_(1.0)"),
}
NOT_CLEARED = {
    "of another number": ("torch.ones(n)", "out.zero_()", ""),
    "only sometimes": ("torch.zeros(n)", "if s < 2:\n        out.zero_()", ""),
    "read before": ("torch.zeros(n)", "loss = loss + out.sum()\n    out.zero_()", ""),
    "read after the loop": ("torch.zeros(n)", "out.zero_()", "loss = loss + out.sum()\n"),
}
ADD = "    out += torch.tanh(x * s)\n    loss = loss + (out * out).sum()\n"
KEPT = {  # what stands before the loop, its head, its body, what stands behind it
    "held by a list": (
        "outs = []\n",
        "s in (1.0, 2.0)",
        FILL + READ + "    outs.append(out)\n",
        "loss = loss + sum(outs).sum()\n",
    ),
    "read in the next round under another name": (
        "held = torch.ones(n)\n",
        "s in (1.0, 2.0)",
        FILL + "    loss = loss + (out * held).sum()\n    held = out\n",
        "",
    ),
    "a view of it is read in the next round": (
        "row = torch.ones(1)\n",
        "s in (1.0, 2.0)",
        FILL + "    loss = loss + (out * row).sum()\n    row = out[:1]\n",
        "",
    ),
    "read after the loop": ("", "s in (1.0, 2.0)", FILL + READ, "loss = loss + out.sum()\n"),
    "read before it is filled": ("", "s in (1.0, 2.0)", READ + FILL + READ, ""),
    "another slot each round": (
        "",
        "s in range(n)",
        "    out[s] = s * x[s]\n    loss = loss + (out * out).sum()\n",
        "",
    ),
    "another slot each round of a loop inside": (
        "",
        "s in (1.0, 2.0)",
        FILL + "        loss = loss + (out * out).sum()\n",
        "",
    ),
    "a test of the round of a loop inside": (
        "",
        "s in (1.0, 2.0)",
        "    for i in range(n):\n        if i < 1:\n            out[1] = s * x[i]\n"
        "        out[0] = s * x[i]\n        loss = loss + (out * out).sum()\n",
        "",
    ),
    "fewer slots each round": ("", "s in (3, 2)", FILL.replace("range(n)", "range(s)") + READ, ""),
    "fewer slots by a count": (
        "k = 3\n",
        "s in (1.0, 2.0)",
        FILL.replace("range(n)", "range(k)") + READ + "    k -= 1\n",
        "",
    ),
    "slots by a test of the round": (
        "",
        "s in (1.0, 2.0)",
        FILL.replace("        out", "        if i < s:\n            out") + READ,
        "",
    ),
    "slots by a test of data": (
        "",
        "s in (1.0, 2.0)",
        FILL.replace("        out", "        if x[i] * s > 0.5:\n            out") + READ,
        "",
    ),
    "left on the way": (
        "",
        "s in (1.0, 2.0)",
        FILL + "        if i > 2 - s:\n            break\n" + READ,
        "",
    ),
    "gone through only once": (
        "xs = iter([x[0], x[1], x[2]])\n",
        "s in (1.0, 2.0)",
        "    for i, v in enumerate(xs):\n        out[i] = s * v\n" + READ,
        "",
    ),
    "a list that grows": (
        "xs = [x[0]]\n",
        "s in (1.0, 2.0)",
        "    for i in range(len(xs)):\n        out[i] = s * xs[i]\n    xs.append(x[1])\n" + READ,
        "",
    ),
    "a list that somebody makes grow": (
        "def grow(items):\n    items.append(x[1])\nxs = [x[0]]\n",
        "s in (1.0, 2.0)",
        "    for i in range(len(xs)):\n        out[i] = s * xs[i]\n    grow(xs)\n" + READ,
        "",
    ),
    "a count that a function changes": (
        "k = 3\ndef less():\n    global k\n    k -= 1\n",
        "s in (1.0, 2.0)",
        FILL.replace("range(n)", "range(k)") + READ + "    less()\n",
        "",
    ),
    "a function reads it": (
        "def read():\n    return out.prod()\n",
        "s in (1.0, 2.0)",
        FILL + "    loss = loss + read()\n",
        "",
    ),
    "made in another mode": (
        "",
        "s in (1.0, 2.0)",
        "    with torch.enable_grad():\n"
        + (FILL + READ).replace("    ", "        ", 1).replace("\n    ", "\n        "),
        "",
    ),
    "written again after it was read": (
        "",
        "s in (1.0, 2.0)",
        FILL + READ + "    out[0] = x[1]\n" + READ,
        "",
    ),
    "added to": ("", "s in (1.0, 2.0)", FILL.replace("] =", "] +=") + READ, ""),
}


CHANGED = {  # what stands before the buffer, how it is made, the body of the loop
    "a function that is called `range`": (
        "ks = [[0], [0, 1, 2]]\ndef range(n):\n    return ks.pop()\n",
        FILL + SQUARE,
    ),
    "a variable that is called `len`": (
        "ks, xs = [1, 3], [x[0], x[1], x[2]]\nlen = lambda items: ks.pop()\n",
        FILL_XS + SQUARE,
    ),
    "a tensor that counts, by another name": ("k = torch.tensor(3)\nother = k\n", FILL_K + READ + "    other -= 1\n"),
    "a tensor that counts, by a function": (
        "k = torch.tensor(3)\ndef less(t):\n    t -= 1\n",
        FILL_K + READ + "    less(k)\n",
    ),
    "an index by another name": (
        "k = torch.tensor(2)\nother = k\n",
        "    out[k] = s * x[0]\n" + SQUARE + "    other -= 1\n",
    ),
    "a mask by a view of it": (
        "m = torch.tensor([True, True, True])\nrow = m[:1]\n",
        "    out[m] = s * x[m]\n" + SQUARE + "    row.fill_(False)\n",
    ),
    "indices by a function": (
        "ks = [0, 1]\ndef move(items):\n    items[0] = 2\n",
        "    out[ks] = s * x[:2]\n" + SQUARE + "    move(ks)\n",
    ),
    "a list by another name": ("xs = [x[0], x[1], x[2]]\nys = xs\n", FILL_XS + SQUARE + "    ys.pop()\n"),
    "a list by an attribute": (
        "class Held:\n    pass\nxs = [x[0], x[1], x[2]]\nheld = Held()\nheld.xs = xs\n",
        FILL_XS + SQUARE + "    held.xs.pop()\n",
    ),
    "a test of a list by another name": (
        "m = [1]\nother = m\n",
        FILL.replace("        out", "        if m or i == 0:\n            out") + SQUARE + "    other.clear()\n",
    ),
    "a test of what is gone through once": (
        "seen = iter([0, 1, 2])\n",
        FILL.replace("        out", "        if i in seen:\n            out") + SQUARE,
    ),
    "the kind that torch makes": ("", FILL + READ + "    torch.set_default_dtype(torch.float32)\n"),
    "which tensor it is": ("", TWO + SQUARE + "    show(torch.tensor(out.data_ptr()))\n"),
    "what the tensor is told": ("", TWO + SQUARE + "    show(getattr(out, 'tag', x))\n    out.tag = x\n"),
}
CHANGED_SIZES = {  # what stands before the buffer, how it is made, what stands at the end of the loop
    "of an object": (
        "class Sized:\n    shape = (3,)\n    def grow(self):\n        self.shape = (4,)\nsized = Sized()\n",
        "torch.zeros(sized.shape)",
        "sized.grow()",
    ),
    "in a list": ("sizes = [3]\ndef grow(of):\n    of[0] = 4\n", "torch.zeros(sizes)", "grow(sizes)"),
    "the number in it": ("y = torch.tensor(0.5)\nz = y\n", "torch.full((3,), y)", "z += 1"),
}
LASTING = {  # what stands before the buffer: the function's count `k`
    "a size": "k = x.shape[0]\n    show(x.new_tensor(float(max(k, 1))))",
    "sizes": "k, = x.size()\n    held = [k]",
    "an attribute, handed on": "k = F.k",
    "an operator on numbers": "k = len(x) // 1\n    k2 = k\n    held = [k, k2]",
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_changes_where_nothing_names_it_keeps_the_buffer_outside(name: str) -> None:
    before, body = CHANGED[name]
    text = HEAD + before + "out = torch.zeros(n)\nfor s in (1.0, 2.0):\n" + body + TAIL
    assert "    out = torch.zeros(n)\n" not in fixed(text)


@pytest.mark.parametrize("name", CHANGED_SIZES)
def test_sizes_that_others_change_keep_the_buffer_outside(name: str) -> None:
    before, made, behind = CHANGED_SIZES[name]
    body = TWO + SQUARE + f"    {behind}\n"
    assert f"    out = {made}\n" not in fixed(HEAD + before + f"out = {made}\nfor s in (1.0, 2.0):\n" + body + TAIL)


@pytest.mark.parametrize("name", LASTING)
def test_a_count_is_a_number_whoever_holds_it(name: str) -> None:
    body = "        for i in range(k):\n            v = s * x[i]\n            out[i] = v\n    " + READ
    text = "class F:\n    k = 3\n\n\ndef of(x):\n    loss = 0\n    " + LASTING[name] + "\n"
    text += "    out = torch.zeros(k)\n    for s in (1.0, 2.0):\n" + body + "    return loss\n"
    after = assert_cured(HEAD + text + "\n\nloss = of(x)\n" + TAIL, INPLACE, "x")
    assert "        out = torch.zeros(k)\n" in after


@pytest.mark.parametrize("name", RENEWED)
def test_a_buffer_that_each_round_fills_is_made_in_it(name: str) -> None:
    made, head, body = RENEWED[name]
    start = HEAD + "xs = [x[0], x[1], x[2]]\n"
    indented = " " * (len(body) - len(body.lstrip()))
    after = assert_cured(start + made + head + body + TAIL, INPLACE, "x")
    assert after == start + head + indented + made + body + TAIL


@pytest.mark.parametrize("name", KEPT)
def test_what_could_tell_keeps_the_buffer_outside(name: str) -> None:
    before, head, body, behind = KEPT[name]
    text = HEAD + "out = torch.zeros(n)\n" + before + f"for {head}:\n" + body + behind + TAIL
    assert "    out = torch.zeros(n)\n" not in fixed(text)


@pytest.mark.parametrize("name", CLEARED)
def test_a_buffer_that_each_round_clears_is_made_instead(name: str) -> None:
    made, clearing = CLEARED[name]
    before = HEAD + f"out = {made}\nfor s in (1.0, 2.0):\n    {clearing}\n" + ADD + TAIL
    after = assert_cured(before, INPLACE, "x")
    assert after == HEAD + f"for s in (1.0, 2.0):\n    out = {made}\n" + ADD + TAIL


@pytest.mark.parametrize("name", NOT_CLEARED)
def test_what_isnt_cleared_alike_in_every_round_stays_outside(name: str) -> None:
    made, clearing, behind = NOT_CLEARED[name]
    text = HEAD + f"out = {made}\nfor s in (1.0, 2.0):\n    {clearing}\n" + ADD + behind + TAIL
    assert f"\nout = {made}\nfor s in" in fixed(text)


def test_a_counter_that_is_deleted_behind_its_loop_stays() -> None:
    text = HEAD + "out = torch.zeros(n)\nfor s in (1.0, 2.0):\n" + FILL + "    del i\n" + READ + TAIL
    assert_cured(text, INPLACE, "x")
