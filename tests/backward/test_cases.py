"""What there is to run in a file, found without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradfix.backward.cases import DeclaredCall, Program, cases, declared_in

FILE = Path("f.py")


def found(text: str, *declared: DeclaredCall) -> tuple[object, ...]:
    return cases(FILE, text, declared)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("loss.backward()\n", id="top level"),
        pytest.param("if __name__ == '__main__':\n    loss.backward()\n", id="main guard"),
        pytest.param("for i in range(3):\n    with ctx():\n        (a + b).sum().backward()\n", id="loop"),
        pytest.param("def main():\n    loss.backward()\nmain()\n", id="through a function"),
        pytest.param("def a():\n    b()\ndef b():\n    loss.backward()\na()\n", id="through two functions"),
        pytest.param("class T:\n    def fit(self):\n        self.loss.backward()\nT().fit()\n", id="a method"),
        pytest.param("class T:\n    def __init__(self):\n        x.backward()\nT()\n", id="a constructor"),
        pytest.param("torch.autograd.grad(y, x)\n", id="autograd.grad"),
        pytest.param("from torch.autograd import grad\ngrad(y, x)\n", id="bare grad"),
        pytest.param("torch.autograd.backward([y])\n", id="autograd.backward"),
        pytest.param("torch.autograd.gradcheck(f, x)\n", id="gradcheck"),
        pytest.param("g = torch.func.jacrev(f)(x)\n", id="a transform"),
        pytest.param("def closure():\n    loss.backward()\nopt.step(closure)\n", id="a closure"),
        pytest.param("def run(f):\n    f()\ndef fit():\n    y.backward()\nrun(f=fit)\n", id="handed over by name"),
        pytest.param("class T:\n    def c(self):\n        y.backward()\nopt.step(T().c)\n", id="a method handed over"),
        pytest.param("opt.step(lambda: loss.backward())\n", id="a lambda"),
    ],
)
def test_a_file_that_reaches_backward_is_a_program(text: str) -> None:
    assert found(text) == (Program(),)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("def train():\n    loss.backward()\n", id="never called"),
        pytest.param("def test_it():\n    f(x).backward()\n", id="a test file"),
        pytest.param("class Net:\n    def step(self):\n        self.loss.backward()\nNet()\n", id="method not called"),
        pytest.param("x.grad\nprint('backward()')\n", id="no call"),
        pytest.param("x.grad(3)\nutils.vmap(f)(x)\n", id="named like a transform"),
        pytest.param("backward()\n", id="some other backward"),
        pytest.param("def closure():\n    loss.backward()\nprint(x.grad, grad)\n", id="nothing that runs it"),
        pytest.param("def f(:\n", id="syntax error"),
        pytest.param("", id="empty"),
    ],
)
def test_other_files_are_none(text: str) -> None:
    assert found(text) == ()


def test_declared_calls_come_from_comments_and_configuration_once_each() -> None:
    text = (
        "# gradfix: verify f(x=randn(4, 3))\n"
        "def f(x):  # gradfix:verify  f(randn(2))\n"
        "    return '# gradfix: verify g()'\n"
        "# gradfix: verify f(x=randn(4, 3))\n"
    )
    assert declared_in(text) == ("f(x=randn(4, 3))", "f(randn(2))", "f(x=randn(4, 3))")
    assert found(text, DeclaredCall("f(randn(2))"), DeclaredCall("h()")) == (
        DeclaredCall("f(x=randn(4, 3))"),
        DeclaredCall("f(randn(2))"),
        DeclaredCall("h()"),
    )


def test_the_program_comes_first() -> None:
    assert found("# gradfix: verify f()\nloss.backward()\n") == (Program(), DeclaredCall("f()"))
