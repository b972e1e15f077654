"""Programs that compute gradients by transforms of `torch.func`, or end with a step along one: values are compared."""

from __future__ import annotations

from dataclasses import replace

from gradfix.backward.protocol import Tensor
from gradfix.backward.verdict.compare import Agreement
from gradfix.backward.verdict.doubts import same_as_reference
from gradfix.backward.verdict.failures import Failure
from gradfix.backward.verdict.oracle import Make, NoOracleError, run_cured
from gradfix.backward.verdict.state import bound_names
from gradfix.backward.verdict.symptoms import Cure
from gradfix.backward.worker.requests import Request

_MADE = {Cure.PLAINLY, Cure.UPDATES}  # what gradients come from, or what is made of them


def same_values(
    make: Make, first: Request, second: Request, failure: Failure, local: Agreement, *, prints: bool
) -> str:
    """What the module holds and prints in the end is what the original's would be. Returns the oracle's name.

    Raises `DiffersError`, and `NoOracleError` where neither was cured: then no value comes from a gradient.
    """
    nothing = NoOracleError("no backward follows the error")
    if first.entry is not None:
        raise nothing
    names = first.shared if first.call is not None else bound_names(first.text, second.text)
    one, other = (replace(request, shared=names) for request in (first, second))
    past = run_cured(make, one, failure, valued=True)
    ended = past.run.ended
    held = () if ended is None else (*ended.state.values(), *ended.results, *ended.arguments)
    if not _MADE & set(past.cures) or not any(isinstance(value, Tensor) for value in held):
        raise nothing
    same_as_reference(make, past.run, past.name, make(other), other, local, prints=prints)
    local.passes += 1
    return past.name
