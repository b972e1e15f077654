"""Reference gradients for an original that raises: the ladder of oracles, first that applies.

1. The original itself, run so that it doesn't raise: its saved tensors packed as clones, its leaves handed out as
   `leaf * 1`, a cotangent of ones where torch asks for one, graphs kept for a second pass, expanded tensors copied; in
   transforms of `torch.func` by autograd alone, in hooks with copies of gradients.
2. Float64 central differences of the original's forward along fixed directions, when nothing in it stops gradients on
   purpose: a detach, no_grad, a custom Function, an inner `autograd.grad` or hard-coded float32 make differences
   differ from the gradient that is meant.
3. The same differences with everything that autograd cuts off held constant, but for the cuts that the rewrite undoes:
   where the original comes to its backward with gradients on, and the places of those cuts are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from gradfix.backward.protocol import Event, Run
from gradfix.backward.verdict.compare import DiffersError
from gradfix.backward.verdict.failures import Failure, failure_of
from gradfix.backward.verdict.symptoms import Cure
from gradfix.backward.worker.messages import NARROW, NUMBERS, PLACELESS
from gradfix.backward.worker.requests import Place, Request

DIRECTIONS = 2
STEP = 1e-5
STEPS = (STEP, -STEP, STEP / 2, -STEP / 2)
SMOOTH = 1e-4  # relative change of a difference when the step is halved; beyond it there is a kink
CLOSE = 1e-6  # relative agreement asked of a directional derivative

# Stops that a rewrite of a loss without any graph may undo: with them every run raises, so they weren't meant there.
_DELIBERATE = frozenset({"detach", ".data", "no_grad"})
_ELSEWHERE = (Cure.PLAINLY, Cure.COPIES)  # where its own cure doesn't reach: inside of transforms, and of hooks
_HELD = _DELIBERATE | {NUMBERS}
HELD = "float64 central differences with what is cut off held constant"

Make = Callable[[Request], Run]


class NoOracleError(Exception):
    """No reference gradients can be had; the message says why."""


class StoppedError(NoOracleError):
    """Central differences see through something that stops gradients."""


class PlacelessError(NoOracleError):
    """Which cuts are undone can't be told from where they stand."""


@dataclass(frozen=True, slots=True)
class Cured:
    """A run of the original past its error."""

    run: Run
    cures: tuple[Cure, ...]

    @property
    def name(self) -> str:
        """The oracle's name."""
        return " + ".join(cure.value for cure in self.cures)


def run_cured(make: Make, request: Request, failure: Failure, *, valued: bool = False) -> Cured:
    """Run the original past `failure` under the cure of each error it meets, and past later ones where those have one.

    Raises `NoOracleError` when none of the cures helps; where values are all that counts, the run needs no backward.
    """
    cures: list[Cure] = []
    tried: set[Cure] = set()
    met: Failure | None = failure
    while met is not None:
        late = met.index > failure.index
        cure = next((cure for cure in _cures(met, late=late) if cure not in tried), Cure.NONE)
        if cure in (Cure.NONE, Cure.DIFFERENCES, Cure.LEAF):
            if late:
                break
            raise NoOracleError(f"no oracle for {met.symptom.short!r}")
        cures.append(cure)
        tried.add(cure)
        run = make(cured(request, cures))
        again = failure_of(run, failure.besides)
        if again == met and cure is not Cure.HOOKS:  # which every cured run has
            cures.pop()
        met = again
    ended = run.ended is not None and run.ended.error is None
    if len(run.events) <= failure.index and not (valued and ended):
        why = "ends" if run.ended is None or run.ended.error is None else f"raises {run.ended.error}"
        raise NoOracleError(f"no oracle: with {cures[0].value} the original {why} before its backward")
    return Cured(run, tuple(cures))


def _cures(met: Failure, *, late: bool) -> tuple[Cure, ...]:
    """What may help with an error, first the likeliest; with a `late` one nothing is tried that isn't its own."""
    own = met.symptom.cure
    if late:
        return (own,)
    update = (Cure.UPDATES,) if own is Cure.FRESH_LEAVES and met.index else ()  # there is a gradient to step along
    return (*update, own, *(reversed(_ELSEWHERE) if met.passing else _ELSEWHERE))


def run_with_leaves(make: Make, request: Request, after: Run) -> Run:
    """The original with the leaves of the rewritten text `after` that it computes handed out as leaves.

    Raises `NoOracleError` where it computes none with their content.
    """
    wanted = [leaf.key for leaf in after.events[0].leaves] if after.events else []
    run = make(replace(request, lines=(), leaves=tuple(wanted)))
    found = [leaf.key for leaf in run.events[0].leaves] if run.events else []
    if not wanted or any(found.count(key) < wanted.count(key) for key in wanted):
        raise NoOracleError("no oracle: what becomes the leaf isn't computed in the original")
    return run


