"""Constructors wait until somebody asks for what their object holds."""

from __future__ import annotations

import pytest

from gradfix.analysis import analyse as analysis
from gradfix.source import Source

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, n, start=None):
        super().__init__()
        self.w = nn.Parameter(torch.ones(n))
        self.inner = {inner}

    def forward(self, x):
        h = (x * self.w).exp()
        h += 1
        return h


{objects}
"""


def _constructed(monkeypatch: pytest.MonkeyPatch, objects: str, inner: str = "None") -> int:
    """How many constructors are run."""
    ran = []
    call = analysis._Interpreter.call_function

    def counted(*args: object) -> object:
        ran.append(args[2].info.qualname)  # type: ignore[attr-defined]  # the function called
        return call(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(analysis._Interpreter, "call_function", staticmethod(counted))
        analysis.analyse(Source.from_text("net.py", NET.format(objects=objects, inner=inner)))
    return ran.count("Net.__init__")


def test_what_nobody_asks_for_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _constructed(monkeypatch, "\n".join(f"net{i} = Net({i})" for i in range(20))) == 1


def test_what_somebody_asks_for_is_made_then(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = [f"net{i} = Net({i})" for i in range(20)]
    assert _constructed(monkeypatch, "\n".join([*objects, "net7.w.data", "net7.w.data", "net8.inner"])) == 3


def test_a_switch_set_for_the_first_time_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _constructed(monkeypatch, "a = Net(1)\nb = Net(2, 'ones')\nc = Net(3, 'zeros')\nd = Net(4, 'ones')") == 3


def test_a_constructor_that_changes_something_else_is_run_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _constructed(monkeypatch, "known = []\na = Net(1)\nb = Net(2)\nc = Net(3)", "known.append(self)") == 3


def _writes_told(source: str) -> list[int]:
    facts = analysis.analyse(Source.from_text("net.py", source))
    return [write.statement.lineno for write in facts.writes if write.hazards]


def test_a_constructor_that_is_given_the_object_of_a_tensor_is_run_each_time() -> None:
    source = """
import torch


class Held:
    def __init__(self, t):
        self.t = t


class Grown:
    def __init__(self, held, n):
        if n > 1:
            held.t.add_(1)


def f(x):
    held = Held(x.exp())
    Grown(held, 0)
    Grown(held, 5)
    held.t.sum().backward()
"""
    assert _writes_told(source) == [13]


def test_a_constructor_that_turns_gradients_off_is_run_each_time() -> None:
    source = """
import torch


class Off:
    def __init__(self, n):
        self.n = n
        torch.set_grad_enabled(False)


def f(x):
    Off(1)
    torch.set_grad_enabled(True)
    Off(2)
    y = (x * 2).exp()
    torch.set_grad_enabled(True)
    y += 1
    (y.sum() + x.sum()).backward()
"""
    assert _writes_told(source) == []
