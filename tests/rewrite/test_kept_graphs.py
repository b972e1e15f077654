"""What is offered for a second backward whose first one gave gradients."""

from __future__ import annotations

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.findings import Refusal
from gradfix.rewrite import keep_graph
from gradfix.source import Source

HEAD = """import torch

w = torch.randn(3, requires_grad=True)
t = torch.linspace(0, 1, 3).requires_grad_()
u = (w * t).tanh()
"""
FIRST = "torch.autograd.grad(u.sum(), t)"


def _offered(text: str) -> tuple[object, ...] | Refusal:
    source = Source.from_text("program.py", HEAD + text)
    (again,) = analyse(source).second_backwards
    return keep_graph(source, again)


@pytest.mark.parametrize(
    "text",
    [
        f"(du,) = {FIRST}\n(du + u).pow(2).mean().backward()\n",
        f"du = {FIRST}[0]\npenalty = ((du.norm() - 1) ** 2) * 10\nloss = u.sum() + penalty\nloss.backward()\n",
        f"losses = [u.sum()]\nfor g in {FIRST}:\n    losses.append(g.abs().sum())\nsum(losses).backward()\n",
    ],
)
def test_gradients_that_the_loss_is_computed_from_would_be_constants(text: str) -> None:
    refusal = _offered(text)
    assert isinstance(refusal, Refusal)
    assert "`create_graph=True`" in refusal.next_act


@pytest.mark.parametrize(
    "text",
    [
        f"(du,) = {FIRST}\nprint(du)\nu.pow(2).mean().backward()\n",
        f"(du,) = {FIRST}\nloss = u.pow(2).mean()\nloss.backward()\n",
        "u.sum().backward()\nu.pow(2).mean().backward()\n",
    ],
)
def test_a_loss_without_them_may_have_the_graph_kept(text: str) -> None:
    assert not isinstance(_offered(text), Refusal)
