"""Whether the original agrees with itself, and how closely: what differs between two of its runs proves nothing."""

from __future__ import annotations

from gradfix.backward.protocol import Run
from gradfix.backward.verdict.compare import Agreement, DiffersError, same_passes, same_print
from gradfix.backward.verdict.endings import UncheckedError
from gradfix.backward.verdict.evidence import Evidence
from gradfix.backward.verdict.oracle import Make
from gradfix.backward.verdict.state import varying
from gradfix.backward.worker.requests import Request

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
