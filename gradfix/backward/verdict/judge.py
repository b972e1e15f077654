"""The verdict on one rewrite: pairs of runs of the original and the rewritten text, compared.

The first pair is plain; the others change the seed and scale inputs and weights, so that both sides of a data-dependent
branch are taken. Whatever the runs print or claim, the comparison is made here, from the numbers they reported.
"""

from __future__ import annotations

import time
from dataclasses import replace

from gradfix.backward.limits import Limits
from gradfix.backward.protocol import Conflict, Run
from gradfix.backward.verdict import oracle
from gradfix.backward.verdict.compare import Agreement, DiffersError, OutsideError, RoundingError, same_passes
from gradfix.backward.verdict.conflicts import Lines, Told, came_to_its_end, none_of_its_own, told
from gradfix.backward.verdict.constants import as_returned, without_graphs
from gradfix.backward.verdict.costs import cost
from gradfix.backward.verdict.differing import Differing
from gradfix.backward.verdict.doubled import confirm_in_double
from gradfix.backward.verdict.doubts import Doubts, same_as_reference
from gradfix.backward.verdict.endings import (
    NO_BACKWARD,
    UncheckedError,
    no_error_of_its_own,
    no_new_end,
    no_other_error,
    obstacle_of,
    same_count,
    same_end,
    same_output,
    shows,
    still_raises,
)
from gradfix.backward.verdict.evidence import Evidence, Subject, add_once, conclude, judged, misses_gradient
from gradfix.backward.verdict.failures import Failure, apart, are_lost
from gradfix.backward.verdict.oracle import Make, NoOracleError
from gradfix.backward.verdict.pairs import LONGER, PAIRS, Requests
from gradfix.backward.verdict.repeats import repeat, varies_later
from gradfix.backward.verdict.symptoms import Cure
from gradfix.backward.verdict.together import Together
from gradfix.backward.verdict.valued import same_values
from gradfix.backward.worker.requests import Plan, Request
from gradfix.findings import Cost, HazardKind, Judgement, Shown, Verdict

PROVEN = frozenset({Verdict.FIXED, Verdict.EQUIVALENT})


