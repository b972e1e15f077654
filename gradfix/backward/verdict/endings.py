"""How runs end: what keeps the original from showing anything, and what the rewritten text must leave as it did."""

from __future__ import annotations

from gradfix.backward.protocol import Raised, Run, Tensor
from gradfix.backward.verdict.compare import Agreement, DiffersError, OutsideError, distance, match_leaves
from gradfix.backward.verdict.failures import Failure, failure_of
from gradfix.backward.verdict.printed import same_print
from gradfix.backward.verdict.sharing import same_sharing
from gradfix.backward.verdict.state import same_state
from gradfix.backward.verdict.symptoms import symptom_of

NO_BACKWARD = "no backward ran"
TWO = "goes on in two processes (`os.fork`)"


class UncheckedError(Exception):
    """Nothing can be said; the message is the reason."""


def shows(run: Run, *, valued: bool) -> bool:
    """Whether a run gave something to compare: passes, and where `valued` results that can't have a graph."""
    return bool(run.events) or (valued and run.ended is not None and bool(run.ended.results))


def obstacle_of(run: Run, *, call: bool, valued: bool) -> str | None:
    """Why nothing can be learned from a run of the original. Where `valued`, results without a graph tell something."""
    if run.killed is not None and not (run.killed == "time" and run.events):
        if run.killed == "time":
            return "the original reached no backward in time"
        return f"the original was stopped: {run.killed}"
    if run.ended is not None and run.ended.forked:
        return f"the original {TWO}"
    failed = failure_of(run) is not None
    if run.ended is not None and run.ended.error is not None and not failed and (call or not run.events):
        return f"the original raises {run.ended.error}"
    if failed or shows(run, valued=valued):
        return None
    if run.ended is None and run.killed is None:
        return f"the original {_departure(run)} before any backward"
    return "the call returns nothing differentiable" if call else NO_BACKWARD


def _departure(run: Run) -> str:
    return f"died of signal {-run.status}" if run.status < 0 else f"left the interpreter with code {run.status}"


def still_raises(failure: Failure) -> str:
    """That the rewritten text raises, and where."""
    line = "" if failure.error.line is None else f" (line {failure.error.line})"
    return f"still raises {failure.error}{line}"


def no_new_end(before: Run, after: Run, failure: Failure | None, again: Failure | None, *, silent: bool) -> None:
    """The rewritten text, which raised `again`, ends no worse than the original, which raised `failure`.

    Raises `DiffersError` where it does.

    Where the hazard is `silent`, what the original raised may come of it: of a gradient that is None, or of a test for
    one. Raises `UncheckedError` where only time decides, or nobody knows whose end it is.
    """
    if after.ended is not None and after.ended.forked:
        raise UncheckedError(f"the rewritten text {TWO}")
    if again is not None and failure is None:
        raise DiffersError(still_raises(again).removeprefix("still "))
    if after.killed == "time" and before.killed is None:
        _in_time(before, after, failure)
    elif after.killed is not None and before.killed is None:
        raise DiffersError(f"it was stopped: {after.killed}")
    if after.ended is None and after.killed is None and before.ended is not None:
        raise DiffersError(f"it {_departure(after)}")
    if failure is None and not (silent and after.ended is not None and after.ended.error is None):
        no_other_error(before, after)


def no_error_of_its_own(before: Run, after: Run, changed: frozenset[int]) -> None:
    """Raises `DiffersError` where a line of the rewrite raises, or a program that came to its end no longer does.

    What other lines raise may be in the original, too, where that didn't get so far.
    """
    error = None if after.ended is None else after.ended.error
    ended = before.ended is not None and before.ended.error is None
    if error is not None and (error.line in changed or ended):
        raise DiffersError(f"raises {error}" + ("" if error.line is None else f" (line {error.line})"))


def _in_time(before: Run, after: Run, failure: Failure | None) -> None:
    """Whether running out of time speaks against the rewritten text: it has more to do where the original raised."""
    if failure is not None:
        if len(after.events) <= failure.index:
            raise UncheckedError("the rewritten text reached no backward in time")
    elif before.seconds > 0.4 * after.seconds:
        raise UncheckedError("the rewritten text didn't end in time; the original took most of it, too")
    else:
        raise DiffersError("it didn't end in time")


