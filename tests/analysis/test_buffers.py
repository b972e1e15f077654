"""Which loops are taken for the filling of a buffer, along which dimensions, and why others aren't."""

from __future__ import annotations

import ast

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.analysis.facts import FilledBuffer
from gradfix.source import Source


def buffers(body: str, head: str = "def f(x, w, g):") -> tuple[FilledBuffer, ...]:
    lines = "".join(f"    {line}\n" for line in body.strip("\n").split("\n"))
    return analyse(Source.from_text("program.py", f"import torch\n\n\n{head}\n{lines}")).buffers


AXES = [
    ("h = torch.zeros(4)\nfor t in range(1, 4):\n    h[t] = h[t - 1] * w.exp()\nreturn h", (0,)),
    ("h = torch.zeros(2, 4)\nfor t in range(4):\n    h[:, t] = x[t].exp()\nreturn h", (1,)),
    ("h = torch.zeros(2, 4)\nfor t in range(4):\n    h[..., t] = x[t].exp()\nreturn h", (1,)),
    ("h = torch.zeros_like(x)\nfor t in range(4):\n    h[..., t] = x[t].exp()\nreturn h", (-1,)),
    (
        "h = torch.zeros(2, 4)\nfor t in range(4):\n    h[0, t] = x[t].exp()\n    h[1, t] = h[0, t] * w\nreturn h",
        (0, 1),
    ),
    ("h = torch.zeros(99, 4)\nfor t in range(4):\n    h[0, t] = x[t].exp()\n    h[1, t] = h[0, t] * w\nreturn h", (1,)),
    (
        "D = torch.zeros(3, 3)\nfor i in range(3):\n    for j in range(3):\n        D[i][j] = x[i].exp()\nreturn D",
        (0, 1),
    ),
    ("h = torch.zeros(4, 3)\nfor t in range(4):\n    h[t, 1:] = x[t].exp()\nreturn h", (0,)),
    ("h = torch.zeros(4)\nk = 0\nfor a in x:\n    for b in x:\n        h[k] = a.exp()\n        k += 1\nreturn h", (0,)),
]


@pytest.mark.parametrize(("body", "axes"), AXES)
def test_the_dimensions_that_ints_name(body: str, axes: tuple[int, ...]) -> None:
    (buffer,) = buffers(body)
    assert (buffer.axes, buffer.refusal) == (axes, None)


def test_a_counter_that_goes_on_belongs_to_the_outer_loop() -> None:
    (buffer,) = buffers(AXES[-1][0])
    assert isinstance(buffer.loop, ast.For)
    assert ast.unparse(buffer.loop.target) == "a"


MADE = "h = torch.zeros(4)\n"
FILL = "for t in range(4):\n    h[t] = x[t].exp()\n"
REFUSED = {
    "assigned anew": f"{MADE}{FILL}    h = h * 2\nreturn h",
    "not always named by an int": f"{MADE}{FILL}    h[:t] = w\nreturn h",
    "whole buffer handed on": f"{MADE}{FILL}    g(h)\nreturn h",
    "another write": f"{MADE}{FILL}    h.mul_(2)\nreturn h",
    "written through another name": f"{MADE}y = h\n{FILL}    y.mul_(2)\nreturn h",
    "gradients switched": f"{MADE}{FILL}    with torch.no_grad():\n        g(t)\nreturn h",
    "yields": f"{MADE}{FILL}    yield h",
    "caught": f"{MADE}try:\n    for t in range(4):\n        h[t] = x[t].exp()\nexcept IndexError:\n    pass\nreturn h",
    "seen by a closure": f"{MADE}k = lambda: h.sum()\n{FILL}return h * k()",
    "deleted": f"{MADE}{FILL}    del h\nreturn w",
    "unpacked": f"{MADE}for t in range(4):\n    h[t], c = x[t].exp(), 1\nreturn h",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_what_no_list_can_stand_for(body: str) -> None:
    found = buffers(body)
    assert found
    assert all(buffer.refusal for buffer in found)


FILLED = {
    "range of the size": ("h = torch.zeros(len(x))\nfor t in range(len(x)):\n    h[t] = x[t].exp()\nreturn h", True),
    "a name for the size": (
        "n = x.shape[0]\nh = torch.zeros(n)\nfor t in range(n):\n    h[t] = x[t].exp()\nreturn h",
        True,
    ),
    "enumerate": ("h = torch.zeros(x.size(0))\nfor t, r in enumerate(x):\n    h[t] = r.exp()\nreturn h", True),
    "from the end": ("h = torch.zeros(4)\nfor t in range(4 - 1, -1, -1):\n    h[t] = x[t].exp()\nreturn h", True),
    "not the first": ("h = torch.zeros(4)\nfor t in range(1, 4):\n    h[t] = x[t].exp()\nreturn h", False),
    "too few": ("h = torch.zeros(5)\nfor t in range(4):\n    h[t] = x[t].exp()\nreturn h", False),
    "size moved": ("n = 4\nh = torch.zeros(n)\nn = 3\nfor t in range(n):\n    h[t] = x[t].exp()\nreturn h", False),
    "only some": ("h = torch.zeros(4)\nfor t in range(4):\n    if t:\n        h[t] = x[t].exp()\nreturn h", False),
    "left early": (
        "h = torch.zeros(4)\nfor t in range(4):\n    if g:\n        break\n    h[t] = x[t].exp()\nreturn h",
        False,
    ),
    "counter moved": ("h = torch.zeros(4)\nfor t in range(4):\n    t = 0\n    h[t] = x[t].exp()\nreturn h", False),
    "list grows": (
        "h = torch.zeros(len(g))\ng.append(x)\nfor t in range(len(g)):\n    h[t] = x[t].exp()\nreturn h",
        False,
    ),
}


@pytest.mark.parametrize(("body", "is_filled"), FILLED.values(), ids=FILLED)
def test_every_slot_once_and_in_order(body: str, is_filled: bool) -> None:
    (buffer,) = buffers(body)
    assert (buffer.filling is not None) is is_filled


SLOTS = {
    "zeros(3)": ("h = torch.zeros(3)", True),
    "zeros(len(x) + 1)": ("h = torch.zeros(len(x) + 1)", True),
    "a size plus one": ("n = x.shape[0]\nh = torch.zeros(n + 1)", True),
    "a slot was written": ("h = torch.zeros(g)\nh[0] = 1.0", True),
    "zeros(len(x))": ("h = torch.zeros(len(x))", False),
    "an argument plus one": ("h = torch.zeros(g + 1)", False),
    "perhaps written": ("h = torch.zeros(g)\nif w:\n    h[0] = 1.0", False),
}


@pytest.mark.parametrize(("made", "has_slots"), SLOTS.values(), ids=SLOTS)
def test_whether_there_is_a_slot_at_all(made: str, has_slots: bool) -> None:
    found = buffers(f"{made}\nfor t in range(1, len(h)):\n    h[t] = h[t - 1] * x[t].exp()\nreturn h")
    assert [buffer.has_slots for buffer in found] == [has_slots]


def test_a_default_size_is_no_promise() -> None:
    body = "h = torch.zeros(n)\nfor t in range(1, n):\n    h[t] = h[t - 1] * x[t].exp()\nreturn h"
    assert [buffer.has_slots for buffer in buffers(body, "def f(x, n=4):")] == [False]
