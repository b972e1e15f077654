"""Guarded servers that one checker has after the other, so that torch is imported once and not in every test.

A server holds no user code: each run is forked from it, and what a run leaves is killed. One that is let go
of a run is ended, as it would be without this. Tests of how servers start and end ask for none of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.backward.protocol import Run
from gradfix.backward.runner import LostError, Runner
from gradfix.backward.surroundings import environment
from gradfix.backward.worker.requests import Request


class Lender:
    """Keeps servers for the next checker that wants one of their kind."""

    def __init__(self) -> None:
        self._idle: dict[Hashable, list[Runner]] = {}
        self._closed = False
        self._start = Checker._started

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Meanwhile whatever checker needs a server gets it here."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checker, "_started", lambda checker: self._lent(checker))
            yield

    @contextmanager
    def checker(self, cwd: Path | None = None, limits: Limits | None = None) -> Iterator[Checker]:
        """A checker that gets its server here."""
        with Checker(cwd=cwd, limits=limits) as one:
            one._started = lambda: self._lent(one)  # type: ignore[method-assign]
            yield one

    def close(self) -> None:
        """End what is idle; what comes back later is ended then."""
        self._closed = True
        for runners in self._idle.values():
            while runners:
                runners.pop().close()

    def _lent(self, checker: Checker) -> Runner:
        idle = self._idle.setdefault(_kind(checker), [])
        try:
            own = idle.pop()
        except IndexError:
            own = self._start(checker)
        return _Lent(own, lambda: own.close() if self._closed else idle.append(own))


class _Lent:
    """A runner that goes back when it is closed."""

    def __init__(self, own: Runner, give_back: Callable[[], None]) -> None:
        self._own, self._give_back = own, give_back
        self._lock = threading.Lock()
        self._hung_up = self._running = False

    @property
    def walls(self) -> tuple[str, ...]:
        return self._own.walls

    @property
    def fresh(self) -> bool:
        return self._own.fresh

    def run(self, request: Request) -> Run:
        with self._lock:
            if self._hung_up:
                raise LostError("it was hung up on")
            self._running = True
        run = self._own.run(request)
        with self._lock:
            self._running = False
        return run

    def close(self) -> None:
        if self._running:  # by an interrupt, or it was lost
            self._own.close()
        else:
            self._give_back()

    def hang_up(self) -> None:
        with self._lock:
            self._hung_up = True
            if self._running:
                self._own.hang_up()


def _kind(checker: Checker) -> Hashable:
    """What servers differ in: all that one is started with but the times that the check itself keeps."""
    limits = replace(checker._limits, seconds=0, case=0, search=0, command=0, total=0)
    return checker._python, checker._trust, checker._without, limits, frozenset(environment("").items())
