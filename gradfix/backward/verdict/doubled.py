"""Gradients in float64, where those in float32 agree up to rounding: another factor of 1.00001 is no rounding there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gradfix.backward.protocol import Run
from gradfix.backward.verdict import oracle
from gradfix.backward.verdict.compare import Agreement, DiffersError, RoundingError, same_passes, same_roots
from gradfix.backward.verdict.evidence import Evidence
from gradfix.backward.verdict.failures import Failure
from gradfix.backward.verdict.oracle import Make, NoOracleError, run_cured
from gradfix.backward.worker.messages import NARROW
from gradfix.backward.worker.requests import Request

CONFIRMED = 1e4  # slack of losses in float64: far from rounding in float32, with room for other orders of summation

Apart = Callable[[Run, Run], "tuple[Failure | None, Failure | None]"]


def confirm_in_double(make: Make, request: Request, after: str, evidence: Evidence, apart: Apart) -> None:
    """What agrees up to rounding only must agree better in float64: a small mistake hides in a large number.

    `request` is the plain run of the original, `after` the other text. Raises `DiffersError`.
    """
    if evidence.agreement.slack > 1.0:
        return
    first = replace(request, plan=replace(request.plan, double=True))
    second = replace(first, text=after)
    try:
        if evidence.agreement.forward:
            one, other = (oracle.forward(make, each) for each in (first, second))
            same_roots(one.events[0], other.events[0], Agreement(slack=CONFIRMED))
        if evidence.agreement.relative and not evidence.corrected + evidence.moved:
            same_in_double(make, first, second, Agreement(slack=CONFIRMED), apart)
    except NoOracleError:
        evidence.notes.append("equal up to rounding, which float64 can't confirm: it doesn't run in float64")


def same_in_double(make: Make, first: Request, second: Request, agreement: Agreement, apart: Apart) -> None:
    """The first pass, or the one that failed, gives the same gradients in both texts; the requests ask for float64.

    `apart` tells how each of two runs failed. Raises `DiffersError`, and `NoOracleError` where one of them isn't that
    precise, or takes another way.
    """
    before, after = make(first), make(second)
    failure, again = apart(before, after)
    passes = 1 if failure is None else failure.index + 1
    before, after = _cured(make, first, before, failure), _cured(make, second, after, again)
    if any(map(_is_narrow, (before, after))):
        raise NoOracleError("no oracle: float64 isn't what it runs in")
    try:
        same_passes(before.events[:passes], after.events, agreement)
    except RoundingError:
        return
    except DiffersError as difference:
        raise DiffersError(f"{difference}, in float64") from None


def _cured(make: Make, request: Request, run: Run, failure: Failure | None) -> Run:
    """A run past the error that a plain one met."""
    return run if failure is None else run_cured(make, request, failure).run


def _is_narrow(run: Run) -> bool:
    return not run.events or any(NARROW in event.stops for event in run.events)
