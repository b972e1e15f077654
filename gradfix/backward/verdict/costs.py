"""What a rewrite costs: time and peak memory of both texts for the same work, in runs of their own."""

from __future__ import annotations

from dataclasses import replace

from gradfix.backward.protocol import Ended
from gradfix.backward.verdict.failures import Failure
from gradfix.backward.verdict.oracle import Make
from gradfix.backward.verdict.symptoms import Cure
from gradfix.backward.worker.requests import Request
from gradfix.findings import Cost

ROUNDS = 2  # of which the better one counts
SHORT, LONG = 0.005, 0.3  # seconds of both; shorter and longer runs are made once
_FORWARD_ONLY = (Cure.DIFFERENCES, Cure.NONE)  # the original has no backward


def cost(make: Make, before: Request, after: Request, failure: Failure | None) -> Cost | None:
    """The cost of both requests. None where one of them doesn't come to its end.

    An original that raises `failure` is run with torch's version check off, or to the first backward only: then it does
    the work of its forward and backward, whatever comes out, and so does the rewritten text.
    """
    requests = [_measuring(request, failure) for request in (before, after)]
    found: list[tuple[Ended, Ended]] = []
    for _ in range(ROUNDS):
        one, other = (make(request).ended for request in requests)
        if one is None or other is None or (one.error or other.error) is not None:
            return None
        found.append((one, other))
        if not SHORT < one.seconds + other.seconds < LONG:
            break
    ones, others = zip(*found, strict=True)
    return Cost(
        (min(e.seconds for e in ones), min(e.seconds for e in others)),
        (min(e.memory for e in ones), min(e.memory for e in others)),
    )


def _measuring(request: Request, failure: Failure | None) -> Request:
    plain = replace(request, lines=(), measure=True)
    if failure is None:
        return plain
    cure = failure.symptom.cure
    plan = replace(
        plain.plan,
        fresh_leaves=cure is Cure.FRESH_LEAVES,
        direction=0 if cure in _FORWARD_ONLY else None,
    )
    kept, apart = cure is Cure.KEPT, cure is Cure.APART
    return replace(plain, unchecked=True, ones=cure is Cure.ONES, kept=kept, apart=apart, plan=plan)