def no_other_error(reference: Run, after: Run) -> None:
    """Both end with the same error of the user's own, or with none."""
    one, other = (None if run.ended is None else run.ended.error for run in (reference, after))
    if one is not None and symptom_of(one.message) is not None:
        return  # it ended where it failed: how it would have ended isn't known
    if reference.ended is None or after.ended is None or _same_error(one, other):
        return
    if other is None:
        raise DiffersError(f"no longer raises {one}")
    raise DiffersError(f"raises {other}" + ("" if other.line is None else f" (line {other.line})"))


def _same_error(one: Raised | None, other: Raised | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.type == other.type and same_print(one.message, other.message, prefix=False) is None


def same_count(before: Run, after: Run) -> None:
    """As many backward passes in both, when both came to their end. Raises `DiffersError`."""
    ended = all(run.killed is None and (run.ended is None or run.ended.error is None) for run in (before, after))
    if ended and len(before.events) != len(after.events):
        raise DiffersError(f"{len(before.events)} backward passes before, {len(after.events)} after")


def ends_in_leaf_of_its_own(before: Run, after: Run) -> bool:
    """Whether a leaf of the original's first pass is none in the rewritten text: differences move it, too."""
    if not before.events or not after.events:
        return False
    own, others = before.events[0].leaves, after.events[0].leaves
    kept = {leaf.names for leaf in others}
    lost = match_leaves(own, others)[1]
    return any(leaf.names not in kept for leaf in own) or any(not leaf.names for leaf in lost)


def same_end(before: Run, after: Run, local: Agreement, *, prints: bool) -> None:
    """Raises `DiffersError` where two runs leave something else behind; with `prints` their output counts, too."""
    if before.ended is None or after.ended is None or before.killed or after.killed:
        return
    same_generators(before, after)
    same_arguments(before, after, local)
    if prints:
        same_output(before, after, prefix=False)


def same_generators(before: Run, after: Run) -> None:
    """Raises `DiffersError` where two runs that came to their end have drawn other random numbers."""
    ones, others = before.ended, after.ended
    if ones is None or others is None or ones.error is not None or others.error is not None:
        return
    if ones.stopped == others.stopped and ones.rng != others.rng:
        raise DiffersError("it draws other random numbers: the generators end in another state")


def same_arguments(before: Run, after: Run, local: Agreement, *, state: bool = True, gradients: bool = True) -> None:
    """Raises `DiffersError` where a call returns something else, or leaves its arguments otherwise.

    With `state`, what else later calls would see counts, too; with `gradients`, also those through it.
    """
    if before.ended is None or after.ended is None or before.ended.error is not None:
        return
    counts = len(before.ended.results), len(after.ended.results)
    if counts[0] != counts[1]:
        raise DiffersError(f"the call returns {counts[0]} tensors before, {counts[1]} after")
    for number, (one, other) in enumerate(zip(before.ended.results, after.ended.results, strict=True), 1):
        distance(one, other, f"tensor {number} of the result", local, improve=False)
        _same_layout(one, other, number)
    for number, (one, other) in enumerate(zip(before.ended.arguments, after.ended.arguments, strict=False), 1):
        distance(one, other, f"argument {number} after the call", local, improve=False)
    if state:
        same_state(before, after, local, gradients=gradients)
        same_sharing(before.ended, after.ended)


def _same_layout(one: Tensor, other: Tensor, number: int) -> None:
    """What the caller may do with a result, as to `view` it, depends on its strides."""
    if one.strides is not None and other.strides is not None and one.strides != other.strides:
        told = f"{list(one.strides)} before, {list(other.strides)} after"
        raise DiffersError(f"tensor {number} of the result lies in memory with the strides {told}")


def same_output(before: Run, after: Run, *, prefix: bool) -> None:
    """Raises `DiffersError` where another text is printed; with `prefix` the second run may print more."""
    difference = same_print(before.output, after.output, prefix=prefix)
    if difference is not None:
        raise OutsideError(difference)
