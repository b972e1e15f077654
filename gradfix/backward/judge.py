"""The verdict on one rewrite: pairs of runs of the original and the rewritten text, compared.

The first pair is plain; the others change the seed and scale the inputs, so that both sides of a data-dependent
branch are taken. Whatever the runs print or claim, the comparison is made here, from the numbers they reported.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

from gradfix.backward import oracle
from gradfix.backward.compare import Agreement, DiffersError, distance, same_passes, same_print, same_roots
from gradfix.backward.endings import UncheckedError, no_new_end, no_other_error, obstacle_of, same_count
from gradfix.backward.limits import Limits
from gradfix.backward.oracle import Failure, Make, NoOracleError, failure_of
from gradfix.backward.protocol import Request, Run
from gradfix.backward.symptoms import Cure
from gradfix.findings import Judgement, Verdict

PAIRS = ((0, 1.0), (0, -1.0), (1, -1.0), (1, 1.0), (2, 0.1), (2, 10.0), (3, 1.0), (3, -1.0))  # (seed, scale)
NOISE = 1e-3  # relative difference of the original from itself beyond which nothing can be concluded


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged."""

    path: str  # absolute
    cwd: str
    before: str  # texts of the file
    after: str
    call: str | None
    seed: int
    changed_before: frozenset[int]  # 1-based lines
    changed_after: frozenset[int]
    predicted: bool  # the analysis says that every run raises
    silent: bool  # the hazard raises nothing: the original's own gradient is in doubt


@dataclass(slots=True)
class Evidence:
    """What the runs have shown so far."""

    agreement: Agreement = field(default_factory=Agreement)
    pairs: int = 0
    failed: Failure | None = None  # the first error of the original
    cured: int = 0  # pairs in which the original raised and the rewritten text was right
    cures: list[str] = field(default_factory=list)  # symptoms that were cured
    uncured: list[str] = field(default_factory=list)  # symptoms that both showed, with varied inputs only
    same: int = 0  # pairs in which both ran alike
    blank: int = 0  # pairs in which the loss wasn't finite
    corrected: int = 0  # pairs in which the original's own gradient was wrong
    unjudged: list[str] = field(default_factory=list)  # pairs without an oracle: why
    oracles: list[str] = field(default_factory=list)
    executed: list[frozenset[int]] = field(default_factory=list)  # changed lines of the original, run by run
    executable: frozenset[int] = frozenset()
    exercised: bool = False
    prints: bool = True  # what is printed can be compared
    notes: list[str] = field(default_factory=list)


