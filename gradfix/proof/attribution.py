"""Which fix a verdict belongs to. Pure: how fixes are made and judged comes in as two functions.

Autograd reports one conflict at a time, so a program with two hazards still fails when one is cured. Fixes are
therefore judged together first; the guilty ones are found by what happens when they are left out, and what remains is
judged fix by fix against the text that has all the others. Of several cuts of one graph that proves nothing: half of
them undone leaves a loss that misses part of its gradient. So they are judged together, too. And undoing a cut changes
gradients on purpose, the cure of another hazard must not: cuts are judged against the text with the other cures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gradfix.findings import Declined, Exclusion, HazardKind, Identity, Judgement, Verdict
from gradfix.results import FixResult, Result

EACH = 8  # up to so many fixes of a file each gets a verdict of its own

ATTEMPTS = 3  # so many fixes of one finding are tried

Fixer = Callable[[frozenset[Exclusion]], FixResult]  # all fixes but these
Judge = Callable[[FixResult, FixResult], Judgement]  # the text before against the text after
Share = Callable[[Result, FixResult, FixResult], Judgement]  # what that says about one of the fixes between them

# What several runs say together: a difference in one counts, then what was proven in any.
_WEIGHT = (
    Verdict.REJECTED,
    Verdict.FIXED,
    Verdict.EQUIVALENT,
    Verdict.NOT_REPRODUCED,
    Verdict.NOT_EXERCISED,
    Verdict.UNCHECKED,
)
_PROVEN = (Verdict.FIXED, Verdict.EQUIVALENT)
NOTHING = FixResult((), (), (), 1)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settled:
    """The fixes that stay, each with its verdict, and those that were left out because the check rejected them."""

    result: FixResult
    rejected: tuple[Result, ...]


def combined(judgements: Sequence[Judgement]) -> Judgement:
    """The one of several judgements of the same fixes that counts most. Raises `ValueError` for none.

    Nothing is proven of a rewrite of which a line never ran, in none of the runs behind a good verdict.
    """
    best = min(judgements, key=lambda judgement: _WEIGHT.index(judgement.verdict))
    good = [judgement.shown for judgement in judgements if judgement.verdict in _PROVEN]
    if best.verdict not in _PROVEN or None in good:
        return best
    missed = frozenset.intersection(*(shown.missed for shown in good if shown is not None))
    if not missed:
        return best
    reason = f"{_lines(missed)} of the rewritten text never ran; where it ran: {best.reason}"
    return replace(best, verdict=Verdict.NOT_EXERCISED, reason=reason, cost=None)


def _lines(numbers: frozenset[int]) -> str:
    return ("line " if len(numbers) == 1 else "lines ") + ", ".join(map(str, sorted(numbers)))


def settle(fixer: Fixer, judge: Judge, share: Share, *, proven: bool = False) -> Settled:
    """Fix, judge, leave out what is rejected, until nothing is: at most one more round than there are fixes.

    A finding whose fix is rejected gets its next best one. With `proven`, whatever isn't `fixed` or `equivalent` is
    left out too.
    """
    excluded: frozenset[Exclusion] = frozenset()
    rejected: tuple[Result, ...] = ()
    while True:
        result = fixer(excluded)
        if not result.applied:
            return Settled(result, rejected)
        whole = _whole(fixer, judge, result, excluded)
        if whole.verdict is Verdict.REJECTED:
            guilty = _guilty(fixer, judge, result, excluded)
        else:
            nothing_ran = whole.verdict is Verdict.UNCHECKED and not whole.runs
            many = len(result.applied) > EACH or nothing_ran
            if many:
                told = _in_parts(fixer, judge, share, result, excluded, whole)
            else:
                told = _each(fixer, judge, result, excluded, result.applied, whole)
            result = replace(result, applied=told)
            guilty = [r for r in result.applied if r.judgement and not _stays(r.judgement.verdict, proven)]
            if not guilty:
                return Settled(result, rejected)
        rejected += tuple(guilty)
        excluded |= {_exclusion(r, rejected) for r in guilty}


def smallest(items: Sequence[T], enough: Callable[[Sequence[T]], bool]) -> list[T]:
    """A part of `items` that is `enough` and of which none can be spared; `items` themselves must be enough.

    Zeller's ddmin: one guilty item among n is found with about 2 log n trials.
    """
    kept, pieces = list(items), 2
    while len(kept) > 1:
        size = -(-len(kept) // pieces)
        chunks = [kept[i : i + size] for i in range(0, len(kept), size)]
        rests = [[x for chunk in chunks if chunk is not left for x in chunk] for left in chunks] if pieces > 2 else []
        found = next((part for part in [*chunks, *rests] if enough(part)), None)
        if found is not None:
            pieces = 2 if len(found) <= size else max(pieces - 1, 2)
            kept = found
        elif pieces >= len(kept):
            break
        else:
            pieces = min(2 * pieces, len(kept))
    return kept


def _exclusion(guilty: Result, rejected: Sequence[Result]) -> Exclusion:
    """The fix of `guilty` where another one may be right, else the finding."""
    identity = guilty.finding.identity
    attempts = sum(r.finding.identity == identity for r in rejected)
    is_wrong = guilty.judgement is not None and guilty.judgement.verdict is Verdict.REJECTED
    if guilty.fix is None or not guilty.alternatives or not is_wrong or attempts >= ATTEMPTS:
        return identity
    return Declined(identity, guilty.fix.title)


def _stays(verdict: Verdict, proven: bool) -> bool:
    return verdict in _PROVEN if proven else verdict is not Verdict.REJECTED


def _whole(fixer: Fixer, judge: Judge, result: FixResult, excluded: frozenset[Exclusion]) -> Judgement:
    """What is said of all fixes of `result` together, where that speaks against them of cuts behind the others."""
    whole, cuts = judge(NOTHING, result), [r for r in result.applied if _is_cut(r)]
    if whole.verdict is not Verdict.REJECTED or len(cuts) in (0, len(result.applied)):
        return whole
    others = fixer(excluded | {r.finding.identity for r in cuts})
    steps = judge(NOTHING, others), judge(others, result)
    return next((step for step in steps if step.verdict is Verdict.REJECTED), steps[0])


def _is_cut(result: Result) -> bool:
    return result.finding.hazard is not None and result.finding.hazard.kind is HazardKind.DISCONNECTED


def _guilty(fixer: Fixer, judge: Judge, result: FixResult, excluded: frozenset[Exclusion]) -> list[Result]:
    """The fewest fixes without which the rest isn't rejected, each with the judgement of the rest and itself."""

    def judged_without(identities: Iterable[Identity]) -> Judgement | None:
        left_out = excluded | frozenset(identities)
        trial = fixer(left_out)
        return _whole(fixer, judge, trial, left_out) if trial.applied else None

    def accepted(identities: Sequence[Identity]) -> bool:
        judgement = judged_without(identities)
        return judgement is None or judgement.verdict is not Verdict.REJECTED

    names = smallest([r.finding.identity for r in result.applied], accepted)
    told = {name: judged_without(other for other in names if other != name) for name in names}
    return [replace(r, judgement=told[r.finding.identity]) for r in result.applied if r.finding.identity in told]


