"""`inplace=True` of modules that stand behind others in a `Sequential`, and of functions, by name or by position."""

from __future__ import annotations

import pytest
from programs import assert_cured

pytest.importorskip("torch")

HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
LEAF = "x = torch.randn(3, 3, requires_grad=True)\n"

PROGRAMS = {
    "in a Sequential": (
        "net = nn.Sequential(nn.Sigmoid(), nn.ReLU(inplace=True))\nloss = net(x).sum()\n",
        "net = nn.Sequential(nn.Sigmoid(), nn.ReLU())",
    ),
    "by position": (
        "net = nn.Sequential(nn.Tanh(), nn.ReLU(True), nn.Softplus())\nloss = net(x).sum()\n",
        "net = nn.Sequential(nn.Tanh(), nn.ReLU(), nn.Softplus())",
    ),
    "with other arguments": (
        "net = nn.Sequential(nn.Tanh(), nn.LeakyReLU(0.1, inplace=True))\nloss = net(x).sum()\n",
        "net = nn.Sequential(nn.Tanh(), nn.LeakyReLU(0.1))",
    ),
    "before other arguments": (
        "net = nn.Sequential(nn.Tanh(), nn.Hardtanh(inplace=True, max_val=0.5))\nloss = net(x).sum()\n",
        "net = nn.Sequential(nn.Tanh(), nn.Hardtanh(max_val=0.5))",
    ),
    "over several lines": (
        "net = nn.Sequential(\n    nn.Softmax(-1),\n    nn.Dropout(\n        0.5,\n        inplace=True,\n    ),\n)\n"
        "loss = net(x).sum()\n",
        "        0.5,",
    ),
    "in the body of a module": (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.body = nn.Sequential(nn.Sigmoid(), nn.ReLU(inplace=True), nn.Linear(3, 3))\n\n"
        "    def forward(self, x):\n        return self.body(x)\n\n\nloss = Net()(x).sum()\n",
        "        self.body = nn.Sequential(nn.Sigmoid(), nn.ReLU(), nn.Linear(3, 3))",
    ),
    "two at once": (
        "net = nn.Sequential(nn.Sigmoid(), nn.ReLU(inplace=True), nn.Dropout(0.5, True))\nloss = net(x).sum()\n",
        "net = nn.Sequential(nn.Sigmoid(), nn.ReLU(), nn.Dropout(0.5))",
    ),
    "of a function, by position": ("h = x.sigmoid()\nh = F.relu(h, True)\nloss = h.sum()\n", "h = F.relu(h)"),
    "of a function, last of several": ("h = x.exp()\nh = F.elu(h, 0.5, True)\nloss = h.sum()\n", "h = F.elu(h, 0.5)"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_flag_goes(name: str) -> None:
    body, line = PROGRAMS[name]
    text = assert_cured(HEAD + LEAF + body + "show(loss)\nloss.backward()\n", "modified by an inplace operation", "x")
    assert line in text.splitlines(), text