def cured(request: Request, cures: Collection[Cure]) -> Request:
    """The run under these cures."""
    return replace(
        request,
        hooks=True,
        ones=Cure.ONES in cures,
        kept=Cure.KEPT in cures,
        apart=Cure.APART in cures,
        plainly=Cure.PLAINLY in cures,
        copies=Cure.COPIES in cures,
        updates=Cure.UPDATES in cures,
        plan=replace(request.plan, fresh_leaves=Cure.FRESH_LEAVES in cures),
    )


def past(request: Request, failure: Failure | None) -> Request:
    """The run of the original that goes as far as it can be compared."""
    if failure is None or failure.symptom.cure is Cure.LEAF:
        return request
    if failure.symptom.cure in (Cure.DIFFERENCES, Cure.NONE):
        return _untracked(request)
    return cured(request, [failure.symptom.cure])


def both_raise(make: Make, request: Request, before: Run, after: Run) -> bool:
    """Whether the original, which ran as `before`, ends with an error past its failure, as the rewritten text does."""
    if after.ended is None or after.ended.error is None:
        return False
    run = make(past(request, failure_of(before)))
    return run.ended is not None and run.ended.error is not None


def forward(make: Make, request: Request) -> Run:
    """What a text computes up to its first backward, with gradients off. Raises `NoOracleError` when that can't run."""
    run = make(_untracked(request))
    if not run.events:
        why = f" ({run.ended.error})" if run.ended is not None and run.ended.error is not None else ""
        raise NoOracleError(f"no oracle: the forward doesn't run without gradients{why}")
    return run


def differences(
    make: Make,
    before: Request,
    after: Request,
    failure: Failure | None,
    enough: int = DIRECTIONS,
    *,
    undoing: bool = True,
) -> str:
    """Compare the rewritten text's gradients with central differences of the original's forward.

    It does so at the first pass that the requests don't skip. Those are passed over in both texts, without gradients.

    `failure` is what the original raised in single precision: in double precision it must raise the same, or the runs
    took another branch. With it, what stops gradients in the original and not in the rewritten text counts as undone,
    where that may be (`undoing`). Of the directions, those along which the forward is smooth count, `enough` of them.
    Returns the oracle's name.

    Raises `DiffersError` when gradient and differences disagree, `NoOracleError` when differences don't apply.
    """
    if failure is not None:
        passing = replace(_double(before), skipped=0, left=(), backwards=failure.index + 1)
        again = failure_of(make(passing), failure.besides)
        if again is None or (again.symptom, again.index) != (failure.symptom, failure.index):
            raise NoOracleError("no oracle: in float64 the original takes another way")
    event = _claimed(make(_claiming(after)))
    undone = _DELIBERATE - set(event.stops) if failure is not None and undoing else frozenset()

    def at(number: int, step: float) -> float:
        return _objective(make(_moved(before, number, step)), undone)

    _agree(event, at, enough)
    return Cure.DIFFERENCES.value


def held_differences(
    make: Make, before: Request, after: Request, cuts: tuple[Place, ...], enough: int, *, met: bool = False
) -> str:
    """The same with everything held that the original's autograd takes for a constant, but for what `cuts` cut off.

    The original runs as often as differences need it in one process, which remembers the constants of its first run.
    The last run moves nothing: it must give what the first gave, or the copies handed out are no stand-in.
    `met`: all cuts stand where they were told, as a later pass has shown, which comes by more of them.
    """
    event = _claimed(make(_claiming(after)))
    asked = [(0, 0.0), *((number, step) for number in range(enough) for step in STEPS), (0, 0.0)]
    requests = [_held(before, number, step, cuts) for number, step in asked]
    first = make(replace(requests[0], further=tuple(requests[1:])))
    runs = (replace(first, further=()), *first.further)
    if len(runs) != len(asked):
        raise NoOracleError("no oracle: the original doesn't run several times in one process")
    if not met and any(PLACELESS in event.stops for run in runs for event in run.events):
        raise PlacelessError(f"no oracle: {PLACELESS}")
    losses = [_objective(run, _HELD | {PLACELESS}) for run in runs]
    if losses[0] != losses[-1]:
        raise NoOracleError("no oracle: something is written through what was detached")
    known = dict(zip(asked, losses, strict=True))
    stops = tuple(set(event.stops) - {NUMBERS})
    claimed = replace(event, stops=stops, derivatives=event.derivatives[:enough])  # no others were asked for
    _agree(claimed, lambda number, step: known[number, step], enough)
    return HELD


