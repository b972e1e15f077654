"""A mapping made of layers: a fork costs nothing, and a join looks only at what changed since the fork.

Layers are numbered from the bottom. Each has, beside what is its own, a table of itself and some layers below: of as
many as the lowest bit of its number says. So a look-up in `n` layers asks at most log n tables, and each entry is
copied at most log n times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class _Layer(Generic[K, V]):
    """What was written between two forks, and what lay below."""

    __slots__ = ("below", "number", "own", "rest", "table")

    def __init__(self, own: dict[K, V], below: _Layer[K, V] | None) -> None:
        self.own: dict[K, V] = own
        self.below: _Layer[K, V] | None = below
        number = 1 if below is None else below.number + 1
        self.number: int = number
        self.rest: _Layer[K, V] | None = below
        self.table: dict[K, V] = own
        if not number & 1:
            lowest = number - (number & -number)  # the layer where the table ends
            tables = [own]
            while self.rest is not None and self.rest.number > lowest:
                tables.append(self.rest.table)
                self.rest = self.rest.rest
            self.table = _merged(tables)


class Layers(Generic[K, V]):
    """A dictionary without deletion. Layers below the newest are never changed."""

    __slots__ = ("_below", "own")

    def __init__(self, below: _Layer[K, V] | None = None) -> None:
        self.own: dict[K, V] = {}
        self._below = below

    def get(self, key: K, default: V | None = None) -> V | None:
        """The newest value of `key`."""
        table = self.own
        layer = self._below
        while key not in table:
            if layer is None:
                return default
            table = layer.table
            layer = layer.rest
        return table[key]

    def __contains__(self, key: object) -> bool:
        if key in self.own:
            return True
        layer = self._below
        while layer is not None:
            if key in layer.table:
                return True
            layer = layer.rest
        return False

    def __setitem__(self, key: K, value: V) -> None:
        self.own[key] = value

    def __bool__(self) -> bool:
        return self._below is not None or bool(self.own)

    def items(self) -> Iterator[tuple[K, V]]:
        """Every key with its newest value."""
        tables = [self.own]
        layer = self._below
        while layer is not None:
            tables.append(layer.table)
            layer = layer.rest
        yield from _merged(tables).items()

    def fork(self) -> Layers[K, V]:
        """A twin that shares everything written so far."""
        if self.own:
            self._below = _Layer(self.own, self._below)
            self.own = {}
        return Layers(self._below)

    def joined(
        self, other: Layers[K, V], combine: Callable[[V | None, V | None], V], nothing: V | None = None
    ) -> Layers[K, V]:
        """What holds of each key; `combine` is given what the two have where they may differ, or `nothing`."""
        if self._below is other._below and not self.own and not other.own:
            return Layers(self._below)
        mine, theirs, result = self._parted(other)
        own = result.own
        for key, value in mine.items():  # most keys are of one side alone
            own[key] = combine(value, theirs[key] if key in theirs else result.get(key, nothing))
        for key, value in theirs.items():
            if key not in mine:
                own[key] = combine(result.get(key, nothing), value)
        return result

    def is_kept_by(self, fork: Layers[K, V]) -> bool:
        """Whether nothing but new keys were written since."""
        return not any(key in self for key in self.changed(fork)[0])

    def changed(self, other: Layers[K, V]) -> tuple[dict[K, None], Layers[K, V]]:
        """Keys written in either since both were one, and an empty mapping over what they share."""
        mine, theirs, shared = self._parted(other)
        return dict.fromkeys((*mine, *theirs)), shared

    def _parted(self, other: Layers[K, V]) -> tuple[dict[K, V], dict[K, V], Layers[K, V]]:
        """What each has written since both were one, and an empty mapping over what they share."""
        mine, theirs = self._below, other._below
        tables, others = [self.own], [other.own]
        while mine is not theirs:
            if theirs is not None and (mine is None or theirs.number >= mine.number):
                others.append(theirs.own)
                theirs = theirs.below
            elif mine is not None:
                tables.append(mine.own)
                mine = mine.below
        return _merged(tables), _merged(others), Layers(mine)


def _merged(tables: list[dict[K, V]]) -> dict[K, V]:
    """The newest value of each key; the newest table comes first."""
    if len(tables) == 1:
        return tables[0]
    result: dict[K, V] = {}
    for table in reversed(tables):
        result.update(table)
    return result
