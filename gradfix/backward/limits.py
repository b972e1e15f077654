"""What a check may cost: bounds of its runs, and a budget for all of them."""

from __future__ import annotations

import threading

from gradfix.backward.worker.limits import MIB, Limits

__all__ = ("MIB", "Budget", "Limits")


class Budget:
    """Seconds that several checkers may spend together."""

    def __init__(self, total: float) -> None:
        self._left = total
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """What may still be spent; below zero when the last one took too long."""
        return self._left

    def spend(self, seconds: float) -> None:
        """Take so much off."""
        with self._lock:
            self._left -= seconds