def _agree(event: Event, at: Callable[[int, float], float], enough: int) -> None:
    """The derivatives of `event` are the slopes of the original's forward, whose objective is `at(direction, step)`."""
    loss = at(0, 0.0)
    size = abs(loss)
    if event.objective is not None and not math.isfinite(event.objective) and not math.isfinite(loss):
        raise NoOracleError("no oracle: the loss isn't finite here")
    if event.objective is None or not abs(event.objective - loss) <= 1e-9 * max(1.0, size):
        raise DiffersError(f"its loss in float64 is {event.objective:.9g}, the original's forward gives {loss:.9g}")
    compared = 0
    for number, derivative in enumerate(event.derivatives):
        if compared == enough:
            break
        slope = _slope(at, number, size)
        if slope is not None:
            compared += 1
            _hold_against(event, derivative, slope, size)
    if not compared:
        raise NoOracleError("no oracle: the forward isn't smooth here")


def _claimed(run: Run) -> Event:
    """The first pass of the rewritten text in float64, with its directional derivatives."""
    if not run.events or run.events[0].error is not None:
        raise NoOracleError("no oracle: the rewritten text doesn't run in float64")
    if run.events[0].unmoved:
        raise NoOracleError("no oracle: central differences can't reach every leaf")
    return run.events[0]


def _hold_against(event: Event, derivative: float, slope: float, size: float) -> None:
    """Raises where a derivative isn't the slope of a forward whose objective is as large as `size`."""
    if abs(slope - derivative) <= CLOSE * max(abs(slope), abs(derivative)) + 1e-8 * max(1.0, size):
        return
    if NUMBERS in event.stops:
        raise StoppedError(f"no oracle: {NUMBERS}, which central differences see through")
    if NARROW in event.stops:
        raise NoOracleError(f"no oracle: {NARROW}, which central differences are too fine for")
    raise DiffersError(f"its directional derivative is {derivative:.9g}, central differences give {slope:.9g}")


def ahead(before: Request, after: Request, enough: int, *, held: bool) -> tuple[list[Request], list[Request]]:
    """The runs of each text that `forward` and `differences` ask for where the forward is smooth.

    `held_differences` makes those of the original itself.
    """
    steps = [_moved(before, number, step) for number in range(enough) for step in STEPS]
    plain = [] if held else [_moved(before, 0, 0.0), *steps, _double(before)]
    return [_untracked(before), *plain], [_untracked(after), _claiming(after)]


def _untracked(request: Request) -> Request:
    return replace(request, ones=True, backwards=1, lines=(), plan=replace(request.plan, direction=0))


def _double(request: Request) -> Request:
    return replace(request, backwards=1, lines=(), plan=replace(request.plan, double=True))


def _claiming(request: Request) -> Request:
    return replace(_double(request), ones=True, directions=DIRECTIONS)


def _moved(request: Request, number: int, step: float) -> Request:
    """The forward with every leaf moved along a direction."""
    double = _double(request)
    return replace(double, ones=True, plan=replace(double.plan, direction=number, step=step))


def _held(before: Request, number: int, step: float, cuts: tuple[Place, ...]) -> Request:
    moved = _moved(before, number, step)
    return replace(moved, cuts=cuts, plan=replace(moved.plan, held=True))


def _slope(at: Callable[[int, float], float], number: int, size: float) -> float | None:
    """Slope of the objective, which is as large as `size`, along direction `number`; None at a kink."""
    up, down, half_up, half_down = (at(number, step) for step in STEPS)
    wide, narrow = (up - down) / (2 * STEP), (half_up - half_down) / STEP
    if not abs(wide - narrow) <= SMOOTH * max(abs(wide), abs(narrow)) + 1e-8 * max(1.0, size):
        return None
    return (4 * narrow - wide) / 3


def _objective(run: Run, undone: frozenset[str]) -> float:
    """The loss of the original's forward; `undone` are stops that don't count."""
    if not run.events or run.events[0].objective is None:
        why = f" ({run.ended.error})" if run.ended is not None and run.ended.error is not None else ""
        raise NoOracleError(f"no oracle: the original's forward doesn't run in float64 without gradients{why}")
    event = run.events[0]
    if event.kind == "grad":
        raise NoOracleError("no oracle: an inner autograd.grad ran")
    stops = [stop for stop in event.stops if stop != NUMBERS and stop not in undone]
    if stops:
        raise StoppedError(f"no oracle: {', '.join(stops)} ran, which central differences see through")
    return float(event.objective)  # type: ignore[arg-type]  # None was excluded above
