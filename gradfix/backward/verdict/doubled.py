"""Gradients in float64, where those in float32 agree up to rounding: another factor of 1.00001 is no rounding there."""

from __future__ import annotations

from gradfix.backward.protocol import Run
from gradfix.backward.verdict.compare import Agreement, DiffersError, RoundingError, same_passes
from gradfix.backward.verdict.oracle import Make, NoOracleError, failure_of, run_cured
from gradfix.backward.worker.messages import NARROW
from gradfix.backward.worker.requests import Request


def same_in_double(make: Make, first: Request, second: Request, agreement: Agreement) -> None:
    """The first pass, or the one that failed, gives the same gradients in both texts; the requests ask for float64.

    Raises `DiffersError`, and `NoOracleError` where one of them isn't that precise, or takes another way.
    """
    before, passes = _cured(make, first)
    after, _ = _cured(make, second)
    if any(map(_is_narrow, (before, after))):
        raise NoOracleError("no oracle: float64 isn't what it runs in")
    try:
        same_passes(before.events[:passes], after.events, agreement)
    except RoundingError:
        return
    except DiffersError as difference:
        raise DiffersError(f"{difference}, in float64") from None


def _cured(make: Make, request: Request) -> tuple[Run, int]:
    """A run past the first error, and how many of its passes count."""
    run = make(request)
    failure = failure_of(run)
    return (run, 1) if failure is None else (run_cured(make, request, failure)[0], failure.index + 1)


def _is_narrow(run: Run) -> bool:
    return not run.events or any(NARROW in event.stops for event in run.events)
