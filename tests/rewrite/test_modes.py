"""Gradients turned on in the block that computes a loss: where the block updates something, off is meant."""

from __future__ import annotations

import pytest
from programs import fixed

from gradfix.findings import Applicability

HEAD = "import torch\n\nx = torch.randn(3, requires_grad=True)\nw = torch.ones(3, requires_grad=True)\n"
BLOCK = "with torch.no_grad():\n    {first}\n    loss = (x * w).sum()\nloss.backward()\n"


def test_gradients_are_turned_on_for_the_loss() -> None:
    text = HEAD + BLOCK.format(first="x = x * 2")
    assert fixed(text, Applicability.UNSAFE, "GF303") == text.replace("no_grad", "enable_grad")


@pytest.mark.parametrize("update", ["w -= 0.5", "w[0] = 1", "w.clamp_(0)", "w.mul_(2).add_(1)"])
def test_an_update_in_the_block_stays_without_gradients(update: str) -> None:
    text = HEAD + BLOCK.format(first=update)
    assert fixed(text, Applicability.UNSAFE, "GF303") == text