def _in_parts(
    fixer: Fixer, judge: Judge, share: Share, result: FixResult, excluded: frozenset[Exclusion], whole: Judgement
) -> tuple[Result, ...]:
    """The fixes of `result` with what a judgement of many says about each.

    Where runs said nothing about many, halves are judged against a text that has all others: one without an oracle
    keeps only its own part from its verdict.
    """
    told: list[Result] = []
    todo: list[tuple[tuple[Result, ...], FixResult, Judgement]] = [(result.applied, NOTHING, whole)]
    while todo:
        group, before, judgement = todo.pop()
        open_ = judgement.verdict is Verdict.REJECTED or (judgement.verdict is Verdict.UNCHECKED and judgement.runs)
        if open_ and len(group) <= EACH:
            told += _each(fixer, judge, result, excluded, group, judgement)
        elif open_:
            middle = len(group) // 2
            for half in (group[:middle], group[middle:]):
                without = fixer(excluded | {r.finding.identity for r in half})
                todo.append((half, without, judge(without, result)))
        else:
            told += _shared(share, group, before, result)
    order = {r.finding.identity: number for number, r in enumerate(result.applied)}
    return tuple(sorted(told, key=lambda r: order[r.finding.identity]))


def _shared(share: Share, group: Sequence[Result], before: FixResult, result: FixResult) -> Iterator[Result]:
    """The group with what its judgement says about each."""
    others = len(group) - 1
    note = (f"judged together with {others} other {'fix' if others == 1 else 'fixes'} of this file",)
    for one in group:
        own = share(one, before, result)
        yield replace(one, judgement=replace(own, notes=(*own.notes, *note * bool(others and own.runs))))


def _each(
    fixer: Fixer,
    judge: Judge,
    result: FixResult,
    excluded: frozenset[Exclusion],
    group: Sequence[Result],
    together: Judgement,
) -> tuple[Result, ...]:
    """A judgement for every fix of a group: its own against all others of `result`."""
    if len(group) == 1:
        return (replace(group[0], judgement=together),)
    judged = [replace(r, judgement=judge(fixer(excluded | {r.finding.identity}), result)) for r in group]
    cuts = [r for r in judged if _is_cut(r)]
    if len(cuts) > 1 and any(r.judgement and r.judgement.verdict is Verdict.REJECTED for r in cuts):
        one = judge(fixer(excluded | {r.finding.identity for r in cuts}), result)
        judged = [replace(r, judgement=one) if r in cuts else r for r in judged]
    return tuple(judged)
