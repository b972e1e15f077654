"""Bounds of what a check may cost."""

from __future__ import annotations

import threading
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes. Every bound is enforced outside the process that runs the user's code."""

    seconds: float = 20.0  # one run
    case: float = 30.0  # all runs of one case; no new pair of runs is started afterwards
    search: float = 15.0  # looking for calls of one function, its imports included
    command: float = 300.0  # one run of the user's own command
    total: float = 600.0  # all cases of one `Checker`
    start: float = 120.0  # until the interpreter has imported torch
    memory: int = 4096 * MIB  # resident size of a run, all its processes together
    output: int = 8 * MIB  # what a run prints
    file_size: int = 256 * MIB  # one file a run writes
    scratch: int = 512 * MIB  # all files a run writes
    report: int = 64 * MIB  # what a run reports to the check
    processes: int = 64  # processes alive at once in one run
    backwards: int = 8  # backward passes observed in one run; it is stopped after the last one


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
