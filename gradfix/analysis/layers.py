"""A mapping made of layers: a fork costs nothing, and a join looks only at what changed since the fork."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_DEPTH = 24  # layers before a fork flattens them


@dataclass(frozen=True, eq=False, slots=True)
class _Layer(Generic[K, V]):
    """What was written between two forks, and what lay below."""

    own: dict[K, V]
    below: _Layer[K, V] | None
    depth: int


class Layers(Generic[K, V]):
    """A dictionary without deletion. Layers below the newest are never changed."""

    __slots__ = ("_below", "own")

    def __init__(self, own: dict[K, V] | None = None, below: _Layer[K, V] | None = None) -> None:
        self.own: dict[K, V] = {} if own is None else own
        self._below = below

    def get(self, key: K, default: V | None = None) -> V | None:
        """The newest value of `key`."""
        if key in self.own:
            return self.own[key]
        layer = self._below
        while layer is not None:
            if key in layer.own:
                return layer.own[key]
            layer = layer.below
        return default

    def __contains__(self, key: object) -> bool:
        if key in self.own:
            return True
        layer = self._below
        while layer is not None:
            if key in layer.own:
                return True
            layer = layer.below
        return False

    def __setitem__(self, key: K, value: V) -> None:
        self.own[key] = value

    def __bool__(self) -> bool:
        return bool(self.own) or self._below is not None

    def items(self) -> Iterator[tuple[K, V]]:
        """Every key with its newest value."""
        yield from self._flat().items()

    def _flat(self) -> dict[K, V]:
        stack = [self.own]
        layer = self._below
        while layer is not None:
            stack.append(layer.own)
            layer = layer.below
        result: dict[K, V] = {}
        for own in reversed(stack):
            result.update(own)
        return result

    def fork(self) -> Layers[K, V]:
        """A twin that shares everything written so far."""
        if self.own:
            depth = self._below.depth if self._below is not None else 0
            if depth >= _DEPTH:
                self._below = _Layer(self._flat(), None, 1)
            else:
                self._below = _Layer(self.own, self._below, depth + 1)
            self.own = {}
        return Layers({}, self._below)

    def changed(self, other: Layers[K, V]) -> tuple[dict[K, None], Layers[K, V]]:
        """Keys written in either since both were one, and an empty mapping over what they share."""
        mine = list(_chain(self._below))
        index = {id(layer): i for i, layer in enumerate(mine)}
        keys: dict[K, None] = dict.fromkeys(self.own)
        keys.update(dict.fromkeys(other.own))
        shared: _Layer[K, V] | None = None
        for layer in _chain(other._below):
            if id(layer) in index:
                shared = layer
                break
            keys.update(dict.fromkeys(layer.own))
        for layer in mine[: index[id(shared)] if shared is not None else len(mine)]:
            keys.update(dict.fromkeys(layer.own))
        return keys, Layers({}, shared)


def _chain(layer: _Layer[K, V] | None) -> Iterator[_Layer[K, V]]:
    while layer is not None:
        yield layer
        layer = layer.below
