"""Every spelling of a write: the statement it stands in, what it writes to, what it is indexed by, what it puts in."""

from __future__ import annotations

import pytest
from programs import assert_cured

from gradfix.findings import Applicability

pytest.importorskip("torch")

HEAD = (
    "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\nx = torch.rand(3, 3, requires_grad=True)\n"
)
SAVED = "y = x.exp()\n"
END = "show(loss)\nloss.backward()\n"

PROGRAMS = {
    "attribute of an attribute": (
        "class O: pass\ns = O(); s.a = O(); s.a.b = x.exp()\ns.a.b[0] = 1.0\nloss = s.a.b.sum()\n"
    ),
    "item of a dict, twice indexed": "d = {'h': x.exp()}\nd['h'][0][1] = 1.0\nloss = d['h'].sum()\n",
    "item of a list": "ys = [x.exp(), x.tanh()]\nys[1][0] = 1.0\nloss = ys[1].sum()\n",
    "two tensors at once": SAVED + "z = x.tanh()\ny[0], z[0] = 1.0, 2.0\nloss = (y + z).sum()\n",
    "one tensor twice at once": SAVED + "y[0], y[1] = 1.0, 2.0\nloss = y.sum()\n",
    "beside a starred target": SAVED + "y[0, 0], *rest = [1.0, 2.0, 3.0]\nloss = y.sum() + sum(rest)\n",
    "beside a name": SAVED + "a = y[0] = torch.ones(3)\nloss = y.sum() + a.sum()\n",
    "two tensors, one value": SAVED + "z = x.tanh()\ny[0] = z[0] = 1.0\nloss = (y + z).sum()\n",
    "annotated": SAVED + "y[0]: torch.Tensor = torch.ones(3)\nloss = y.sum()\n",
    "a value that gets a name": SAVED + "y[0] = (v := x[1].sum())\nloss = y.sum() + v\n",
    "a target that gets a name": "(y := x.exp())[0] = 1.0\nloss = y.sum()\n",
    "a call on what gets a name": "(y := x.exp()).mul_(2)\nloss = y.sum()\n",
    "if on one line": SAVED + "if len(y) > 1: y[0] = 1.0\nloss = y.sum()\n",
    "semicolons": SAVED + "y[0] = 1.0; y[1] = 2.0; z = y.sin()\nloss = z.sum()\n",
    "for on one line": SAVED + "for i in range(2): y[i] = 1.0\nloss = y.sum()\n",
    "while on one line": SAVED + "i = 0\nwhile i < 2: y[i] *= 2; i += 1\nloss = y.sum()\n",
    "in a lambda": SAVED + "f = lambda t: t.mul_(2)\nz = f(y)\nloss = (y + z).sum()\n",
    "in a comprehension": SAVED + "zs = [y.mul_(2) for _ in range(2)]\nloss = y.sum() + zs[0].sum()\n",
    "round by round in a comprehension": SAVED + "zs = [y.mul_(k).sum() for k in (2.0, 3.0)]\nloss = zs[0] + zs[1]\n",
    "round by round in a generator": SAVED
    + "loss = sum(torch.add(y, k, out=None).sum() + y.mul_(k).sum() for k in (2, 3))\n",
    "in a comprehension's condition": SAVED
    + "zs = [k for k in (2.0, 3.0) if y.mul_(k).sum() > 0]\nloss = y.sum() * sum(zs)\n",
    "of each in a comprehension": "ys = [x.exp(), x.tanh()]\nzs = [t.mul_(2).sum() for t in ys]\nloss = sum(zs)\n",
    "in a conditional expression": SAVED + "z = y.mul_(2) if len(y) else y\nloss = (y + z).sum()\n",
    "behind and": SAVED + "z = len(y) and y.mul_(2)\nloss = (y + z).sum()\n",
    "deep in an argument": SAVED + "print(end='', *[y.mul_(2).shape[0] - 3 or ''])\nloss = y.sum()\n",
    "in an assertion": SAVED + "assert y.mul_(2) is not None\nloss = y.sum()\n",
    "in what is returned": "def f(x):\n    y = x.exp()\n    return y.mul_(2).sum() + y.sum()\nloss = f(x)\n",
    "before a method that writes elsewhere": SAVED + "y.mul_(2).sum().add_(1)\nloss = y.sum()\n",
    "three in a chain": SAVED + "y.mul_(2).add_(1).clamp_(min=0.5)\nloss = y.sum()\n",
    "three that save, in a chain": SAVED + "z = y.sigmoid_().mul_(2).exp_()\nloss = (y + z).sum()\n",
    "through a view on the spot": SAVED + "y.view(-1).mul_(2)\nloss = y.sum()\n",
    "through the transposed": SAVED + "y.T[0] = 1.0\nloss = y.sum()\n",
    "F inplace positional": SAVED + "z = F.relu(y, True)\nloss = (z * 2).sum()\n",
    "F.elu inplace": "y = x.tanh()\nz = F.elu(y, 1.0, True)\nloss = (z + y).sum()\n",
    "F.hardtanh_": SAVED + "F.hardtanh_(y)\nloss = y.sum()\n",
    "F.threshold": SAVED + "y = F.threshold(y, 1.5, 0.0, inplace=True)\nloss = y.sum()\n",
    "module inplace": "act = nn.LeakyReLU(0.1, inplace=True)\ny = x.tanh()\nz = act(y)\nloss = z.sum()\n",
    "seq inplace": "net = nn.Sequential(nn.Sigmoid(), nn.ReLU(True), nn.Dropout(0.0, True))\nloss = net(x).sum()\n",
    "+= attr": "class O: pass\ns = O()\ns.h = x.exp()\ns.h += 1\nloss = s.h.sum()\n",
    "+= subscript": SAVED + "y[0] += 1\ny[:, 1] -= x[:, 0]\nloss = y.sum()\n",
    "**=": SAVED + "y **= 2\nloss = y.sum()\n",
    "%=": SAVED + "y %= 2\nloss = y.sum()\n",
    "&= mask": SAVED + "m = y > 1\nz = torch.where(m, y, x)\nm &= y < 2\nloss = z.sum() + (z * m).sum()\n",
    "idx +=": SAVED + "i = torch.tensor([0, 1])\nz = y[i]\ni += 1\nloss = z.sum() + y[i].sum()\n",
    "newaxis": SAVED + "y[None, 0] = 1.0\nloss = y.sum()\n",
    "ellipsis": SAVED + "y[..., 0] = x[0]\nloss = y.sum()\n",
    "full": SAVED + "y[:] = 2.0 * x\nloss = y.sum() + 0\n",
    "dots full": SAVED + "y[...] = 0.5\nloss = y.sum() + x.sum()\n",
    "neg slice": SAVED + "y[-2:] = 1.0\nloss = y.sum()\n",
    "step slice": SAVED + "y[::2] = 1.0\nloss = y.sum()\n",
    "bool idx": SAVED + "y[True] = 1.0\nloss = y.sum() + x.sum()\n",
    "list idx": SAVED + "y[[0, 1]] = 1.0\nloss = y.sum()\n",
    "tuple lists": SAVED + "y[[0, 1], [1, 2]] = torch.ones(2)\nloss = y.sum()\n",
    "range idx": SAVED + "y[range(2)] = 1.0\nloss = y.sum()\n",
    "dup idx": SAVED + "y[torch.tensor([0, 0])] = 1.0\nloss = y.sum()\n",
    "mixed idx": SAVED + "y[0, torch.tensor([1, 2])] = 1.0\nloss = y.sum()\n",
    "partial mask": SAVED + "y[x.sum(1) > 1] = 0.0\nloss = y.sum()\n",
    "mask values": SAVED + "m = x > 0.5\ny[m] = x[m]\nloss = y.sum()\n",
    "mask col": SAVED + "m = x[0] > 0.5\ny[:, m] = 0.0\nloss = y.sum()\n",
    "0d": "y = x.exp().sum()\nz = y.exp()\nz[()] = 1.0\nloss = z + y\n",
    "f64 value": SAVED + "y[0] = torch.ones(3, dtype=torch.float64)\nloss = y.sum()\n",
    "lead-1 value": SAVED + "y[0] = torch.ones(1, 3)\nloss = y.sum()\n",
    "int value": SAVED + "y[0] = torch.arange(3)\nloss = y.sum()\n",
    "bool value": SAVED + "y[0] = True\nloss = y.sum()\n",
    "item value": SAVED + "y[0] = y[1, 1].item()\nloss = y.sum()\n",
    "value reads": SAVED + "y[1:] = y[:-1] * 2\nloss = y.sum()\n",
    "tuple under a name": SAVED + "i = (0, 1)\ny[i].mul_(2)\ny[i] += 1\nloss = y.sum()\n",
    "view by a tuple under a name": SAVED + "i = (0, 1)\nv = y[i]\nv.mul_(2)\nloss = y.sum()\n",
    "view by None under a name": SAVED + "i = None\nv = y[i]\nv.mul_(2)\nloss = y.sum()\n",
    "effect index": SAVED + "it = iter([0, 1])\ny[next(it)] = 1.0\nloss = y.sum()\n",
    "effect augmented": SAVED + "it = iter([0, 1])\ny[next(it)] *= 2\nloss = y.sum()\n",
    "global": SAVED + "def g():\n    y[0] = 1.0\ng()\nloss = y.sum()\n",
    "global stmt": SAVED + "def g():\n    global y\n    y += 1\ng()\nloss = y.sum()\n",
    "nonlocal": (
        "def f(x):\n    y = x.exp()\n    def g():\n        nonlocal y\n"
        "        y *= 2\n    g()\n    return y.sum()\nloss = f(x)\n"
    ),
    "with": SAVED + "with torch.enable_grad(): y[0] = 1.0\nloss = y.sum()\n",
    "try": SAVED + "try:\n    y[0] = 1.0\nfinally:\n    y.mul_(2)\nloss = y.sum()\n",
    "match": SAVED + "match len(y):\n    case 3: y[0] = 1.0\nloss = y.sum()\n",
    "zip loop": (
        "ys = [x.exp(), x.tanh()]\nfor y, k in zip(ys, (2, 3)):\n    y *= k\nloss = ys[0].sum() + ys[1].sum()\n"
    ),
    "dict values": "d = {'a': x.exp()}\nfor k in d:\n    d[k] *= 2\nloss = d['a'].sum()\n",
    "dict values2": "d = {'a': x.exp()}\nfor v in d.values():\n    v *= 2\nloss = d['a'].sum()\n",
    "index_fill_": SAVED + "y.index_fill_(0, torch.tensor([0]), 1.0)\nloss = y.sum()\n",
    "scatter_": SAVED + "y.scatter_(1, torch.tensor([[0], [1], [2]]), 1.0)\nloss = y.sum()\n",
    "fill_diagonal_": SAVED + "y.fill_diagonal_(0)\nloss = y.sum()\n",
    "zero_": SAVED + "z = y.sin()\ny.zero_()\nloss = z.sum() + y.sum()\n",
    "copy_": SAVED + "y.copy_(x)\nloss = y.sum()\n",
    "copy_ slice": SAVED + "y[0].copy_(x[1])\nloss = y.sum()\n",
    "normal_": SAVED + "z = y.sin()\ny.normal_()\nloss = z.sum() + y.sum()\n",
    "uniform_": SAVED + "z = y.sin()\ny.uniform_(-1, 1)\nloss = z.sum() + y.sum()\n",
    "bernoulli_": SAVED + "z = y.sin()\ny.bernoulli_(0.5)\nloss = z.sum() + y.sum()\n",
    "masked_scatter_": SAVED + "y.masked_scatter_(x > 0.5, x * 2)\nloss = y.sum()\n",
    "t_": SAVED + "y.t_()\ny[0] = 1.0\nloss = (y * x).sum()\n",
    "squeeze_": "y = x[:1].exp()\ny.squeeze_(0)\ny += 1\nloss = y.sum()\n",
    "gt_": SAVED + "z = y.sin()\ny.gt_(1.0)\nloss = z.sum() + (y * x).sum()\n",
    "lerp_": SAVED + "y.lerp_(x, 0.5)\nloss = y.sum()\n",
    "addcmul_": SAVED + "y.addcmul_(x, x, value=2)\nloss = y.sum()\n",
    "put_": SAVED + "y.put_(torch.tensor([0]), torch.tensor([2.0]))\nloss = y.sum()\n",
    "torch.relu_": "y = x.tanh()\ntorch.relu_(y)\nloss = y.sum()\n",
    "torch.clamp_": SAVED + "torch.clamp_(y, max=2)\nloss = y.sum()\n",
    "nn.init": SAVED + "z = y.sin()\nnn.init.zeros_(y)\nloss = z.sum() + y.sum()\n",
    "by a special method": SAVED + "y.__setitem__(0, 1.0)\nloss = y.sum()\n",
    "by a special method, augmented": SAVED + "y.__iadd__(1)\nloss = y.sum()\n",
    "by a function of operator": "import operator\ny = x.exp()\ny = operator.iadd(y, 1)\nloss = y.sum()\n",
    "by a function for lists": (
        "ys = [x.exp(), x.tanh()]\ntorch._foreach_mul_(ys, 2)\nloss = ys[0].sum() + ys[1].sum()\n"
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_write_is_cured_however_it_is_spelled(name: str) -> None:
    assert_cured(
        HEAD + PROGRAMS[name] + END, "modified by an inplace operation", "x", applicability=Applicability.UNSAFE
    )


@pytest.mark.parametrize(
    "swap",
    [
        "a, b = y[0], y[1]\ny[0], y[1] = b, a\n",
        "parts = [y[0], y[2]]\ny[0], y[2] = parts[1], parts[0]\n",
        "z = y\ny[0], y[1] = z[1], z[0]\n",
        "t = y[1]\nw = x.sin()\ny[1], w[0] = 2.0, t\ny = y + w\n",
    ],
)
def test_views_taken_before_show_the_first_write_of_several_at_once(swap: str) -> None:
    loss = "loss = (y * torch.arange(3.0)[:, None]).sum()\n"
    assert_cured(HEAD + SAVED + swap + loss + END, "modified by an inplace operation", "x")


def test_a_module_alone_is_handed_a_copy_where_nobody_reads_its_input_again() -> None:
    function = "def f(x):\n    act = nn.ReLU(inplace=True)\n    y = x.tanh()\n    z = act(y)\n    return {}.sum()\n\n\n"
    for result, line in (("z", "    z = act(y.clone())\n"), ("(y + z)", "    y = x.tanh().clone()\n    z = act(y)\n")):
        text = HEAD + function.format(result) + "loss = f(x)\n" + END
        assert line in assert_cured(text, "modified by an inplace operation", "x")
