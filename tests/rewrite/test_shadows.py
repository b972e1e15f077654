"""Names of imports that a form needs, where they mean something else: another form, or none."""

from __future__ import annotations

import pytest
from programs import assert_cured, fixed

torch = pytest.importorskip("torch")

HEAD = "import torch\nx = torch.randn(3, requires_grad=True)\n"
END = "show(loss)\nloss.backward()\n"
INDEX_PUT = "y = y.index_put((torch.tensor(0),), y.new_tensor(10))"

SHADOWED = {
    "a variable of the function": "def f(x):\n    y = x.exp()\n    y[0] = 10\n"
    "    for torch in range(2):\n        pass\n    return y.sum()\n\n\nloss = f(x)\n",
    "a function": "def f(x):\n    def torch(value):\n        return value * 2\n"
    "    y = x.exp()\n    y[0] = torch(5)\n    return y.sum()\n\n\nloss = f(x)\n",
    "a class": "y = x.exp()\ny[0] = 10\nloss = y.sum()\nclass torch:\n    pass\n",
    "a variable of the module": "y = x.exp()\ntorch = None\ny[0] = 10\nloss = y.sum()\n",
    "an error": "y = x.exp()\ny[0] = 10\nloss = y.sum()\n"
    "try:\n    raise ValueError\nexcept ValueError as torch:\n    pass\n",
}


@pytest.mark.parametrize("name", SHADOWED)
def test_a_name_that_means_something_else_isnt_used(name: str) -> None:
    text = HEAD + SHADOWED[name] + END
    made = assert_cured(text, "inplace operation", "x")
    assert ".clone()\n" in made
    assert INDEX_PUT not in made


def test_a_variable_of_another_function_is_none_here() -> None:
    text = HEAD + "def f(torch):\n    return torch + 1\n\n\ny = x.exp()\ny[0] = 10\nloss = y.sum()\n" + END
    assert INDEX_PUT in assert_cured(text, "inplace operation", "x").splitlines()


def test_a_method_has_no_name_of_its_own() -> None:
    text = HEAD + "class C:\n    def torch(self):\n        pass\n\n\ny = x.exp()\ny[0] = 10\nloss = y.sum()\n" + END
    assert INDEX_PUT in assert_cured(text, "inplace operation", "x").splitlines()


def test_an_update_stays_where_no_grad_has_no_name() -> None:
    text = HEAD + ("x.sum().backward()\n\n\ndef step(torch):\n    global x\n    x -= torch * x.grad\n\n\nstep(0.1)\n")
    assert fixed(text) == text


@pytest.mark.parametrize("name", ["input", "id", "type", "filter", "hash", "iter"])
def test_a_tensor_may_have_the_name_of_what_python_has(name: str) -> None:
    text = (
        HEAD
        + f"def f({name}):\n    {name} = {name}.exp()\n    {name}[0] = 10\n    return {name}.sum()\n\n\nloss = f(x)\n"
    )
    assert f"{name}.index_put(" in assert_cured(text + END, "inplace operation", "x")
    text = HEAD + f"def f({name}):\n    return {name}.exp().sigmoid_().clamp_(0.2, 0.8).sum()\n\n\nloss = f(x)\n"
    assert ".sigmoid()" in assert_cured(text + END, "inplace operation", "x")


def test_a_star_leaves_python_what_nobody_has_otherwise() -> None:
    """But not what the module may have of NumPy."""
    loop = "def f(x):\n    out = torch.zeros(3)\n    for i in range(3):\n        out[i] = x[i].exp()\n"
    loop += "    return (out * out).sum()\n\n\nloss = f(x)\nshow(loss)\nloss.backward()\n"
    star = "from math import *\n"
    assert fixed(star + HEAD + loop) == star + fixed(HEAD + loop)
