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