class CaseJudge:
    """Judges one subject. `make` carries out a run; it may raise, and that passes through."""

    def __init__(self, make: Make, subject: Subject, limits: Limits, *, apart: bool = False) -> None:
        """`apart`: each pair is run in processes of its own."""
        self._make, self._subject, self._limits, self._apart = make, subject, limits, apart
        connects = HazardKind.DISCONNECTED in subject.kinds
        self._evidence = Evidence(Agreement(connects=connects))
        self._lines = Lines.of(subject)
        self._requests = Requests.of(subject, limits)
        self._pairs = Together(make, 0.0)
        self._in_time = True  # no pair was left out
        self._goes_on = False  # there are passes beyond those that were looked at
        self._longer = False  # runs have more passes, so that they get to all that is changed
        self._asked = False  # whether what differs does so from one second to the next
        self._told: dict[tuple[object, ...], Told] = {}  # by how both failed

    def judgement(self) -> Judgement:
        """Run pair after pair until one decides or the time is up."""
        judgement = self._judgement()
        if judgement.verdict in PROVEN or not self._pairs.alone():
            return judgement
        apart = CaseJudge(self._make, self._subject, self._limits, apart=True)
        again = apart.judgement()
        # A proof that time cut short may lack the very pair that spoke against the rewrite.
        return judgement if again.verdict in PROVEN and not apart._in_time else again

    def _judgement(self) -> Judgement:
        subject, evidence = self._subject, self._evidence
        started = time.monotonic()
        try:
            for number, (seed, plan) in enumerate(PAIRS):
                if number and time.monotonic() - started > self._limits.case:
                    self._in_time = False
                    evidence.notes.append(f"stopped after {number} of {len(PAIRS)} pairs of runs: time")
                    break
                self._pair(seed, plan, plain=number == 0)
                if number == 0 and not self._apart:
                    self._run_ahead()
                elif number == 1:
                    self._pairs.settle()
            if self._in_time:
                for seed, plan in self._special():
                    self._pair(seed, plan, plain=False)
                if self._goes_on:
                    self._requests = self._requests.longer()
                    self._pair(*PAIRS[0], plain=False)
            self._confirm()
        except DiffersError as difference:
            return judged(evidence, subject, Verdict.REJECTED, str(difference))
        except UncheckedError as why:
            return judged(evidence, subject, Verdict.UNCHECKED, str(why))
        judgement = conclude(evidence, subject)
        if judgement.verdict not in PROVEN:
            return judgement
        return replace(judgement, cost=self._cost(), shown=self._shown())

    def _run_ahead(self) -> None:
        """Run all pairs but the first, a process for each text.

        The second comes last: what the others leave behind shows when it is compared with a process of its own.
        """
        failed = self._evidence.failed
        (_, second, *others) = (self._requests.pair(seed, plan) for seed, plan in (*PAIRS, *self._special()))
        before, after = ([pair[number] for pair in (*others, second)] for number in (0, 1))
        cured = [] if failed is None else [oracle.cured(request, [failed.symptom.cure]) for request in before]
        self._pairs.ahead(before, after, *([cured] if cured else []))

    def _special(self) -> list[tuple[int, Plan]]:
        """The pairs that come last."""
        failed = self._evidence.failed
        return self._requests.special(None if failed is None else failed.symptom.cure)

    def _confirm(self) -> None:
        confirm_in_double(self._make, self._requests.plain(), self._subject.after, self._evidence, self._failures)

    def _cost(self) -> Cost | None:
        first = self._requests.plain()
        return cost(self._make, first, replace(first, text=self._subject.after), self._evidence.failed)

    def _shown(self) -> Shown:
        """What ran where it counts and, for fixes that share the verdict, what broke backward in the original."""
        requests = self._evidence.failing.values() if self._subject.shared else ()
        runs = [self._make(replace(request, lines=(), trace=True)) for request in requests]
        conflicts = (conflict for run in runs if run.ended is not None for conflict in run.ended.conflicts)
        return self._evidence.shown(tuple(dict.fromkeys(map(self._place, conflicts))))

    def _place(self, conflict: Conflict) -> tuple[str, range]:
        at = conflict.within(self._subject.path)
        return conflict.kind, range(0) if at is None else range(at.line, at.end_line + 1)

    def _pair(self, seed: int, plan: Plan, *, plain: bool) -> None:
        first, second = self._requests.pair(seed, plan)
        before = self._pairs(first)
        call = self._subject.way.call is not None
        valued = call and HazardKind.DISCONNECTED not in self._subject.kinds
        obstacle = obstacle_of(before, call=call, valued=valued)
        if plain:
            if obstacle is not None:
                raise UncheckedError(obstacle)
            self._begin(first, before)
        after = self._pairs(second)
        if plan.wide and (obstacle is not None or oracle.both_raise(self._make, first, before, after)):
            return  # what doesn't run with such arguments may fail in another way
        if plain and not self._longer and after.ended is not None and after.ended.stopped:
            if self._can_take_longer(after, len(PAIRS)) and after.ended.executable - after.executed:
                self._longer, self._requests = True, self._requests.longer()
                self._pair(seed, plan, plain=plain)
                return
            self._goes_on = self._can_take_longer(after, 1)
        self._count_lines(before, after)
        shown = shows(before, valued=valued)
        if HazardKind.DISCONNECTED not in self._subject.kinds:
            before, after = as_returned(before, after)
        failure, again = self._failures(before, after)
        no_new_end(before, after, failure, again, silent=self._subject.silent)
        if plain and not shown and failure is None:
            raise UncheckedError(NO_BACKWARD)
        if obstacle is None and (shown or failure is not None):
            self._evidence.pairs += 1
            self._evidence.failed = self._evidence.failed or failure
            self._compare_noting(first, second, before, after, failure, plain=plain)

    def _begin(self, first: Request, before: Run) -> None:
        """Set up what goes by the first run of the original."""
        self._pairs = Together(self._make, before.seconds)
        self._differing = Differing(self._make, self._subject, before)
        self._doubts = Doubts(self._make, self._subject, self._evidence, self._differing)
        repeat(self._make, first, before, self._evidence, longest=self._limits.case / 8)

    def _compare_noting(
        self, first: Request, second: Request, before: Run, after: Run, failure: Failure | None, *, plain: bool
    ) -> None:
        """Compare two runs, again where the clock or rounding may be all there is, and note what ran."""
        evidence = self._evidence
        compared, proven = evidence.compared, evidence.proven
        try:
            try:
                self._compare(first, second, before, after, plain=plain)
            except OutsideError:
                if not self._varies_later(first, failure):
                    raise
                self._compare(first, second, before, after, plain=plain)
        except RoundingError as difference:
            self._compare_in_double(first, second, failure, difference, plain=plain)
        if evidence.compared > compared:
            evidence.count(before, after)
        if evidence.proven > proven:
            evidence.failing.setdefault(before.executed, first)

    def _can_take_longer(self, after: Run, pairs: int) -> bool:
        """Whether there is time for so many pairs of runs with more passes."""
        return LONGER * pairs * 2 * after.seconds < self._limits.seconds

    def _varies_later(self, first: Request, failure: Failure | None) -> bool:
        """Whether something that differs may do so because of the clock; found out once."""
        asked, self._asked = self._asked, True
        return not asked and varies_later(self._make, oracle.past(first, failure), self._evidence)

    def _compare(self, first: Request, second: Request, before: Run, after: Run, *, plain: bool) -> None:
        failure, again = self._failures(before, after)
        if failure is None:
            self._both_ran(first, second, before, after)
        elif again is None:
            self._original_failed(first, second, before, after, failure)
        else:
            self._both_failed(first, second, before, after, failure, again, plain=plain)

    def _failures(self, before: Run, after: Run) -> tuple[Failure | None, Failure | None]:
        """How each text failed, but for what both meet."""
        origins = {} if self._lines is None else self._lines.origins
        return apart(before, after, origins, self._subject.kinds, entry=self._subject.way.entry is not None)

    def _compare_in_double(
        self, first: Request, second: Request, failure: Failure | None, difference: RoundingError, *, plain: bool
    ) -> None:
        """Where rounding may be all there is of a gradient, more digits tell. Raises `difference` where none do."""
        first, second = (replace(r, plan=replace(r.plan, double=True), lines=()) for r in (first, second))
        before, after = self._make(first), self._make(second)
        again, left = self._failures(before, after)
        if (again and (again.symptom, again.index)) != (failure and (failure.symptom, failure.index)):
            raise difference
        no_new_end(before, after, again, left, silent=self._subject.silent)
        self._evidence.agreement.cancels = True
        self._compare(first, second, before, after, plain=plain)
        self._evidence.agreement.cancels = False
        add_once(self._evidence.notes, "a gradient that is little more than rounding was compared in float64")

    def _count_lines(self, before: Run, after: Run) -> None:
        evidence, subject = self._evidence, self._subject
        for run, changed in ((before, subject.changed_before), (after, subject.changed_after)):
            evidence.exercised |= bool(run.executed & changed)
        evidence.executed.append(before.executed)
        evidence.executed_after.append(after.executed)
        if after.ended is not None:
            evidence.executable |= after.ended.executable

    def _both_ran(self, first: Request, second: Request, before: Run, after: Run) -> None:
        evidence = self._evidence
        local = evidence.agreement.fresh()
        error, again = (None if run.ended is None else run.ended.error for run in (before, after))
        if error is not None and again is not None and not evidence.ends:
            evidence.ends.append(error)
        if error is not None and again is None and misses_gradient(error, self._subject):
            same_passes(before.events[:1], after.events[:1], local)
            add_once(evidence.unjudged, f"no oracle: the original ends with {error} (line {error.line})")
            return
        try:
            same_count(before, after)
            same_passes(before.events, after.events, local)
            same_end(before, after, local, prints=evidence.prints)
        except DiffersError as difference:
            self._doubts.settle(first, second, before, after, difference)
            return
        if not local.passes and before.events:
            evidence.blank += 1
        elif any(local.gained.values()):
            self._doubts.connected(first, second, before, after)
        elif not before.events:
            if not evidence.constant:
                without_graphs(self._make, first, second)
            evidence.same, evidence.constant = evidence.same + 1, True
        else:
            evidence.same += 1
            add_once(evidence.oracles, "the original's own autograd")
        self._evidence.agreement.merge(local)

    def _differences(
        self,
        first: Request,
        second: Request,
        failure: Failure,
        before: Run,
        after: Run,
        local: Agreement | None = None,
    ) -> str:
        return self._differing(first, second, failure, before, after, local=local, prints=self._evidence.prints)

    def _original_failed(self, first: Request, second: Request, before: Run, after: Run, failure: Failure) -> None:
        evidence = self._evidence
        local = evidence.agreement.fresh()
        doubtful = self._earlier_in_doubt(before, after, failure, local)
        if failure.passing and len(after.events) <= failure.index:
            raise DiffersError(f"the backward pass at line {before.events[failure.index].line} is never reached")
        if evidence.prints and not doubtful and failure.ends(before):
            same_output(before, after, prefix=True)
        no_error_of_its_own(before, after, self._subject.changed_after)
        try:
            if len(after.events) <= failure.index:
                add_once(
                    evidence.oracles, same_values(self._make, first, second, failure, local, prints=evidence.prints)
                )
                evidence.valued = True
            elif doubtful:
                self._doubts.before_failure(first, second, before, after, failure, local)
            else:
                self._against_oracle(first, second, before, after, failure, local)
            if not local.passes:
                evidence.blank += 1
                return
            evidence.cured += 1
            add_once(evidence.cures, failure.symptom.short)
            self._evidence.agreement.merge(local)
        except NoOracleError as why:
            no_other_error(before, after)
            add_once(evidence.unjudged, str(why))

    def _earlier_in_doubt(self, before: Run, after: Run, failure: Failure, local: Agreement) -> bool:
        """Whether gradients of passes before the one that fails differ, and need not be right in the original."""
        try:
            same_passes(before.events[: failure.passes], after.events, local)
        except DiffersError:
            if not (self._subject.silent and failure.index):
                raise
            return True
        return False

    def _against_oracle(
        self, first: Request, second: Request, before: Run, after: Run, failure: Failure, local: Agreement
    ) -> None:
        evidence = self._evidence
        if failure.symptom.cure in (Cure.DIFFERENCES, Cure.NONE):
            if failure.symptom.cure == Cure.NONE:
                raise NoOracleError(f"no oracle for {failure.symptom.short!r}")
            add_once(evidence.oracles, self._differences(first, second, failure, before, after, local))
            local.passes += 1
            return
        if failure.symptom.cure is Cure.LEAF:
            past = oracle.Cured(oracle.run_with_leaves(self._make, first, after), (Cure.LEAF,))
        else:
            past = oracle.run_cured(self._pairs, first, failure)
            if are_lost(failure.besides, past.run):  # what the program meets in any case is cured, too
                second = oracle.cured(second, past.cures)
                after = self._make(second)
        same_as_reference(self._make, past.run, past.name, after, second, local, prints=evidence.prints)
        if any(local.gained.values()):
            if failure.index:
                raise NoOracleError("no oracle for the gradient of a leaf that had none")
            self._differences(first, second, failure, before, after)
        add_once(evidence.oracles, past.name)

    def _both_failed(
        self,
        first: Request,
        second: Request,
        before: Run,
        after: Run,
        failure: Failure,
        again: Failure,
        *,
        plain: bool,
    ) -> None:
        """Both raise: conflicts tell whether the rewrite's own is among them, and cures what both compute."""
        evidence, local = self._evidence, self._evidence.agreement.fresh()
        if not again.passing and again.error.line in self._subject.changed_after and again.symptom != failure.symptom:
            raise DiffersError(still_raises(again).removeprefix("still "))
        same_passes(before.events[: failure.passes], after.events[: again.passes], local)
        known = self._compared_conflicts(first, second, failure, again)
        if plain:
            evidence.remaining = tuple(other.told(self._subject.path) for other in known.others)
        elif not known.cured:
            add_once(evidence.uncured, again.symptom.short)
            return
        try:
            past = oracle.run_cured(self._pairs, first, failure)
            reference, result = past.run, oracle.run_cured(self._make, second, again).run
            hooked = replace(second, hooks=True)
            same_as_reference(self._make, reference, past.name, result, hooked, local, prints=evidence.prints)
        except NoOracleError as why:
            add_once(evidence.unjudged, str(why))
            return
        self._count_lines(reference, result)
        evidence.count(reference, result)
        add_once(evidence.oracles, past.name)
        self._evidence.agreement.merge(local)
        if not local.passes:
            evidence.blank += 1
        elif known.cured:
            evidence.cured += 1
        else:
            evidence.aloof += 1

    def _compared_conflicts(self, first: Request, second: Request, failure: Failure, again: Failure) -> Told:
        """What the conflicts of both say. Raises `DiffersError` for those of its own that are left, and new ones."""
        subject = self._subject
        key = (failure.symptom, failure.index, again.symptom, again.index)
        if key not in self._told:
            before, after = (self._make(replace(request, lines=(), trace=True)) for request in (first, second))
            known = told(self._lines, subject.path, before, after, subject.kinds)
            self._told[key] = none_of_its_own(known, subject, again, whole=came_to_its_end(before))
        return self._told[key]
