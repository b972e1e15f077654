"""`rebind` on snippets with facts made by hand: the exact text it writes."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from build import NUMBER, Case, case, tensor, value

from gradfix.analysis.facts import IndexItem, IndexKind, Obstacle, ObstacleKind, Spelling, TensorFacts, Tracked
from gradfix.findings import Applicability

INT = IndexKind.INT
MASK_1D = IndexItem(IndexKind.MASK, None, rank=1)  # type: ignore[arg-type]  # the builder puts the node in
MASK = IndexItem(IndexKind.MASK, None)  # type: ignore[arg-type]
INDEX = IndexItem(IndexKind.TENSOR, None, rank=1, is_tensor=True)  # type: ignore[arg-type]
LIST = IndexItem(IndexKind.TENSOR, None, rank=1)  # type: ignore[arg-type]

SAME = value(same_dtype=True)

UNTRACKED = TensorFacts(tracked=Tracked.NO)
BEST = {
    "element from number": (
        case("y[0] = 10\n", facts=tensor(3)),
        "y = y.index_put((torch.tensor(0),), y.new_tensor(10))\n",
    ),
    "element of a matrix": (
        case("y[0, -1] = 2.5\n", facts=tensor(3, 4)),
        "y = y.index_put((torch.tensor(0), torch.tensor(-1)), y.new_tensor(2.5))\n",
    ),
    "element from a number by name": (
        case("y[0] = c\n", facts=tensor(3), written=NUMBER),
        "y = y.index_put((torch.tensor(0),), y.new_full((), c))\n",
    ),
    "element from a tensor": (
        case("y[0] = y[0] * y[1]\n", facts=tensor(3), written=value()),
        "y = torch.select_scatter(y, y[0] * y[1], 0, 0)\n",
    ),
    "element at a variable": (
        case("y[i] = v\n", facts=tensor(3), written=value(), kinds={"i": INT}),
        "y = torch.select_scatter(y, v, 0, i)\n",
    ),
    "column": (
        case("y[:, i] = v  # col\n", facts=tensor(3, 4), written=value(3), kinds={"i": INT}),
        "y = torch.select_scatter(y, v, 1, i)  # col\n",
    ),
    "last axis": (
        case("y[..., j] = v\n", facts=tensor(2, 3, 4), written=value(2, 3), kinds={"j": INT}),
        "y = torch.select_scatter(y, v, -1, j)\n",
    ),
    "row from number": (
        case("y[2] = 0\n", facts=tensor(3, 4)),
        "y = torch.select_scatter(y, torch.zeros_like(y[2]), 0, 2)\n",
    ),
    "row of ones": (
        case("y[2] = 1.0\n", facts=tensor(3, 4)),
        "y = torch.select_scatter(y, torch.ones_like(y[2]), 0, 2)\n",
    ),
    "row below zero": (
        case("y[2] = -0.0\n", facts=tensor(3, 4)),
        "y = torch.select_scatter(y, torch.full_like(y[2], -0.0), 0, 2)\n",
    ),
    "slice": (
        case("y[1:3] = v\n", facts=tensor(5), written=value(2)),
        "y = torch.slice_scatter(y, v, 0, 1, 3)\n",
    ),
    "slice with a step": (
        case("y[:, ::2] = v\n", facts=tensor(3, 5), written=value(3, 3)),
        "y = torch.slice_scatter(y, v, 1, step=2)\n",
    ),
    "slice to an end": (
        case("y[:2] = v\n", facts=tensor(5), written=value(2)),
        "y = torch.slice_scatter(y, v, end=2)\n",
    ),
    "slice from a start with a step": (
        case("y[1::2] = v\n", facts=tensor(5), written=value(2)),
        "y = torch.slice_scatter(y, v, 0, 1, step=2)\n",
    ),
    "slice of a shape not proven": (
        case("y[1:3] = v\n", facts=tensor(5), written=value(None)),
        "y = y.clone()\ny[1:3] = v\n",
    ),
    "leading size of 1": (
        case("y[1] = v\n", facts=tensor(3, 4), written=value(1, 4)),
        "y = y.clone()\ny[1] = v\n",
    ),
    "mask of full rank": (
        case("y[y < 0] = 0.0\n", facts=tensor(3), kinds={"y < 0": MASK_1D}),
        "y = torch.where(y < 0, 0.0, y)\n",
    ),
    "mask of the tensor itself, rank unknown": (
        case("y[y < 0] = 0.0\n", kinds={"y < 0": MASK}),
        "y = torch.where(y < 0, 0.0, y)\n",
    ),
    "inverted mask of the tensor itself": (
        case("y[~torch.isnan(y) & (y > 1)] = 0.0\n", kinds={"~torch.isnan(y) & (y > 1)": MASK}),
        "y = torch.where(~torch.isnan(y) & (y > 1), 0.0, y)\n",
    ),
    "mask of a row of the tensor": (
        case("y[y[0] < 0] = 0.0\n", kinds={"y[0] < 0": MASK}),
        "y = y.index_put((y[0] < 0,), y.new_tensor(0.0))\n",
    ),
    "mask of unknown rank": (
        case("w[mask] = 0.0\n", kinds={"mask": MASK}),
        "w = w.index_put((mask,), w.new_tensor(0.0))\n",
    ),
    "mask on a tensor that may be int": (
        case("y[m] = 0.5\n", facts=tensor(3, tracked=Tracked.MAYBE), kinds={"m": MASK_1D}),
        "y = y.index_put((m,), y.new_tensor(0.5))\n",
    ),
    "mask and scalar tensor": (
        case("y[m] = s\n", facts=tensor(3), written=value(dtype="float64"), kinds={"m": MASK_1D}),
        "y = torch.where(m, s, y)\n",
    ),
    "mask and values": (
        case("y[m] = v\n", facts=tensor(3), written=value(2, same_dtype=True), kinds={"m": MASK_1D}),
        "y = y.index_put((m,), v)\n",
    ),
    "tensor index": (
        case("y[idx] = v\n", facts=tensor(3), written=value(2), kinds={"idx": INDEX}),
        "y = y.index_put((idx,), v)\n",
    ),
    "two tensor indices": (
        case("y[i, j] = v\n", written=value(2), kinds={"i": INDEX, "j": INDEX}),
        "y = y.index_put((i, j), v)\n",
    ),
    "list index": (
        case("y[ids] = v\n", written=value(2), kinds={"ids": LIST}),
        "y = y.clone()\ny[ids] = v\n",
    ),
    "whole tensor": (case("y[:] = 0\n", facts=tensor(3)), "y = torch.fill(y, 0)\n"),
    "whole tensor, more than half precision has": (
        case("y[:] = 1e9\n", facts=tensor(3)),
        "y = y.clone()\ny[:] = 1e9\n",
    ),
    "value that reads the tensor": (
        case("y[1:] = f(y)\n"),
        "value = f(y)\ny = y.clone()\ny[1:] = value\n",
    ),
    "view of the tensor itself": (case("y[1:] = y[:-1]\n"), "value = y[:-1]\ny = y.clone()\ny[1:] = value\n"),
    "name for the value is taken": (
        case("value = 1\ny[1:] = f(y)\n", at="y[1:] = f(y)"),
        "value = 1\nnew_value = f(y)\ny = y.clone()\ny[1:] = new_value\n",
    ),
    "effect in the index": (
        case("y[next(it)] = v\n", facts=tensor(3), written=value(), kinds={"next(it)": INT}),
        "y = y.clone()\ny[next(it)] = v\n",
    ),
    "walrus in the value": (
        case("y[i] = (i := 2)\n", facts=tensor(3), written=NUMBER, kinds={"i": INT}),
        "y = y.clone()\ny[i] = (i := 2)\n",
    ),
    "call that may see the attribute": (
        case("self.h[0] = self.step()\n", facts=tensor(3), written=value()),
        "value = self.step()\nself.h = self.h.clone()\nself.h[0] = value\n",
    ),
    "call that sees the name in a closure": (
        case("def f(y):\n    def g():\n        return y.exp()\n    y[1:] = g()\n"),
        "def f(y):\n    def g():\n        return y.exp()\n    value = g()\n    y = y.clone()\n    y[1:] = value\n",
    ),
    "chained targets": (case("a = y[0] = f(y)\n"), "value = f(y)\ny = y.clone()\na = y[0] = value\n"),
    "tuple target": (case("y[0], k = a, b\n"), "y = y.clone()\ny[0], k = a, b\n"),
    "annotated": (case("y[0]: float = 1.0\n"), "y = y.clone()\ny[0]: float = 1.0\n"),
    "nested attribute": (
        case("self.a.b[i] = v\n", facts=tensor(3), written=value(), kinds={"i": INT}),
        "self.a.b = torch.select_scatter(self.a.b, v, 0, i)\n",
    ),
    "item of a dict": (case('d["h"][i][j] = v\n', holder="d['h'][i]"), 'd["h"] = d["h"].clone()\nd["h"][i][j] = v\n'),
    "item of a list": (case("ys[k][0] = 1\n"), "ys[k] = ys[k].clone()\nys[k][0] = 1\n"),
    "view spelled out": (case("y[0][1] = v\n", holder="y"), "y = y.clone()\ny[0][1] = v\n"),
    "augmented by a number": (case("h += 1\n"), "h = h + 1\n"),
    "augmented by a sum": (case("a /= b + c\n", written=SAME), "a = a / (b + c)\n"),
    "augmented by a product": (case("a += b * c\n", written=SAME), "a = a + b * c\n"),
    "same strength on the right": (case("a += b + c\n", written=SAME), "a = a + (b + c)\n"),
    "comparison": (case("a *= b > 0\n", written=SAME), "a = a * (b > 0)\n"),
    "ternary": (case("a -= b if c else d\n", written=SAME), "a = a - (b if c else d)\n"),
    "own parentheses": (case("a -= (b - c)\n", written=SAME), "a = a - (b - c)\n"),
    "power of a negative": (case("a **= -2\n"), "a = a ** -2\n"),
    "not": (case("a &= not b\n", written=SAME), "a = a & (not b)\n"),
    "yield": (case("def f(a):\n    a += yield\n", written=SAME), "def f(a):\n    a = a + (yield)\n"),
    "lambda call": (case("a += (lambda: 1)()\n", written=SAME), "a = a + (lambda: 1)()\n"),
    "tight spacing": (case("a+=1\n"), "a=a+1\n"),
    "operand of unknown dtype": (case("out += identity\n"), "out = (out + identity).to(out.dtype)\n"),
    "operand made of the target": (case("x /= x.max()\n"), "x = x / x.max()\n"),
    "norm of the target": (
        case("z /= z.norm(dim=-1, keepdim=True)\n"),
        "z = z / z.norm(dim=-1, keepdim=True)\n",
    ),
    "function of the target": (
        case("v /= torch.linalg.norm(v, dim=-1)\n"),
        "v = v / torch.linalg.norm(v, dim=-1)\n",
    ),
    "division of what may be int": (
        case("w /= w.sum()\n", facts=TensorFacts(tracked=Tracked.MAYBE)),
        "w = w / w.sum()\n",
    ),
    "sum of what may be int": (
        case("w += w.sum()\n", facts=TensorFacts(tracked=Tracked.MAYBE)),
        "w = (w + w.sum()).to(w.dtype)\n",
    ),
    "cast of the target": (case("x += x.double()\n"), "x = (x + x.double()).to(x.dtype)\n"),
    "dtype by keyword": (
        case("x += x.sum(0, dtype=torch.float64)\n"),
        "x = (x + x.sum(0, dtype=torch.float64)).to(x.dtype)\n",
    ),
    "tensor of the default dtype": (case("x += torch.ones(3)\n"), "x = (x + torch.ones(3)).to(x.dtype)\n"),
    "tensor of the default dtype made from the target": (
        case("x += torch.linspace(x.min(), 1, 3)\n"),
        "x = (x + torch.linspace(x.min(), 1, 3)).to(x.dtype)\n",
    ),
    "operand of the same dtype": (
        case("x += v\n", facts=tensor(3, dtype="float32"), written=value(3, dtype="float32")),
        "x = x + v\n",
    ),
    "wider operand": (
        case("x += v\n", facts=tensor(3, dtype="float32"), written=value(3, dtype="float64")),
        "x = (x + v).to(x.dtype)\n",
    ),
    "wider operand without dimensions": (
        case("x += v\n", facts=tensor(3, dtype="float32"), written=value(dtype="float64")),
        "x = x + v\n",
    ),
    "number at first": (
        case("total = 0.0\nfor v in x:\n    total += v.sum()\n"),
        "total = 0.0\nfor v in x:\n    total = total + v.sum()\n",
    ),
    "number at first in the constructor": (
        case("class A:\n    def __init__(self):\n        self.n = 0\n    def f(self, v):\n        self.n += v\n"),
        "class A:\n    def __init__(self):\n        self.n = 0\n    def f(self, v):\n        self.n = self.n + v\n",
    ),
    "augmented attribute": (case("self.h += 1\n"), "self.h = self.h + 1\n"),
    "augmented item of a dict": (case('d["h"] += 1\n'), 'd["h"] = d["h"] + 1\n'),
    "augmented row": (case("y[0] += v\n"), "y = torch.select_scatter(y, y[0] + v, 0, 0)\n"),
    "augmented block": (
        case("y[1:-1, t] += dt * w\n", kinds={"t": INT}),
        "y = y.clone()\ny[1:-1, t] += dt * w\n",
    ),
    "augmented tensor index": (
        case("y[idx] *= 2\n", kinds={"idx": INDEX}),
        "y = y.index_put((idx,), y[idx] * 2)\n",
    ),
    "augmented tensor index by unknown dtype": (
        case("y[idx] *= w\n", kinds={"idx": INDEX}),
        "value = (y[idx] * w).to(y.dtype)\ny = y.clone()\ny[idx] = value\n",
    ),
    "method": (case("y.exp_()\n"), "y = y.exp()\n"),
    "method with a number": (case("y.add_(2, alpha=3)\n"), "y = y.add(2, alpha=3)\n"),
    "method with a tensor": (case("y.mul_(w)\n"), "y = y.mul(w).to(y.dtype)\n"),
    "method that keeps the dtype": (case("y.masked_fill_(m, v)\n"), "y = y.masked_fill(m, v)\n"),
    "comparing method": (case("y.eq_(3)\n", facts=UNTRACKED), "y = y.eq(3).to(y.dtype)\n"),
    "comparing method that stays connected": (case("y.eq_(3)\n"), "y = y.clone()\ny.eq_(3)\n"),
    "chain": (case("y.mul_(2).add_(1)\n", nth=0), "y = y.mul(2).add(1)\n"),
    "chain seen from its end": (case("y.mul_(2).add_(1)\n", nth=1), "y = y.mul(2).add(1)\n"),
    "chain over lines": (
        case("y = (\n    y.mul_(2)  # twice\n    .add_(1)\n)\n", nth=1),
        "y = (\n    y.mul(2)  # twice\n    .add(1)\n)\n",
    ),
    "value kept": (case("z = y.relu_()\n"), "z = y = y.relu()\n"),
    "value kept, tensor dead": (
        case("def f(x):\n    y = g(x)\n    z = y.relu_()\n    return z\n"),
        "def f(x):\n    y = g(x)\n    z = y.relu()\n    return z\n",
    ),
    "value used in what it is assigned": (
        case("def f(y):\n    y = g(2, y.relu_())\n    return y\n"),
        "def f(y):\n    y = g(2, y.relu())\n    return y\n",
    ),
    "value used in what is returned": (
        case("def f(y):\n    return g(y.relu_())\n"),
        "def f(y):\n    return g(y.relu())\n",
    ),
    "value and tensor used in what is returned": (
        case("def f(y):\n    return g(y.relu_(), y)\n"),
        "def f(y):\n    y = y.relu()\n    return g(y, y)\n",
    ),
    "read by the next round": (
        case("def f(y):\n    for _ in y:\n        z = y.relu_()\n"),
        "def f(y):\n    for _ in y:\n        z = y = y.relu()\n",
    ),
    "value returned": (case("def f(y):\n    return y.relu_()\n"), "def f(y):\n    return y.relu()\n"),
    "attribute returned": (
        case("def f(self):\n    return self.y.relu_()\n"),
        "def f(self):\n    self.y = self.y.relu()\n    return self.y\n",
    ),
    "returned through finally": (
        case("def f(y):\n    try:\n        return y.relu_()\n    finally:\n        log(y)\n"),
        "def f(y):\n    try:\n        y = y.relu()\n        return y\n    finally:\n        log(y)\n",
    ),
    "argument": (case("f(a, y.relu_(), y)\n"), "y = y.relu()\nf(a, y, y)\n"),
    "something is evaluated before": (case("f(g(y), y.relu_())\n"), "y = y.clone()\nf(g(y), y.relu_())\n"),
    "only under a condition": (case("z = y.relu_() if c else y\n"), "y = y.clone()\nz = y.relu_() if c else y\n"),
    "no name, value used": (case("h = conv(x).relu_()\n"), "h = conv(x).relu()\n"),
    "fill": (case("y.fill_(0)\n"), "y = torch.fill(y, 0)\n"),
    "random fill": (case("y.normal_()\n"), "y = y.clone()\ny.normal_()\n"),
    "bernoulli is no twin": (case("y.bernoulli_(0.5)\n"), "y = y.clone()\ny.bernoulli_(0.5)\n"),
    "copy of what it reads": (case("y.copy_(y.flip(0))\n"), "value = y.flip(0)\ny = y.clone()\ny.copy_(value)\n"),
    "copy returned": (
        case("def f(y):\n    return y.copy_(y.flip(0))\n"),
        "def f(y):\n    value = y.flip(0)\n    y = y.clone()\n    return y.copy_(value)\n",
    ),
    "method of a view": (case("y[i].mul_(2)\n", holder="y"), "y = y.clone()\ny[i].mul_(2)\n"),
    "method of a transposed view": (case("y.t().mul_(2)\n", holder="y"), "y = y.clone()\ny.t().mul_(2)\n"),
    "method of a diagonal": (case("y.diagonal().zero_()\n", holder="y"), "y = y.clone()\ny.diagonal().zero_()\n"),
    "function": (case("torch.relu_(y)\n"), "y = torch.relu(y)\n"),
    "functional": (case("F.elu_(y)\n"), "y = F.elu(y)\n"),
    "flag": (case("F.relu(y, inplace=True)\n"), "y = F.relu(y)\n"),
    "flag, assigned back": (case("out = F.relu(out, inplace=True)\n"), "out = F.relu(out)\n"),
    "flag over lines": (
        case("out = F.dropout(\n    out,\n    0.5,\n    inplace=True,\n)\n"),
        "out = F.dropout(\n    out,\n    0.5,\n)\n",
    ),
    "flag of a module": (case("out = self.act(out)\n"), "out = self.act(out.clone())\n"),
    "flag of a module, other name": (case("h = self.act(out)\n"), "out = out.clone()\nh = self.act(out)\n"),
    # layout
    "one-line if": (case("if c: y[1:] = g(y)\n"), "if c: value = g(y); y = y.clone(); y[1:] = value\n"),
    "one-line if over a backslash": (case("if c: \\\n    y[1:] = v\n"), "if c: \\\n    y = y.clone(); y[1:] = v\n"),
    "semicolons": (case("a = 1; y[1:] = v; b = 2\n"), "a = 1; y = y.clone(); y[1:] = v; b = 2\n"),
    "trailing semicolon": (case("y[1:] = v;\n"), "y = y.clone(); y[1:] = v;\n"),
    "tabs": (case("if c:\n\ty[1:] = v\n"), "if c:\n\ty = y.clone()\n\ty[1:] = v\n"),
    "crlf": (case("if c:\r\n    y[1:] = v  # é\r\n"), "if c:\r\n    y = y.clone()\r\n    y[1:] = v  # é\r\n"),
    "carriage returns": (case("if c:\r    y[1:] = v\r"), "if c:\r    y = y.clone()\r    y[1:] = v\r"),
    "form feed": (case("\fy[1:] = v\n"), "\fy = y.clone()\ny[1:] = v\n"),
    "type comment": (case("y[1:] = v  # type: ignore\n"), "y = y.clone()\ny[1:] = v  # type: ignore\n"),
    "line continuation": (case("h += \\\n    1\n"), "h = h + \\\n    1\n"),
    "comment inside": (
        case("y[0] = (  # why\n    10\n)\n", facts=tensor(3)),
        "y = y.index_put((torch.tensor(0),), y.new_tensor((  # why\n    10\n)))\n",
    ),
    "comment in the index": (
        case("y[  # why\n    0\n] = 10\n", facts=tensor(3)),
        "y = y.clone()\ny[  # why\n    0\n] = 10\n",
    ),
    "string with newlines": (
        case("y[1:] = f(y, '''a\r\n  b''')\r\n"),
        "value = f(y, '''a\r\n  b''')\r\ny = y.clone()\r\ny[1:] = value\r\n",
    ),
    "argument over lines": (
        case("y.copy_(\n    y +\n    1\n)\n"),
        "value = (y +\n    1)\ny = y.clone()\ny.copy_(\n    value\n)\n",
    ),
    "non-ascii": (case("ñ = 'é'; y[1:] = v\n"), "ñ = 'é'; y = y.clone(); y[1:] = v\n"),
    "no final newline": (case("y[1:] = v"), "y = y.clone()\ny[1:] = v"),
    "match": (
        case("match a:\n    case 1: y[1:] = v\n"),
        "match a:\n    case 1: y = y.clone(); y[1:] = v\n",
    ),
    "async": (
        case("async def f(y):\n    y[1:] = await g(y)\n"),
        "async def f(y):\n    value = await g(y)\n    y = y.clone()\n    y[1:] = value\n",
    ),
    # spelling
    "torch under another name": (
        case("y[0] = 1\n", facts=tensor(3), spelling=Spelling("th", None, (), 1)),
        "y = y.index_put((th.tensor(0),), y.new_tensor(1))\n",
    ),
    "function imported by name": (
        case(
            "y[y < 0] = 0\n",
            facts=tensor(3),
            kinds={"y < 0": MASK_1D},
            spelling=Spelling(None, None, (("w", "torch.where"),), 1),
        ),
        "y = w(y < 0, 0, y)\n",
    ),
    "torch not imported": (
        case("import os\r\ny[0] = 1\r\n", facts=tensor(3), spelling=Spelling(None, None, (), 1)),
        "import os\r\nimport torch\r\ny = y.index_put((torch.tensor(0),), y.new_tensor(1))\r\n",
    ),
    "torch can't be imported": (
        case("y[0] = 1\n", facts=tensor(3), spelling=Spelling(None, None, (), None)),
        "y = y.clone()\ny[0] = 1\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), BEST.values(), ids=BEST)
def test_best_form(before: Case, after: str) -> None:
    assert before.best() == after


CLONE = {
    "element": (case("y[0] = 10\n", facts=tensor(3)), "y = y.clone()\ny[0] = 10\n"),
    "element that reads": (
        case("y[0] = y[0] * y[1]\n", facts=tensor(3), written=value()),
        "value = y[0] * y[1]\ny = y.clone()\ny[0] = value\n",
    ),
    "row augmented": (case("y[0] += v\n"), "y = y.clone()\ny[0] += v\n"),
    "row augmented by what is saved": (case("y[0] *= v\n"), "value = y[0] * v\ny = y.clone()\ny[0] = value\n"),
    "augmented": (case("h += 1\n"), "h = h.clone()\nh += 1\n"),
    "augmented by itself": (case("h += h.sin()\n"), "value = h.sin()\nh = h.clone()\nh += value\n"),
    "method": (case("y.exp_()\n"), "y = y.clone()\ny.exp_()\n"),
    "flag": (case("out = F.relu(out, inplace=True)\n"), "out = F.relu(out.clone(), inplace=True)\n"),
}


@pytest.mark.parametrize(("before", "after"), CLONE.values(), ids=CLONE)
def test_clone_form_is_the_last_alternative(before: Case, after: str) -> None:
    assert len(before.texts()) == 2
    assert before.clone() == after


def obstacle(kind: ObstacleKind, name: str = "z", *, certain: bool = True) -> Obstacle:
    return Obstacle(kind, name, None, certain)


REFUSED = {
    "alias read later": (case("y[0] = 1\n", obstacles=(obstacle(ObstacleKind.ALIAS_READ),)), "`z` is the same tensor"),
    "base read later": (
        case("r[0] = 1\n", obstacles=(obstacle(ObstacleKind.BASE_READ),)),
        "shares its memory with `z`",
    ),
    "closure": (case("y[0] = 1\n", obstacles=(obstacle(ObstacleKind.CLOSURE, "y"),)), "enclosing scope"),
    "parameter": (
        case("self.w += 1\n", obstacles=(obstacle(ObstacleKind.PARAMETER, "self.w"),)),
        "parameter of the module",
    ),
    "leaf whose gradient is read": (
        case("x += 1\n", obstacles=(obstacle(ObstacleKind.LEAF_GRAD_READ, "x"),)),
        "x.grad",
    ),
    "not a name": (case("f()[0] = 1\n"), "no name"),
    "no name to cast to": (case("h = conv(x).mul_(w)\n"), "no name whose dtype"),
    "chain in the middle of an expression": (case("f(g(y), y.mul_(2).add_(1))\n"), "middle of an expression"),
    "result thrown away": (case("conv(x).relu_()\n"), "no name"),
    "item under a call": (case("d[k()] += 1\n"), "would be evaluated twice"),
    "expanded": (
        case("y[0] = 1\n", facts=TensorFacts(expanded=True)),
        "may share one memory cell",
    ),
    "swap": (case("y[0], y[1] = y[1], y[0]\n"), "no swap"),
    "nested values read the tensor": (case("y[0], (a, b) = f(y)\n"), "read the tensor that it writes"),
    "storage method": (case("y.resize_(3)\n"), "changes the storage"),
    "graph method": (case("y.detach_()\n"), "changes what autograd does"),
    "head of a compound statement": (case("while y.relu_().sum() > 0:\n    pass\n"), "head of a compound statement"),
    "lambda": (case("f = lambda: y.relu_()\n"), "run later"),
    "deep": (case(f"y[0] = {'-' * 95}a\n"), "nested too deeply"),
    "long boolean chain": (case(f"y[0] = {' and '.join('a' * 5000)}\n"), "too long"),
    "many adjacent strings": (case("y[0] = f(" + '"a" ' * 1000 + ")\n"), "too many strings"),
}


@pytest.mark.parametrize(("before", "reason"), REFUSED.values(), ids=REFUSED)
def test_refuses_with_a_reason(before: Case, reason: str) -> None:
    refusal = before.refusal()
    assert reason in refusal.reason
    assert refusal.advice


@pytest.mark.parametrize("kind", [ObstacleKind.CALLER_SEES, ObstacleKind.ESCAPED])
def test_what_others_may_see_is_unsafe(kind: ObstacleKind) -> None:
    assert case("y[0] = 1\n", obstacles=(obstacle(kind, certain=False),)).applicability() is Applicability.UNSAFE


def test_an_uncertain_alias_is_unsafe() -> None:
    uncertain = obstacle(ObstacleKind.ALIAS_READ, certain=False)
    assert case("y[0] = 1\n", obstacles=(uncertain,)).applicability() is Applicability.UNSAFE


def test_a_number_that_becomes_a_tensor_is_neither_cloned_nor_cast() -> None:
    before = case("total = 0.0\nfor v in x:\n    total += v\n")
    assert len(before.texts()) == 1
    assert before.applicability() is Applicability.UNSAFE


def test_without_obstacles_it_is_safe() -> None:
    assert case("y[0] = 1\n").applicability() is Applicability.SAFE


def test_readers_of_the_base_that_is_assigned_are_no_obstacle() -> None:
    before = case("y[0].mul_(2)\n", holder="y", obstacles=(obstacle(ObstacleKind.BASE_READ, "y"),))
    assert before.applicability() is Applicability.SAFE


def test_rewrites_survive_pickling() -> None:
    before = case("y[0] = 10\n", facts=tensor(3))
    revived = pickle.loads(pickle.dumps(before.rewrites()))
    assert [r.build(before.source) for r in revived] == [r.build(before.source) for r in before.rewrites()]


def test_verbs_import_neither_libcst_nor_torch() -> None:
    code = "import sys, gradfix.rewrite; sys.exit(any(m in sys.modules for m in ('libcst', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
