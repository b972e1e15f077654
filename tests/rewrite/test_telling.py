"""What could tell a new tensor from the old one: handlers, `finally`, attributes, memory, the order of dimensions."""

from __future__ import annotations

import pytest
from programs import assert_cured, fixed, run

from gradfix.findings import Applicability

torch = pytest.importorskip("torch")

HEAD = "import torch\nx = torch.randn(4, 3, requires_grad=True)\n"
END = "show(loss)\nloss.backward()\nprint(x.grad)\n"
MASK = "m = torch.rand(4, 3) > 0.5\n"
TURNED = "y = x.t().exp()\nm = torch.rand(3, 4) > 0.5\n"
BACK = "loss = y.t().view(-1).cos().sum()\n"

TOLD = {
    "an attribute": ("y = x.exp()\ny.kind = 'rate'\ny += 1\nloss = y.sum() * len(y.kind)\n", "y += 1"),
    "its place in memory": (
        "y = x.exp()\nat = y.data_ptr()\ny += 1\nassert y.data_ptr() == at\nloss = y.sum()\n",
        "y += 1",
    ),
    "strides of a part": ("y = x.exp()[:, ::2]\ny += 1\nshow(torch.tensor(y.stride()))\nloss = y.sum()\n", "y += 1"),
    "a value on its way out": (
        "def f(x):\n    y = x.exp()\n    try:\n        return y\n    finally:\n        y += 1\n\n\nloss = f(x).sum()\n",
        "        y += 1",
    ),
    "a handler, of a value that may be larger": (
        "y = x[:1].exp()\ntry:\n    y += torch.ones(1, 3)\nexcept RuntimeError:\n    print(y)\nloss = y.sum()\n",
        "    y += torch.ones(1, 3)",
    ),
    "what assignments run": (
        "class Box:\n    def __setattr__(self, name, value):\n        print(name)\n"
        "        object.__setattr__(self, name, value)\n\n\n"
        "box = Box()\nbox.y = x.exp()\nbox.y += 1\nbox.y.mul_(2)\nloss = box.y.sum()\n",
        "box.y.mul_(2)",
    ),
    "what lists the buffers of a module": (
        "class Mean(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.register_buffer('mean', torch.ones(3))\n\n    def forward(self, x):\n"
        "        y = x * self.mean\n        self.mean.mul_(0.9)\n        return y.sum()\n\n\n"
        "net = Mean()\nkept = net.state_dict()\nloss = net(x)\nshow(kept['mean'])\n",
        "        self.mean.mul_(0.9)",
    ),
    "the order of dimensions, of a fill": (TURNED + "y.masked_fill_(m, 0.5)\n" + BACK, "y.masked_fill_(m, 0.5)"),
    "the order of dimensions, of a sum": (TURNED + "y.cumsum_(0)\n" + BACK, "y.cumsum_(0)"),
    "the order of dimensions, under a mask": (
        TURNED + "y[m] = 0.5\n" + BACK,
        "y = y.index_put((m,), y.new_tensor(0.5))",
    ),
    "the order of dimensions of a mask": (
        "y = x.exp()\nm = (torch.rand(3, 4) > 0.5).t()\ny[m] = 0.5\nloss = y.view(-1).cos().sum()\n",
        "y = y.index_put((m,), y.new_tensor(0.5))",
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_write_stays_where_something_could_tell(name: str) -> None:
    body, line = TOLD[name]
    assert line in assert_cured(HEAD + body + END, "inplace operation", "x").splitlines()


NOT_TOLD = {
    "a handler, of a number": ("y = x.exp()\ntry:\n    y += 1\nexcept RuntimeError:\n    pass\n", "    y = y + 1"),
    "beside the handled statements": (
        "y = x.exp()\ntry:\n    pass\nexcept RuntimeError:\n    pass\nelse:\n    y += torch.ones(1, 3)\n",
        "    y = y + torch.ones(1, 3)",
    ),
    "memory of another variable": ("y = x.exp()\nx.data_ptr()\ny += 1\n", "y = y + 1"),
    "a mask of its own": ("y = x.t().exp()\ny[y > 1] = 0.5\n", "y = torch.where(y > 1, 0.5, y)"),
    "in order again": (
        "y = x.t().contiguous().exp()\nm = torch.rand(3, 4) > 0.5\ny.masked_fill_(m, 0.5)\n",
        "y = y.masked_fill(m, 0.5)",
    ),
    "after a product": (
        "y = (x @ x.t()).exp()\nm = torch.rand(4, 4) > 0.5\ny.masked_fill_(m, 0.5)\n",
        "y = y.masked_fill(m, 0.5)",
    ),
}


@pytest.mark.parametrize("name", NOT_TOLD)
def test_the_shortest_form_where_nothing_can(name: str) -> None:
    body, line = NOT_TOLD[name]
    assert line in assert_cured(HEAD + body + "loss = y.sum()\n" + END, "inplace operation", "x").splitlines()


def test_a_handler_goes_on_with_what_a_larger_value_left_alone() -> None:
    text = (
        HEAD + "y = x[:1].exp()\ntry:\n    y += torch.ones(2, 3)\nexcept RuntimeError:\n    show(y)\nloss = y.sum()\n"
    )
    made = fixed(text + END)
    assert torch.equal(run(made).shown[0], run(text + END).shown[0])  # type: ignore[arg-type]  # tensors


def test_a_result_isnt_assigned_to_what_lies_in_another_order() -> None:
    text = HEAD + "y = torch.empty(4, 3).t()\ntorch.mul(x.t(), 2, out=y)\n" + BACK + END
    assert fixed(text) == text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_result_isnt_put_where_autograd_doesnt_see_it() -> None:
    text = "import torch\nx = torch.randn(3, requires_grad=True)\ny = x.exp()\ntorch.mul(y, 3, out=y.data)\n"
    text += "loss = (y * y).sum()\nloss.backward()\n"
    assert "out=" in (run(text).error or "")
    assert fixed(text, Applicability.UNSAFE) == text


def test_torchscript_has_no_new_tensor() -> None:
    text = "import torch\n\n\n@torch.jit.script\ndef f(x):\n    y = x.exp()\n    y[0] = 10\n    return y.sum()\n"
    assert "    y = x.exp().clone()\n    y[0] = 10\n" in fixed(text)
