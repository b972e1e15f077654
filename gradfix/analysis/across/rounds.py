"""What is computed from itself: functions of several files that call each other, by fixed point."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from gradfix.analysis.effects import Effects

_MOST = 4  # rounds; what hasn't settled by then stays unknown


class Rounds:
    """Remembers effects; what is asked for while it is being computed is unknown at first, then what came out."""

    def __init__(self) -> None:
        self._done: dict[Hashable, Effects | None] = {}
        self._begun: dict[Hashable, Effects | None] = {}  # being computed, outermost first: what is assumed of each
        self._tentative: dict[Hashable, Effects | None] = {}  # computed from assumptions: true for a round only
        self._used: set[int] = set()  # whose assumptions were used, by their place in `_begun`

    def value(self, key: Hashable, compute: Callable[[], Effects | None]) -> Effects | None:
        """The effects under `key`, computed where they aren't known."""
        for known in (self._done, self._tentative):
            if key in known:
                return known[key]
        if key in self._begun:
            self._used.add(list(self._begun).index(key))
            return self._begun[key]
        place, around = len(self._begun), self._used
        self._used = set()
        result = self._settled(key, place, compute)
        del self._begun[key]
        below = {used for used in self._used if used < place}
        (self._tentative if below else self._done)[key] = result
        self._used = around | below
        return result

    def _settled(self, key: Hashable, place: int, compute: Callable[[], Effects | None]) -> Effects | None:
        value: Effects | None = None
        for _ in range(_MOST):
            tentative = dict(self._tentative)
            self._begun[key] = value
            result = compute()
            self._tentative = tentative
            if place not in self._used or result == value:
                return result
            value = result
        return None
