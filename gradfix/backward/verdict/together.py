"""Runs of one text made one after the other in one process: what most of them take is the process.

What a run leaves behind, in modules it imports say, those after it see. So this is done for a case only once it was
shown to give what processes of their own give, and what speaks against a rewrite is asked of those again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradfix.backward.protocol import Run
from gradfix.backward.verdict.oracle import Make
from gradfix.backward.worker.requests import Request

SLOW = 0.3  # seconds of one run, beyond which the process doesn't matter


class Together:
    """Makes runs, some of them ahead."""

    def __init__(self, make: Make, seconds: float) -> None:
        """`make` carries out a request in a process of its own; a plain one took so many seconds."""
        self._make = make
        self._ready: dict[Request, tuple[int, Run]] = {}  # with the number of the group
        self._worth = seconds < SLOW
        self._compared: set[int] = set()  # groups of which a run was compared
        self._shown: frozenset[int] = frozenset()  # groups that count

    def ahead(self, *groups: Sequence[Request]) -> None:
        """Make the runs that are about to be asked for, each group of one text in a process."""
        self._ready.clear()
        if not self._worth:
            return
        for number, group in enumerate(groups):
            first = self._make(replace(group[0], further=tuple(group[1:])))
            runs = (replace(first, further=()), *first.further)
            for one, run in zip(group, runs, strict=False):
                if _came_to_its_end(one, run):
                    self._ready[one] = number, run

    def __call__(self, request: Request) -> Run:
        """What the request gives. Until its group counts, it is made once more, and compared."""
        number, known = self._ready.pop(request, (0, None))
        if known is None or not self._worth:
            return self._make(request)
        if number in self._shown:
            return known
        run = self._make(request)
        self._compared.add(number)
        self._worth = _are_alike(_observed(run), _observed(known))
        return run

    def settle(self) -> None:
        """What was asked for since `ahead` decided: from now on, groups that were compared count."""
        self._shown = frozenset(self._compared)

    @property
    def counts(self) -> bool:
        """Whether something that was asked for since `ahead` may have come from a process that other runs share."""
        return self._worth and bool(self._shown)

    def alone(self) -> bool:
        """Ask for processes of their own from now on; whether that makes a difference to what was asked."""
        before, self._worth = self.counts, False
        return before


def _came_to_its_end(request: Request, run: Run) -> bool:
    """Whether nothing of the user's code has kept it from being stopped after its last pass."""
    return run.ended is not None and (run.ended.stopped or len(run.events) < request.backwards)


def _observed(run: Run) -> tuple[object, ...]:
    """What the check goes by."""
    ended = None if run.ended is None else replace(run.ended, seconds=0.0, memory=0)
    return run.events, run.caught, ended, run.output


def _are_alike(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    """Whether both are the same, also where they hold what is no number, which equals nothing."""
    return one == other or repr(one) == repr(other)
