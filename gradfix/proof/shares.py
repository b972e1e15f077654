"""What a judgement of many fixes together says about one of them. Pure.

A fix whose lines didn't run shares in no verdict. And an error that the original raised is cured by the fixes whose
conflicts the traced original shows; to the others of its run, nothing happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradfix.findings import HazardKind, Judgement, Shown, Verdict

_OF_THE_LOSS = (HazardKind.DISCONNECTED, HazardKind.NON_SCALAR_BACKWARD)  # not the conflict of one write
_SAYS_NOTHING = (Verdict.REJECTED, Verdict.NOT_EXERCISED, Verdict.UNCHECKED)


@dataclass(frozen=True, slots=True)
class Own:
    """One fix among those that were judged together."""

    before: frozenset[int]  # lines of the original that it changes
    after: frozenset[int]  # lines of the rewritten text that it changed
    causes: frozenset[int]  # lines of the original with the writes that it cures
    kind: HazardKind | None
    predicted: bool  # the analysis says that every run raises


def share(judgement: Judgement, own: Own, every: Sequence[Own]) -> Judgement:
    """The part of the fix `own` in the judgement of `every` fix."""
    shown = judgement.shown
    if shown is None or judgement.verdict in _SAYS_NOTHING or not own.before | own.after:
        return judgement
    if not (own.before & shown.before or own.after & shown.after):
        return Judgement(Verdict.NOT_EXERCISED, "no run reached its lines", ran=judgement.ran, shown=shown)
    judgement = replace(judgement, shown=replace(shown, missed=shown.missed & own.after))
    if judgement.verdict is not Verdict.FIXED or _cures(own, shown) or not any(_cures(one, shown) for one in every):
        return judgement
    if own.predicted:
        return replace(judgement, verdict=Verdict.NOT_REPRODUCED, reason="its own conflict didn't show", cost=None)
    reason = "what went wrong before wasn't its own; same after, where it ran"
    return replace(judgement, verdict=Verdict.EQUIVALENT, reason=reason)


def _cures(own: Own, shown: Shown) -> bool:
    for kind, lines in shown.conflicts:
        if own.kind in _OF_THE_LOSS or kind in {kind.value for kind in _OF_THE_LOSS}:
            if own.kind is not None and kind == own.kind.value:
                return True
        elif own.causes.intersection(lines):
            return True
    return False
