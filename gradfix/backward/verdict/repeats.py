"""Whether the original agrees with itself, and how closely: what differs between two of its runs proves nothing."""

from __future__ import annotations

import time

from gradfix.backward.protocol import Run
from gradfix.backward.verdict.compare import Agreement, DiffersError, same_passes
from gradfix.backward.verdict.endings import UncheckedError
from gradfix.backward.verdict.evidence import Evidence
from gradfix.backward.verdict.oracle import Make
from gradfix.backward.verdict.printed import same_print
from gradfix.backward.verdict.state import is_in_one, varying
from gradfix.backward.worker.messages import FILE
from gradfix.backward.worker.requests import Request

LATER = 1.1  # seconds between two runs, so that clocks show another second
NOISE = 1e-3  # relative difference of the original from itself beyond which nothing can be concluded


def repeat(make: Make, request: Request, before: Run, evidence: Evidence, *, longest: float) -> None:
    """Run the original again, unless it takes longer than that. Raises `UncheckedError` where it differs."""
    if before.seconds > longest:
        evidence.notes.append("the original is too slow to be run twice: its determinism is unknown")
        return
    again = make(request)
    evidence.prints = same_print(before.output, again.output, prefix=False) is None
    if before.left:
        evidence.notes.append(f"the program left {before.left} of its processes running; they were ended")
    evidence.agreement.volatile = varying(before, again)
    spread = Agreement(slack=1e9)
    try:
        if len(before.events) != len(again.events):
            raise DiffersError(f"{len(before.events)} passes, then {len(again.events)}")
        same_passes(before.events, again.events, spread)
    except DiffersError as difference:
        raise UncheckedError(f"two runs of the original differ: {difference}") from None
    apart = max(spread.relative, spread.forward)
    if apart > NOISE:
        raise UncheckedError(f"two runs of the original differ, by {apart:.1e} of the largest value")
    if not spread.bitwise:
        evidence.agreement.slack = 1.0 + 4 * apart / (100 * 2.0**-23)
        evidence.notes.append(f"two runs of the original differ by {apart:.1e}: so may the rewritten one")


def varies_later(make: Make, request: Request, evidence: Evidence) -> bool:
    """Whether the original prints or leaves something else at another time of day: that counts no more, then."""
    one = make(request)
    time.sleep(LATER)
    other = make(request)
    found = varying(one, other) - evidence.agreement.volatile
    if any(is_in_one(path, one, other) for path in found):
        found |= {FILE}  # it is called by the time of day
    prints = evidence.prints and same_print(one.output, other.output, prefix=False) is None
    changed = bool(found) or prints != evidence.prints
    evidence.agreement.volatile |= found
    evidence.prints = prints
    return changed
