"""Calls for code that nothing calls: found by a search in the guarded child, then judged like declared ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradfix.backward.protocol import Run
from gradfix.backward.verdict.symptoms import SYMPTOMS, Cure
from gradfix.backward.worker.requests import Search
from gradfix.findings import HazardKind

_OF_LEAVES = frozenset({HazardKind.LEAF_WRITTEN, HazardKind.LEAF_VIEW_WRITTEN})
_OF_WRITES = frozenset(
    {HazardKind.SAVED_THEN_WRITTEN, HazardKind.MULTI_VIEW_WRITTEN, HazardKind.NO_GRAD_VIEW_WRITTEN, *_OF_LEAVES}
)


@dataclass(frozen=True, slots=True)
class Calls:
    """What a search came to."""

    calls: tuple[str | None, ...]  # one for each target
    reason: str  # why one is missing
    reached: int = 0  # targets of which a line ran


def search_for(
    lines: Sequence[int],
    targets: Sequence[frozenset[int]],
    kinds: frozenset[HazardKind],
    writes: Sequence[frozenset[int]] = (),
) -> Search:
    """What to look for: calls that run the writes and show the symptom of a hazard, where it has one."""
    stems = tuple(symptom.stem for symptom in SYMPTOMS if symptom.kind in kinds)
    akin = tuple(s.stem for s in SYMPTOMS if s.kind in _OF_WRITES and s.cure is not Cure.NONE) if stems else ()
    return Search(
        lines=tuple(lines),
        targets=tuple(tuple(sorted(one)) for one in targets),
        writes=tuple(tuple(sorted(one)) for one in (writes or [frozenset[int]()] * len(targets))),
        stems=stems,
        akin=akin,
        leaves=bool(kinds & _OF_LEAVES),
    )


def calls_of(run: Run, targets: Sequence[object], function: str) -> Calls:
    """Read the report of a search for calls of `function`."""
    found = None if run.found is None or len(run.found.calls) != len(targets) else run.found
    calls = (None,) * len(targets) if found is None else found.calls
    return Calls(calls, _reason(run, function), 0 if found is None else sum(found.reached))


def _reason(run: Run, function: str) -> str:
    told = f"no call of `{function}` was found to run"
    if run.killed is not None:
        return f"{told}: the search was stopped ({run.killed})"
    if run.ended is not None and run.ended.error is not None:
        return f"{told}: importing the file raises {run.ended.error}"
    if run.ended is None:
        return f"{told}: the search ended the interpreter"
    return told if run.found is None else f"{told}: last error {run.found.failure}"
