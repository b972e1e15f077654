"""Where the numbers of a tensor come from: what is made of scaled ones, or of leaves, is no input of its own."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import torch


class Origin(IntEnum):
    """The highest counts where a tensor is made of several."""

    OWN = 0
    SCALED = 1  # made of numbers that were scaled
    COMPUTED = 2  # made of what has a graph: a detached result, say


class Origins:
    """The origins of tensors that are still there."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], Origin]] = {}

    def of(self, tensor: torch.Tensor) -> Origin:
        """What the tensor is made of."""
        known = self._known.get(id(tensor))
        return Origin.OWN if known is None or known[0]() is not tensor else known[1]

    def note(self, tensor: torch.Tensor, origin: Origin) -> None:
        """From now on this is where it comes from."""
        key = id(tensor)
        self._known[key] = weakref.ref(tensor, lambda _: self._known.pop(key, None)), origin

    def of_all(self, given: Any) -> Origin:
        """What a result of what is `given` is made of."""
        among = (Origin.COMPUTED if one.requires_grad else self.of(one) for one in tensors_among(given))
        return max(among, default=Origin.OWN)

    def hand_on(self, origin: Origin, made: Any) -> None:
        """What was `made`, or written, has this origin, too, where it holds numbers with a fraction."""
        for tensor in tensors_among(made) if origin else ():
            if tensor.is_floating_point() and self.of(tensor) < origin:
                self.note(tensor, origin)


def tensors_among(value: Any) -> Iterator[torch.Tensor]:
    """A tensor, or those in a list or tuple."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_among(item)
