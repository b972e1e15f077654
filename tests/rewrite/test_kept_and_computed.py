"""Writes to what stands in no plain place: what keeps it has the write afterwards, what is computed isn't assigned."""

from __future__ import annotations

import pytest
from programs import assert_cured

torch = pytest.importorskip("torch")

HEAD = "import torch\nx = torch.randn(3, requires_grad=True)\n"
ITEMS = "hs = [x.exp(), x.sin()]\ndef same(given):\n    return given\n"
BOX = "class Box:\n    def __init__(self):\n        self.told = []\n        self.h = x.exp()\n"
GIVEN = BOX + "box = Box()\ndef current():\n    return box\n"
SCALE = BOX + "    @property\n    def scale(self):\n        return x.exp()\n"
SET = SCALE + "    @scale.setter\n    def scale(self, value):\n        self.told.append(value)\n"
ROWS = BOX + "    def __getitem__(self, i):\n        return x[i].exp()\n"

# What is made, what is written, what is read afterwards.
WRITTEN = {
    "an item at a sum": (ITEMS + "i = -1\n", "hs[i + 1]", "hs[0]"),
    "an item at what a call gives": (ITEMS, "hs[len(hs) - 2]", "hs[0]"),
    "an item under a formatted key": ("d = {'h1': x.exp()}\ni = 1\n", "d[f'h{i}']", "d['h1']"),
    "a view of an item at a sum": (ITEMS + "i = -1\n", "hs[i + 1].view(-1)", "hs[0]"),
    "an item of what a call gives back": (ITEMS, "same(hs)[0]", "hs[0]"),
    "an item of one of two lists": (ITEMS, "(hs or [None])[0]", "hs[0]"),
    "an attribute of what a call gives": (GIVEN, "current().h", "box.h"),
    "the tensor itself, asked for where it lies": ("h = x.exp()\n", "h.cpu()", "h"),
    "the tensor itself, as it is real": ("h = x.exp()\n", "h.conj()", "h"),
    "a property": (SCALE + "box = Box()\n", "box.scale", "box.scale"),
    "a view of a property": (SCALE + "box = Box()\n", "box.scale.view(-1)", "box.scale"),
    "a property whose setter keeps something else": (SET + "box = Box()\n", "box.scale", "torch.tensor(len(box.told))"),
    "an item that is computed": (ROWS + "box = Box()\n", "box[0]", "box[0]"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_write_is_where_it_was(name: str) -> None:
    made, written, read = WRITTEN[name]
    shown = f"loss = ({read} ** 2).sum() + z.sum()\nshow(loss)\nloss.backward()\nprint(x.grad)\n"
    assert_cured(f"{HEAD}{made}z = {written}.mul_(2) + 1\n{shown}", "inplace", "x")
