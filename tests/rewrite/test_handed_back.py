"""`hand_back`: a function of the file that changes its argument returns it, and its callers take the result."""

from __future__ import annotations

import pytest
from programs import assert_cured, fixed

from gradfix.findings import Applicability

pytest.importorskip("torch")

MODIFIED = "modified by an inplace operation"
HEAD = "import torch\n\n\n"
MAIN = "x = torch.randn(3, 3, requires_grad=True)\nloss = step(x)\nshow(loss)\nloss.backward()\n"
STEP = "\n\ndef step(x):\n    h = x.exp()\n    {call}\n    return h.sum()\n\n\n"

# A function, what its caller does, and lines that must be in the fixed program.
PROGRAMS = {
    "returns nothing": (
        "def f(v, eps):\n    v /= v.norm() + eps\n",
        "f(h, 1e-6)",
        ("    v = v / (v.norm() + eps)\n    return v", "    h = f(h, 1e-6)"),
    ),
    "by keyword": ("def f(eps, v):\n    v /= v.norm() + eps\n", "f(1e-6, v=h)", ("    h = f(1e-6, v=h)",)),
    "returns the argument": ("def f(v):\n    v *= 2\n    return v\n", "f(h)", ("    h = f(h)",)),
    "returns the writing call": ("def f(v):\n    return v.mul_(2)\n", "f(h)", ("    return v.mul(2)", "    h = f(h)")),
    "returns the argument, which is used": (
        "def f(v):\n    v *= 2\n    return v\n",
        "y = f(h)\n    h = h + y.mean()",
        ("    y = h = f(h)",),
    ),
    "returns the argument to the same name": ("def f(v):\n    v *= 2\n    return v\n", "h = f(h)", ("    h = f(h)",)),
    "returns a value": (
        "def f(v):\n    n = v.norm()\n    v /= n\n    return n\n",
        "n = f(h)\n    h = h * n",
        ("    return n, v", "    n, h = f(h)"),
    ),
    "returns a value that one caller ignores": (
        "def f(v):\n    n = v.norm()\n    v /= n\n    return n\n",
        "n = f(h)\n    f(h)\n    h = h * n",
        ("    n, h = f(h)", "    _, h = f(h)"),
    ),
    "returns a tuple that is unpacked": (
        "def f(v):\n    n = v.norm()\n    v /= n\n    return n, n * 2\n",
        "n, m = f(h)\n    h = h * n * m",
        ("    return n, n * 2, v", "    n, m, h = f(h)"),
    ),
    "returns a tuple that is kept": (
        "def f(v):\n    n = v.norm()\n    v /= n\n    return n, n * 2\n",
        "both = f(h)\n    h = h * both[0]",
        ("    return (n, n * 2), v", "    both, h = f(h)"),
    ),
    "two parameters": (
        "def f(a, b):\n    a *= 2\n    b -= a.mean()\n    b.mul_(3)\n",
        "k = x.sigmoid()\n    f(h, k)\n    h = h + k",
        ("    return a, b", "    h, k = f(h, k)"),
    ),
    "early return": (
        "def f(v, on):\n    if not on:\n        return\n    v *= 2\n    if on > 1:\n        v += 1\n",
        "f(h, 1)\n    f(h, 0)",
        ("        return v\n    v = v * 2", "        v += 1\n    return v", "    h = f(h, 1)\n    h = f(h, 0)"),
    ),
    "in a loop": (
        "def f(v, i):\n    v[i] *= 2\n",
        "for i in range(3):\n        f(h, i)",
        ("    v = torch.select_scatter(v, v[i] * 2, 0, i)\n    return v", "        h = f(h, i)"),
    ),
    "another function in between": (
        "def g(w):\n    w += 1\n\n\ndef f(v):\n    g(v)\n",
        "f(h)",
        ("    w = w + 1\n    return w", "    v = g(v)\n    return v", "    h = f(h)"),
    ),
    "a function in between uses the result": (
        "def g(w):\n    w += 1\n    return w\n\n\ndef f(v):\n    s = g(v)\n    return s.mean()\n",
        "n = f(h)\n    h = h * n",
        ("    s = v = g(v)\n    return s.mean(), v", "    n, h = f(h)"),
    ),
    "a name bound to the result": ("def f(v):\n    v *= 2\n", "f(h)\n    k = h\n    h = k + h", ("    h = f(h)",)),
    "an item under a string": (
        "def f(v):\n    v.mul_(2)\n",
        "d = {'h': h.exp(), 'k': x}\n    f(d['h'])\n    h = d['h'] + d['k']",
        ("    d['h'] = f(d['h'])",),
    ),
    "nobody reads the argument again": (
        "def f(v):\n    v *= 2\n    return v\n",
        "h = f(x.exp()) * 2",
        ("    h = f(x.exp()) * 2",),
    ),
    "annotated": (
        "def f(v: torch.Tensor, eps: float = 1.0) -> None:\n    v.div_(v.norm() + eps)\n",
        "f(h)",
        ("def f(v: torch.Tensor, eps: float = 1.0) -> torch.Tensor:",),
    ),
    "annotated with a value": (
        "def f(v: torch.Tensor) -> float:\n    n = v.norm().item()\n    v.div_(n)\n    return n\n",
        "n = f(h)\n    h = h * n",
        ("def f(v: torch.Tensor) -> tuple[float, torch.Tensor]:",),
    ),
    "on one line": (
        "def f(v): v *= 2\n",
        "f(h); h = h + 1",
        ("def f(v): v = v * 2; return v", "    h = f(h); h = h + 1"),
    ),
    "comments at the end": (
        "def f(v):\n    if v.sum() > 0:\n        v *= 2  # twice\n        # and no more\n",
        "f(h)  # changed",
        ("        v = v * 2  # twice\n        # and no more\n    return v", "    h = f(h)  # changed"),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_callers_take_the_result(name: str) -> None:
    function, call, lines = PROGRAMS[name]
    text = assert_cured(HEAD + function + STEP.format(call=call) + MAIN, MODIFIED, "x")
    assert ".clone()" not in text
    for line in lines:
        assert line + "\n" in text, text


def test_methods_and_attributes() -> None:
    program = (
        "class M:\n    def _f(self, v):\n        v[0] = 0.0\n\n    def run(self, x):\n        self.h = x.exp()\n"
        "        self._f(self.h)\n        return self.h.sum()\n\n\ndef step(x):\n    return M().run(x)\n\n\n"
    )
    assert "        self.h = self._f(self.h)\n" in assert_cured(HEAD + program + MAIN, MODIFIED, "x")


def test_nested_functions() -> None:
    program = "def step(x):\n    def f(v):\n        v *= 2\n\n    h = x.exp()\n    f(h)\n    return h.sum()\n\n\n"
    text = assert_cured(HEAD + program + MAIN, MODIFIED, "x")
    assert "        v = v * 2\n        return v\n\n" in text
    assert "    h = f(h)\n" in text


# What a caller does that no result could stand for: backward gets a copy instead.
LEFT = {
    "an alias is read": ("def f(v):\n    v *= 2\n", "k = h\n    f(h)\n    h = h + k"),
    "called with an alias": ("def f(v):\n    v *= 2\n", "k = h\n    f(k)\n    f(h)"),
    "starred": ("def f(v, n):\n    v *= n\n", "f(*(h, 2))"),
    "in a larger expression": ("def f(v):\n    n = v.norm()\n    v /= n\n    return n\n", "h = f(h) + h.sum()"),
    "in a larger expression of what is returned": (
        "def g(w):\n    w += 1\n    return w\n\n\ndef f(v):\n    return g(v) * 2\n",
        "n = f(h)\n    h = h * n",
    ),
    "a view": ("def f(v):\n    v.mul_(2)\n", "f(h[0])"),
    "items of a list": (
        "def f(v):\n    v *= 2\n",
        "hs = [h, x.tanh()]\n    for k in hs:\n        f(k)\n    h = hs[0] + hs[1]",
    ),
    "handed on": ("def f(v):\n    v *= 2\n", "list(map(f, [h]))\n    f(h)"),
    "under another name": ("def f(v):\n    v *= 2\n", "g = f\n    g(h)\n    f(h)"),
    "recursive": ("def f(v, n):\n    v *= 2\n    if n:\n        f(v, n - 1)\n", "f(h, 2)"),
    "a lambda calls": ("def f(v):\n    v *= 2\n", "do = lambda: f(h)\n    do()"),
    "a part of the parameter": ("def f(v):\n    row = v[0]\n    row *= 2\n", "f(h)"),
    "bound to something else": ("def f(v):\n    v *= 2\n    v = v + 1\n    return v\n", "y = f(h)\n    h = h + y"),
    "some ways have a value": ("def f(v, n):\n    if n:\n        return v.sum()\n    v *= 2\n", "f(h, 0)"),
    "both the same": ("def f(a, b):\n    a *= 2\n    b = b + 1\n    return b\n", "h = f(h, h) + h"),
    "decorated": (
        "def wraps(g):\n    def inner(*a):\n        return g(*a)\n\n    return inner\n\n\n"
        "@wraps\ndef f(v):\n    v *= 2\n",
        "f(h)",
    ),
    "a closure reads": ("def f(v):\n    v *= 2\n", "def k():\n        return h\n\n    f(h)\n    h = k() + h"),
    "two of that name": ("def f(v):\n    v *= 2\n\n\ndef f(v):\n    v *= 3\n", "f(h)"),
    "a comprehension calls": ("def f(v):\n    v *= 2\n", "[f(k) for k in (h, h)]"),
}


@pytest.mark.parametrize("name", LEFT)
def test_otherwise_backward_gets_a_copy(name: str) -> None:
    function, call = LEFT[name]
    program = HEAD + function + STEP.format(call=call) + MAIN
    text = assert_cured(program, MODIFIED, "x", applicability=Applicability.UNSAFE)
    assert ".clone()" in text
    assert assert_cured(program, MODIFIED, "x") == text


def test_others_may_call_a_public_function_of_a_library() -> None:
    library = HEAD + "def f(v):\n    v *= 2\n" + STEP.format(call="f(h)").rstrip() + "\n"
    assert "h = x.exp().clone()" in fixed(library)
    private = library.replace("f(v)", "_f(v)").replace("f(h)", "_f(h)")
    assert "    h = _f(h)\n" in fixed(private)
    assert "    h = _f(h)\n" not in fixed(private + '\n\n__all__ = ["_f"]\n')


HOOKED = """\
import torch
import torch.nn as nn


def damped(by):
    def hook(module, inputs, output):
        output *= by

    return hook


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
        self.gate = nn.Sigmoid()
        self.gate.register_forward_hook(self._shift)

    def _shift(self, module, inputs, output):
        output.add_(1)

    def forward(self, x):
        return self.gate(self.body(x))


net = Net()
net.body[1].register_forward_hook(damped(0.9))
loss = net(torch.randn(2, 3)).pow(2).mean()
show(loss)
loss.backward()
"""


def test_forward_hooks_return_the_result_they_change() -> None:
    made = assert_cured(HOOKED, MODIFIED)
    assert "        output = output * by\n        return output\n" in made
    assert "        output = output.add(1)\n        return output\n" in made


def test_a_hook_that_is_called_elsewhere_too_stays() -> None:
    assert "output.add(1)" not in fixed(HOOKED + "net._shift(None, None, torch.ones(1))\n", Applicability.UNSAFE)
