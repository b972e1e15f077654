"""Autograd's errors in a run, caught by the user's code or not, and which of them come or go with a rewrite.

A program may catch an error and go on: it prints it, or tries another way. What both texts meet like that, as often and
at the same lines, is part of what the program does, and so is what the second catches at lines of both where the first
has ended. What else only one of them meets counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from gradfix.backward.protocol import Raised, Run
from gradfix.backward.verdict.symptoms import Symptom, symptom_of
from gradfix.findings import HazardKind

Key = tuple[Symptom, "int | None"]  # with the line of the file where it came by


@dataclass(frozen=True, slots=True)
class Failure:
    """An autograd error of a run."""

    index: int  # of the pass that raised, or would have come next
    error: Raised
    symptom: Symptom
    passing: bool = field(default=False, compare=False)  # a pass raised it, and not what comes before one
    ending: bool = field(default=False, compare=False)  # nobody caught it
    besides: frozenset[Key] = field(default=frozenset(), compare=False)  # that the program meets in any case

    def ends(self, run: Run) -> bool:
        """Whether the run that met it ended with it."""
        end = None if run.ended is None else run.ended.error
        last = self.passing and self.passes == len(run.events)
        return self.ending or (last and end is not None and end.message == self.error.message)

    @property
    def passes(self) -> int:
        """How many passes, from the first on, have losses that don't come of it."""
        return self.index + self.passing

    @property
    def key(self) -> Key:
        """What makes it the same error in another run of the text."""
        return self.symptom, self.error.line


def failures_of(run: Run) -> list[Failure]:
    """All of a run, in their order."""
    found: list[Failure] = []
    last = len(run.events)
    for index in range(last + 1):
        found += _failure(index, [error for at, error in run.caught if at == index])
        if index < last:
            found += _failure(index, [run.events[index].error], passing=True)
    ended = _failure(last, [None if run.ended is None else run.ended.error], ending=True)
    if ended and found and found[-1] == ended[0] and not found[-1].passing:
        found.pop()  # it came by on its way out
    return found + ended


def failure_of(run: Run, besides: Collection[Key] = ()) -> Failure | None:
    """The first one, but for those `besides`."""
    return next((one for one in failures_of(run) if one.key not in besides), None)


def apart(
    before: Run, after: Run, origins: Mapping[int, int], kinds: Collection[HazardKind], *, entry: bool = False
) -> tuple[Failure | None, Failure | None]:
    """The first of each run that the other doesn't meet, too. Where all are alike, the first of both.

    `origins` leads from lines of the second text to the same ones of the first, `kinds` are those that the rewrite is
    to cure: errors of other kinds that both catch outside of a pass are none of its business. With an `entry` passes
    are told by the lines of another file.
    """
    ones, others = failures_of(before), failures_of(after)

    def origin(one: Failure) -> Key:
        line = one.error.line
        told_elsewhere = line is None or (entry and one.passing)
        return one.symptom, line if told_elsewhere else origins.get(line or 0, -(line or 0))

    known = {one.key: origin(one) for one in others}
    ours, theirs = Counter(one.key for one in ones), Counter(known[one.key] for one in others)
    shared = {key for key, times in ours.items() if theirs[key] == times}
    if shared and ours.keys() <= shared and theirs.keys() <= shared:
        wanted = [one.key for one in ones if one.passing or one.ending or not kinds or one.symptom.kind in kinds]
        shared -= set(wanted)
    first = _first(ones, shared)
    if first is not None and first.ends(before):  # it never got to what the other catches later
        later = {known[one.key] for one in others if not one.ends(after)}
        shared |= {(symptom, line) for symptom, line in later if line is None or line > 0} - {first.key}
    mine = {key for key, origin in known.items() if origin in shared}
    return _first(ones, shared), _first(others, mine)


def _first(failures: Iterable[Failure], besides: Collection[Key]) -> Failure | None:
    found = next((one for one in failures if one.key not in besides), None)
    return None if found is None else replace(found, besides=frozenset(besides))


def are_lost(besides: Collection[Key], run: Run) -> bool:
    """Whether a run doesn't meet all of what the plain one did in any case."""
    return not set(besides) <= {one.key for one in failures_of(run)}


def _failure(
    index: int, errors: Iterable[Raised | None], *, passing: bool = False, ending: bool = False
) -> list[Failure]:
    told = ((error, symptom_of(error.message)) for error in errors if error is not None)
    return [Failure(index, error, symptom, passing, ending) for error, symptom in told if symptom is not None]
