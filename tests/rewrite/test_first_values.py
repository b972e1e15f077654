"""First values of parameters: given without gradients, in one block, and only where nothing was computed with them."""

from __future__ import annotations

import pytest
from programs import fixed, run

from gradfix.rewrite.writes import first_values

torch = pytest.importorskip("torch")

NET = "import torch\nfrom torch import nn\n\n\n"
FIRST_VALUES = {
    "of a layer that the module holds": (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.fc = nn.Linear(2, 2)\n        self.heads = nn.ModuleList([nn.Linear(2, 2)])\n{}\n"
        "    def forward(self, x):\n        return self.heads[0](self.fc(x))\n\n\n"
        "net = Net()\n",
        "        self.fc.weight.fill_(0.5)\n        self.fc.bias[0] = 1\n        self.fc.weight.t()[0].mul_(2)\n"
        "        for head in self.heads:\n            head.weight.zero_()\n            head.bias.zero_()\n",
    ),
    "of all layers of a kind": (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.fc = nn.Linear(2, 2)\n{}\n    def forward(self, x):\n        return self.fc(x)\n\n\n"
        "net = Net()\n",
        "        for m in self.modules():\n            if isinstance(m, (nn.Linear, nn.LayerNorm)):\n"
        "                m.weight.fill_(0.1)\n                if m.bias is not None:\n"
        "                    m.bias.zero_()\n",
    ),
    "by a function that is applied": (
        "def init_weights(m):\n{}\n\nnet = nn.Linear(2, 2)\nnet.apply(init_weights)\n",
        "    if isinstance(m, nn.Linear):\n        m.weight.fill_(0.1)\n        m.bias[0] = 1\n",
    ),
    "of a module before its first call": (
        "net = nn.Linear(2, 2)\n{}",
        "net.weight[0] = 0\nnet.bias += 1.0\nfor p in net.parameters():\n    p *= 0.5\n",
    ),
    "of a row that has a name": ("net = nn.Linear(2, 2)\nrow = net.weight[0]\n{}", "row.fill_(2.0)\n"),
}


@pytest.mark.parametrize("name", FIRST_VALUES)
def test_first_values_are_given_without_gradients_in_one_block(name: str) -> None:
    around, writes = FIRST_VALUES[name]
    text = NET + around + "show(net(torch.ones(1, 2)))\n"
    text += "net(torch.ones(1, 2)).sum().backward()\nshow(*(p.grad for p in net.parameters()))\n"
    assert "leaf Variable" in (run(text.format(writes)).error or "")
    made = fixed(text.format(writes))
    indentation = writes[: len(writes) - len(writes.lstrip())]
    block = "".join(f"    {line}\n" for line in writes.splitlines())
    assert made == text.format(f"{indentation}with torch.no_grad():\n{block}")
    assert run(made).error is None


USED_BEFORE = {
    "called": "y = net(torch.ones(1, 2))\nnet.weight[0] = 0\ny.sum().backward()\n",
    "called in every round": "for _ in range(2):\n    net.weight[0] = 0\n    net(torch.ones(1, 2)).sum().backward()\n",
    "called, and read by its module later": (
        "net(torch.ones(1, 2))\nrow = net.weight[0]\nrow.fill_(0)\nnet(torch.ones(1, 2)).sum().backward()\n"
    ),
    "called, and read from its module later": (
        "net(torch.ones(1, 2))\nrow = net.weight[0]\nrow.fill_(0)\n"
        "nn.functional.linear(torch.ones(1, 2), net.weight).sum().backward()\n"
    ),
    "called, and returned with its module": (
        "def f():\n    net = nn.Linear(2, 2)\n    net(torch.ones(1, 2))\n    row = net.weight[0]\n    row *= 2\n"
        "    return net\n\n\nf()\n"
    ),
    "handed to a function": "train(net)\nnet.weight[0] = 0\n",
    "made elsewhere": "def f(net):\n    net.weight[0] = 0\n\n\nf(net)\n",
    "of what has a graph": "x = torch.ones(2, requires_grad=True)\nnet.weight[0] = x * 2\n",
}


@pytest.mark.parametrize("name", USED_BEFORE)
def test_a_module_that_may_have_been_used_gets_no_first_values(name: str) -> None:
    text = NET + "def train(net):\n    net(torch.ones(1, 2)).sum().backward()\n\n\nnet = nn.Linear(2, 2)\n"
    text += USED_BEFORE[name]
    assert fixed(text) == text


def test_functions_that_make_parameters_are_the_same_for_the_check() -> None:
    parameters = pytest.importorskip("gradfix.backward.worker.parameters")
    assert parameters.INITIAL == first_values.INITIAL


@pytest.mark.parametrize("method", ["__init__", "reset_parameters", "_init_weights"])
def test_the_first_values_of_a_parameter_are_given_without_gradients(method: str) -> None:
    make = "        self.w = nn.Parameter(torch.empty(3))\n"
    first = "        self.w.uniform_(-1, 1)\n        self.w[0] = 0.5\n"
    later = f"        self.{method}()\n\n    def {method}(self):\n" if method != "__init__" else ""
    text = (
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        f"        super().__init__()\n{make}{later}{first}\nnet = Net()\nshow(net.w)\nnet.w.sum().backward()\n"
    )
    assert "leaf Variable" in (run(text).error or "")
    made = fixed(text)
    assert run(made).error is None
    assert "        with torch.no_grad():\n            self.w.uniform_(-1, 1)\n" in made


def test_the_first_value_of_a_parameter_that_has_a_name() -> None:
    text = NET + (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        w = nn.Parameter(torch.zeros(3))\n        w[0] = 1.0\n        self.w = w\n\n"
        "    def forward(self, x):\n        return (self.w * x).sum()\n\n\n"
        "net = Net()\nnet(torch.ones(3)).backward()\nshow(*(p.grad for p in net.parameters()))\n"
    )
    assert "leaf Variable" in (run(text).error or "")
    made = fixed(text)
    assert "        with torch.no_grad():\n            w[0] = 1.0\n" in made
    assert torch.equal(run(made).shown[0], torch.ones(3))  # type: ignore[arg-type]  # a tensor


PARTS = {
    "a view": ("", "    v = p.T\n    p.fill_(0.5)\n    p.mul_(2)\n(v * 3).sum().backward()\n"),
    "a view, by a function": (
        "def loss():\n    return (v * 3).sum()\n\n\n",
        "    v = p.T\n    p.fill_(0.5)\n    p.mul_(2)\nloss().backward()\n",
    ),
    "a property": (
        "class Net(nn.Linear):\n    @property\n    def scale(self):\n        return self.bias.exp()\n\n\n"
        "net = Net(2, 2)\n",
        "    p.fill_(0.5)\n    p.mul_(2)\n    s = net.scale\n(s * 3).sum().backward()\n",
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_what_is_read_behind_a_loop_over_parameters_keeps_its_graph(name: str) -> None:
    before, text = PARTS[name]
    made = fixed(f"{NET}net = nn.Linear(2, 2)\n{before}for p in net.parameters():\n{text}show(net.bias.grad)\n")
    assert "with torch.no_grad():\n        p.fill_(0.5)\n" in made
    assert run(made).error is None
