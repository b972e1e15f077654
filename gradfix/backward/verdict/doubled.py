"""Gradients in float64, where those in float32 agree up to rounding: another factor of 1.00001 is no rounding there."""

from __future__ import annotations

from collections.abc import Callable

from gradfix.backward.protocol import Run
from gradfix.backward.verdict.compare import Agreement, DiffersError, RoundingError, same_passes
from gradfix.backward.verdict.failures import Failure
from gradfix.backward.verdict.oracle import Make, NoOracleError, run_cured
from gradfix.backward.worker.messages import NARROW
from gradfix.backward.worker.requests import Request


def same_in_double(
    make: Make,
    first: Request,
    second: Request,
    agreement: Agreement,
    apart: Callable[[Run, Run], tuple[Failure | None, Failure | None]],
) -> None:
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