class CaseJudge:
    """Judges one subject. `make` carries out a run; it may raise, and that passes through."""

    def __init__(self, make: Make, subject: Subject, limits: Limits) -> None:
        self._make, self._subject, self._limits = make, subject, limits
        self._evidence = Evidence()

    def judgement(self) -> Judgement:
        """Run pair after pair until one decides or the time is up."""
        subject, evidence = self._subject, self._evidence
        started = time.monotonic()
        try:
            for number, (seed, scale) in enumerate(PAIRS):
                if number and time.monotonic() - started > self._limits.case:
                    evidence.notes.append(f"stopped after {number} of {len(PAIRS)} pairs of runs: time")
                    break
                self._pair(seed + subject.seed, scale, plain=number == 0)
        except DiffersError as difference:
            return self._judged(Verdict.REJECTED, str(difference))
        except UncheckedError as why:
            return self._judged(Verdict.UNCHECKED, str(why))
        return self._conclude()

    def _request(self, text: str, seed: int, scale: float, lines: frozenset[int]) -> Request:
        subject = self._subject
        return Request(
            path=subject.path,
            text=text,
            cwd=subject.cwd,
            seconds=self._limits.seconds,
            backwards=self._limits.backwards,
            call=subject.call,
            lines=tuple(sorted(lines)),
            seed=seed,
            plan=oracle.plan_of(scale),
        )

    def _pair(self, seed: int, scale: float, *, plain: bool) -> None:
        subject, evidence = self._subject, self._evidence
        first = self._request(subject.before, seed, scale, subject.changed_before)
        second = self._request(subject.after, seed, scale, subject.changed_after)
        before = self._make(first)
        obstacle = obstacle_of(before, call=subject.call is not None)
        if plain and obstacle is not None:
            raise UncheckedError(obstacle)
        if plain:
            self._repeat(first, before)
        after = self._make(second)
        self._count_lines(before, after)
        failure = failure_of(before)
        no_new_end(before, after, failure, plain=plain)
        if obstacle is not None:
            return
        evidence.pairs += 1
        if failure is None:
            self._both_ran(first, second, before, after)
        else:
            evidence.failed = evidence.failed or failure
            self._original_failed(first, second, before, after, failure)

    def _repeat(self, request: Request, before: Run) -> None:
        """Find out whether the original agrees with itself, and how closely."""
        evidence = self._evidence
        if before.seconds > self._limits.case / 8:
            evidence.notes.append("the original is too slow to be run twice: its determinism is unknown")
            return
        again = self._make(request)
        evidence.prints = same_print(before.output, again.output, prefix=False) is None
        if before.left:
            evidence.notes.append(f"the program left {before.left} of its processes running; they were ended")
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

    def _count_lines(self, before: Run, after: Run) -> None:
        evidence, subject = self._evidence, self._subject
        for run, changed in ((before, subject.changed_before), (after, subject.changed_after)):
            evidence.exercised |= bool(run.executed & changed)
        evidence.executed.append(before.executed)
        if before.ended is not None:
            evidence.executable |= before.ended.executable

    def _both_ran(self, first: Request, second: Request, before: Run, after: Run) -> None:
        evidence = self._evidence
        local = Agreement(slack=evidence.agreement.slack)
        try:
            same_count(before, after)
            same_passes(before.events, after.events, local)
            self._same_end(before, after, local)
        except DiffersError:
            if not self._subject.silent:
                raise
            self._same_forward(before, after)
            self._correct(first, second)
            return
        if not local.passes:
            evidence.blank += 1
        elif any(local.gained.values()):
            self._correct(first, second)
        else:
            evidence.same += 1
            _add(evidence.oracles, "the original's own autograd")
        self._merge(local)

    def _same_forward(self, before: Run, after: Run) -> None:
        """Only gradients may differ where the original's are in doubt; what follows from them isn't compared."""
        local = Agreement(slack=self._evidence.agreement.slack)
        for one, other in zip(before.events[:1], after.events, strict=False):
            same_roots(one, other, local)
        self._same_arguments(before, after, local)

    def _correct(self, first: Request, second: Request) -> None:
        """The original's own gradient is in doubt: central differences decide."""
        evidence = self._evidence
        try:
            _add(evidence.oracles, oracle.differences(self._make, first, second, None))
            evidence.corrected += 1
        except NoOracleError as why:
            _add(evidence.unjudged, str(why))

    def _original_failed(self, first: Request, second: Request, before: Run, after: Run, failure: Failure) -> None:
        evidence = self._evidence
        local = Agreement(slack=evidence.agreement.slack)
        same_passes(before.events[: failure.index + 1], after.events, local)
        if failure_of(after) is not None:
            _add(evidence.uncured, failure.symptom.short)
            return
        if len(after.events) <= failure.index < len(before.events):
            raise DiffersError(f"the backward pass at line {before.events[failure.index].line} is never reached")
        propagated = before.ended is not None and before.ended.error is not None
        if evidence.prints and propagated and failure == failure_of(replace(before, events=())):
            self._same_print(before, after, prefix=True)
        if len(after.events) <= failure.index:
            _add(evidence.unjudged, "no backward follows the error")
            return
        try:
            self._against_oracle(first, second, after, failure, local)
            if not local.passes:
                evidence.blank += 1
                return
            evidence.cured += 1
            _add(evidence.cures, failure.symptom.short)
            self._merge(local)
        except NoOracleError as why:
            no_other_error(before, after)
            _add(evidence.unjudged, str(why))

    def _against_oracle(self, first: Request, second: Request, after: Run, failure: Failure, local: Agreement) -> None:
        evidence = self._evidence
        if failure.symptom.cure in (Cure.DIFFERENCES, Cure.NONE):
            if failure.index or failure.symptom.cure == Cure.NONE:
                raise NoOracleError(
                    f"no oracle for {failure.symptom.short!r}" + (" after a first pass" * bool(failure.index))
                )
            _add(evidence.oracles, oracle.differences(self._make, first, second, failure))
            local.passes += 1
            return
        reference, name = oracle.run_cured(self._make, replace(first, lines=()), failure)
        same_passes(reference.events, after.events, local)
        no_other_error(reference, after)
        same_count(reference, after)
        self._same_arguments(reference, after, local)
        if evidence.prints and Cure.FRESH_LEAVES.value not in name:  # a `leaf * 1` shows no `.grad`
            self._same_print(reference, after, prefix=False)
        if any(local.gained.values()):
            if failure.index:
                raise NoOracleError("no oracle for the gradient of a leaf that had none")
            oracle.differences(self._make, first, second, failure)
        _add(evidence.oracles, name)

    def _same_end(self, before: Run, after: Run, local: Agreement) -> None:
        if before.ended is None or after.ended is None or before.killed or after.killed:
            return
        if before.ended.rng != after.ended.rng:
            raise DiffersError("it draws other random numbers: the generators end in another state")
        self._same_arguments(before, after, local)
        if self._evidence.prints:
            self._same_print(before, after, prefix=False)

    def _same_arguments(self, before: Run, after: Run, local: Agreement) -> None:
        if before.ended is None or after.ended is None or before.ended.error is not None:
            return
        if len(before.ended.results) != len(after.ended.results) or before.ended.scalars != after.ended.scalars:
            raise DiffersError(f"the call returns {before.ended.scalars} before, {after.ended.scalars} after")
        for number, (one, other) in enumerate(zip(before.ended.results, after.ended.results, strict=True), 1):
            distance(one, other, f"tensor {number} of the result", local, improve=False)
        for number, (one, other) in enumerate(zip(before.ended.arguments, after.ended.arguments, strict=False), 1):
            distance(one, other, f"argument {number} after the call", local, improve=False)

    def _same_print(self, before: Run, after: Run, *, prefix: bool) -> None:
        difference = same_print(before.output, after.output, prefix=prefix)
        if difference is not None:
            raise DiffersError(difference)

    def _merge(self, local: Agreement) -> None:
        total = self._evidence.agreement
        total.bitwise &= local.bitwise
        total.forward = max(total.forward, local.forward)
        total.largest = max(total.largest, local.largest)
        total.relative = max(total.relative, local.relative)
        total.summed |= local.summed
        for leaf, nonzero in local.gained.items():
            total.gained[leaf] = total.gained.get(leaf, False) or nonzero

    def _conclude(self) -> Judgement:
        evidence, subject = self._evidence, self._subject
        changed = subject.changed_before | subject.changed_after
        if changed and not evidence.exercised:
            return self._judged(Verdict.NOT_EXERCISED, "no run reached the changed lines")
        for symptom in evidence.uncured:
            if symptom in evidence.cures:
                return self._judged(Verdict.REJECTED, f'with other inputs it still raises "{symptom}"')
        if evidence.cured or evidence.corrected:
            return self._judged(Verdict.FIXED, self._fixed_reason())
        if evidence.unjudged:
            return self._judged(Verdict.UNCHECKED, "; ".join(evidence.unjudged))
        if evidence.blank == evidence.pairs:
            return self._judged(Verdict.UNCHECKED, "the loss is never finite")
        if subject.predicted:
            return self._judged(Verdict.NOT_REPRODUCED, f"the original ran without an error {self._times()}")
        return self._judged(Verdict.EQUIVALENT, f"worked before, same after: {self._likeness()}")

    def _fixed_reason(self) -> str:
        evidence = self._evidence
        if not evidence.cured:
            return "wrong gradient without an error before; after, it agrees with central differences " + self._times()
        return f'raised "{evidence.cures[0]}" before; after, {self._likeness()}'

    def _likeness(self) -> str:
        agreement = self._evidence.agreement
        loss = (
            "the sum as loss"
            if agreement.summed
            else "same loss"
            if agreement.forward == 0.0
            else f"loss equal {_digits(agreement.forward)}"
        )
        return f"{loss}, gradients equal {_digits(agreement.relative)}{self._branches()} {self._times()}"

    def _times(self) -> str:
        return f"({self._evidence.pairs - self._evidence.blank} pairs of runs)"

    def _branches(self) -> str:
        """Whether changed lines of the original ran in some runs and not in others."""
        runs = [lines for lines in self._evidence.executed if lines] or [frozenset()]
        every, never = frozenset.intersection(*runs), frozenset.union(*runs)
        return ", branch taken and not taken" if every != never else ""

    def _judged(self, verdict: Verdict, reason: str) -> Judgement:
        evidence, subject = self._evidence, self._subject
        notes = [*evidence.notes, *self._late_notes(verdict)]
        compared = verdict in (Verdict.FIXED, Verdict.EQUIVALENT)
        return Judgement(
            verdict=verdict,
            reason=reason,
            ran="program" if subject.call is None else subject.call,
            error_before=None if evidence.failed is None else str(evidence.failed.error),
            oracle=", ".join(evidence.oracles) or None,
            runs=evidence.pairs - evidence.blank,
            max_difference=evidence.agreement.largest if compared else None,
            notes=tuple(notes),
        )

    def _late_notes(self, verdict: Verdict) -> list[str]:
        evidence = self._evidence
        notes = []
        if verdict in (Verdict.FIXED, Verdict.EQUIVALENT):
            for leaf, nonzero in evidence.agreement.gained.items():
                notes.append(f"the gradient of {leaf} was None and is {'nonzero' if nonzero else 'zero'} now")
            notes += [f'with other inputs both raise "{symptom}"' for symptom in evidence.uncured]
            notes += [f"not judged in some runs: {why}" for why in evidence.unjudged]
            missed = evidence.executable.difference(*evidence.executed) if evidence.executed else frozenset()
            if missed:
                notes.append("never ran: line " + ", ".join(map(str, sorted(missed))))
        return notes


def _digits(relative: float) -> str:
    return "bit for bit" if relative == 0.0 else f"to {max(1, math.floor(-math.log10(relative)))} digits"


def _add(items: list[str], item: str) -> None:
    if item not in items:
        items.append(item)
