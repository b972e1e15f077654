"""Hooks that write to the gradient of a sum: the fixed ones return what they would have written."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from gradfix import edits, registry  # noqa: E402
from gradfix.engine import engine  # noqa: E402
from gradfix.engine.policy import Policy  # noqa: E402
from gradfix.findings import Applicability  # noqa: E402
from gradfix.source import Source  # noqa: E402

CODEMODS = tuple(registry.load())
HOOKS = (
    ("hook = lambda g: g.mul_(2)", 2.0),
    ("def hook(g):\n    g.clamp_(-0.5, 0.5)", 0.5),
    ("def hook(g):\n    # less\n    g *= 0.25  # of it", 0.25),
    ("def hook(g):\n    assert g is not None\n    return g.add_(3)", 4.0),
)
BY_HAND = (
    "def hook(g):\n    return g.mul_(3).add_(1)",
    "def hook(g):\n    g.mul_(2)\n    assert g is not None",
    "def hook(g):\n    g.mul_(2)\nhook(torch.ones(3))",
    "def hook(g):\n    g += torch.ones(3, dtype=torch.float64)",
)


def _text(hook: str, loss: str = "h.sum()") -> str:
    leaves = "x = torch.ones(3, requires_grad=True)\ny = torch.ones(3, requires_grad=True)\nh = x * 1\n"
    return f"import torch\n{hook}\n{leaves}h.register_hook(hook)\n({loss}).backward()\n"


def _run(text: str) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    exec(compile(text, "program.py", "exec"), scope)
    return scope


@pytest.mark.parametrize(("hook", "expected"), HOOKS)
def test_the_new_gradient_is_returned(hook: str, expected: float) -> None:
    text = _text(hook)
    with pytest.raises(RuntimeError, match="single memory location"):
        _run(text)
    fixed = engine.fix(Source.from_text("program.py", text), CODEMODS, Policy())
    assert _run(edits.apply(text, fixed.edits))["x"].grad.tolist() == [expected] * 3


@pytest.mark.parametrize("hook", BY_HAND)
def test_what_could_be_seen_elsewhere_is_left(hook: str) -> None:
    fixed = engine.fix(Source.from_text("program.py", _text(hook)), CODEMODS, Policy())
    assert not fixed.edits
    assert fixed.results


def test_a_gradient_that_is_shared_is_changed_only_when_asked() -> None:
    text = _text("def hook(g):\n    g.mul_(2)", "((h + y) * torch.arange(3.0)).sum()")
    assert not engine.fix(Source.from_text("program.py", text), CODEMODS, Policy()).edits
    asked = Policy(applicability=Applicability.UNSAFE)
    fixed = engine.fix(Source.from_text("program.py", text), CODEMODS, asked)
    after = _run(edits.apply(text, fixed.edits))
    assert (after["x"].grad.tolist(), after["y"].grad.tolist()) == ([0.0, 2.0, 4.0], [0.0, 1.0, 2.0])
