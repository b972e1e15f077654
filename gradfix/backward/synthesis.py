"""Calls for code that nothing calls: found by a search in the guarded child, then judged like declared ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradfix.backward.protocol import Run, Search
from gradfix.backward.symptoms import SYMPTOMS
from gradfix.findings import HazardKind

_OF_LEAVES = frozenset({HazardKind.LEAF_WRITTEN, HazardKind.LEAF_VIEW_WRITTEN})


@dataclass(frozen=True, slots=True)
class Calls:
    """What a search came to."""

    calls: tuple[str | None, ...]  # one for each target
    reason: str  # why one is missing
    reached: int = 0  # targets of which a line ran


def search_for(lines: Sequence[int], targets: Sequence[frozenset[int]], kinds: frozenset[HazardKind]) -> Search:
    """What to look for: calls that show the symptom of a hazard, where it has one."""
    stems = tuple(symptom.stem for symptom in SYMPTOMS if symptom.kind in kinds)
    return Search(tuple(lines), tuple(tuple(sorted(one)) for one in targets), stems, bool(kinds & _OF_LEAVES))


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
