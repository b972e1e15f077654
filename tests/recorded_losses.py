"""Losses of code that calls backward itself, recorded instead of differentiated: for central differences of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch


@contextmanager
def recorded() -> Iterator[list[torch.Tensor]]:
    """The tensors that `backward` was called on while inside; those without a graph are spared it."""
    losses: list[torch.Tensor] = []
    backward = torch.Tensor.backward

    def record(loss: torch.Tensor, *args: object, **keywords: object) -> None:
        losses.append(loss.detach())
        if loss.requires_grad:
            backward(loss, *args, **keywords)

    with mock.patch.object(torch.Tensor, "backward", record):
        yield losses
