"""Losses that were made leaves by hand: with the graph back, nobody asks for their gradient any more."""

from __future__ import annotations

import pytest
from programs import fixed, run

from gradfix.findings import Applicability

torch = pytest.importorskip("torch")

HEAD = "import torch\n\nx = torch.rand(3, requires_grad=True)\n"
ASKED = {
    "by an attribute": (
        "loss = torch.tensor([v * v for v in x]).sum()\nloss.requires_grad = True\nloss.backward()\n",
        "loss = torch.stack([v * v for v in x]).sum()\nloss.backward()\n",
    ),
    "by a method": (
        "loss = (x * x).detach().sum()\nloss.requires_grad_()\nloss.backward()\n",
        "loss = (x * x).sum()\nloss.backward()\n",
    ),
    "on the way": (
        "loss = (x * x).data.sum().requires_grad_()\nloss.backward()\n",
        "loss = (x * x).sum().requires_grad_()\nloss.backward()\n",
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_loss_with_a_graph_is_asked_for_no_gradient(name: str) -> None:
    before, after = ASKED[name]
    assert run(HEAD + before, "x").gradients == {"x": None}
    made = fixed(HEAD + before, Applicability.UNSAFE)
    assert made == HEAD + after
    result = run(made + "show(x)\n", "x")
    assert result.error is None
    assert torch.allclose(result.gradients["x"], 2 * result.shown[0])


def test_what_is_put_into_a_leaf_is_assigned_only_if_asked() -> None:
    """Who asks for the gradient of `x` would ask for that of the result, which has none."""
    text = "import torch\nx = torch.ones(3, requires_grad=True)\na = torch.ones(3)\ntorch.add(a, a, out=x)\n"
    text += "torch.autograd.grad((x * x).sum(), x)\n"
    assert fixed(text) == text
    assert "\nx = torch.add(a, a)\n" in fixed(text, Applicability.UNSAFE)


def test_what_shares_its_line_stays_and_the_graph_too() -> None:
    text = HEAD + "loss = (x * x).detach().sum(); loss.requires_grad = True\nloss.backward()\n"
    assert fixed(text, Applicability.UNSAFE) == text
