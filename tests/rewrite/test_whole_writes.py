"""Writes to all of a tensor: assigned where that is proven equal, into new memory else, or a clone where it is seen."""

from __future__ import annotations

import pytest
from programs import assert_cured

torch = pytest.importorskip("torch")

INPLACE = "modified by an inplace operation"
HEAD = "import torch\n\nx = torch.rand(6, requires_grad=True)\n"
TAIL = "loss.backward()\nshow(loss)\n"
STATE = "class Cell:\n    def __init__(self):\n        self.h = torch.zeros(6)\n\n    def step(self, x):\n"
WHOLE = {  # the program before its backward, the line that writes, and what takes its place
    "all of a state, each round": (
        "y = torch.zeros(6)\nfor _ in range(3):\n    {}\nloss = y.sum()\n",
        "y[:] = torch.tanh(y * x + x)",
        "y = torch.tanh(y * x + x)",
    ),
    "an attribute": (
        STATE + "        {}\n        return self.h.sum()\n\n\ncell = Cell()\nloss = cell.step(x) + cell.step(x)\n",
        "self.h[...] = torch.tanh(self.h * x + x)",
        "self.h = torch.tanh(self.h * x + x)",
    ),
    "copied": ("y = x * 2\nz = y * y\n{}\nloss = y.sum() + z.sum()\n", "y.copy_(x * 3)", "y = x * 3"),
    "copied from what has another name": (
        "y = x * 2\nz = y * y\n{}\nloss = y.sum() + z.sum()\n",
        "y.copy_(x)",
        "y = torch.empty_like(y).copy_(x)",
    ),
    "of another shape": (
        "y = x * 2\nz = y * y\n{}\nloss = y.sum() + z.sum()\n",
        "y[:] = x[0] * 3",
        "y = torch.empty_like(y).copy_(x[0] * 3)",
    ),
    "of another dtype": (
        "y = x * 2\nz = y * y\n{}\nloss = y.sum() + z.sum()\nshow(y)\n",
        "y[:] = x.double() * 3",
        "y = torch.empty_like(y).copy_(x.double() * 3)",
    ),
    "what only its producer saved": (
        "y = x.exp()\n{}\nloss = y.sum() + (x * 2).sum()\n",
        "y[:] = x * 3",
        None,  # the producer gets a gradient of zeros, by way of the write
    ),
    "a number": (
        "y = x * 2\nz = y * y\n{}\nloss = y.sum() + z.sum()\n",
        "y[:] = 0.5",
        "y = torch.fill(y, 0.5)",
    ),
    "zeros in all of what only its producer saved": (
        "y = x.exp()\n{}\nloss = y.sum()\n",
        "y.zero_()",
        "y = torch.fill(y, 0)",
    ),
    "a tensor in every place": (
        "y = x * 2\nz = y * y\n{}\nloss = y.sum() + z.sum()\n",
        "y.fill_(x[0])",
        "y = torch.fill(y, x[0])",
    ),
    "a number in all of what has no graph": (
        "y = torch.ones(6)\nz = x * y\n{}\nloss = (x * y).sum() + z.sum()\n",
        "y.fill_(0.5)",
        "y = torch.full_like(y, 0.5)",
    ),
    "zeros in all of what has no graph": (
        "y = torch.ones(6)\nz = x * y\n{}\nloss = (x * y).sum() + z.sum()\n",
        "y.zero_()",
        "y = torch.zeros_like(y)",
    ),
    "a number in parentheses": ("y = x * 2\nz = y * y\n{}\nloss = y.sum() + z.sum()\n", "y.fill_((0.5))", None),
    "a part": ("y = x * 2\nz = y * y\n{}\nloss = y.sum() + z.sum()\n", "y[1:] = x[1:] * 3", None),
    "in parentheses": ("y = x * 2\nz = y * y\n{}\nloss = y.sum() + z.sum()\n", "y[:] = (x * 3)", None),
    "a view that is read": (
        "y = x * 2\nv = y.view(2, 3)\nz = y * y\n{}\nloss = v.prod() + z.sum()\n",
        "y[:] = x * 3",
        None,
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_takes_the_place_of_a_write_to_all_of_a_tensor(name: str) -> None:
    around, write, line = WHOLE[name]
    made = assert_cured(HEAD + around.format(write) + TAIL, INPLACE, "x")
    if line is None:
        assert "empty_like(y)" not in made
        assert "\ny = x * 3\n" not in made
    else:
        assert made == HEAD + around.format(line) + TAIL
