"""What the runs of a check have shown, and the verdict and the words that follow from it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

from gradfix.backward.protocol import Raised, Run
from gradfix.backward.verdict.branches import new_ways, one_sided
from gradfix.backward.verdict.compare import Agreement
from gradfix.backward.verdict.failures import Failure
from gradfix.backward.verdict.symptoms import Cure
from gradfix.backward.worker.requests import Place, Request
from gradfix.findings import HazardKind, Judgement, Shown, Verdict

_AGAINST = {Cure.HOOKS: "a run without checkpoints", Cure.COPIES: "a run in which hooks get copies"}


@dataclass(frozen=True, slots=True)
class Way:
    """How the file is brought to run: as a program, by a call of what it defines, or by the user's own command."""

    entry: str | None = None  # another file that is run as the program
    call: str | None = None
    recorded: str | None = None  # the file with the arguments of a recorded call
    synthesised: bool = False  # nobody declared the call
    seed: int = 0
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged."""

    path: str  # absolute
    cwd: str
    before: str  # texts of the file
    after: str
    way: Way
    changed_before: frozenset[int]  # 1-based lines
    changed_after: frozenset[int]
    predicted: bool  # the analysis says that every run raises
    kinds: frozenset[HazardKind]  # of the hazards that the rewrite is meant to cure
    writes: frozenset[int]  # lines of the original with the writes that are to be cured
    cuts: tuple[Place, ...]  # expressions of the original that cut a graph and are to be undone
    shared: bool  # by several fixes, and which of them cures what is asked

    @property
    def ran(self) -> str:
        """What is run, in the words of the report."""
        way = self.way
        if way.command is not None:
            return way.command
        if way.call is not None:
            return f"`{way.call}`, synthesised" if way.synthesised else way.call
        return "program" if way.entry is None else f"program {os.path.relpath(way.entry, self.cwd)}"

    @property
    def silent(self) -> bool:
        """A hazard raises nothing, so the original's own gradient is in doubt."""
        return bool({HazardKind.SILENT_WRITE, HazardKind.DISCONNECTED, HazardKind.NON_LEAF_GRAD} & set(self.kinds))

    @property
    def holds(self) -> bool:
        """All cuts that are to be undone are known: the others may be held constant."""
        return bool(self.cuts) or HazardKind.DISCONNECTED not in self.kinds


def add_once(items: list[str], item: str) -> None:
    """Add what isn't there yet."""
    if item not in items:
        items.append(item)


@dataclass(slots=True)
class Evidence:
    """What the runs have shown so far."""

    agreement: Agreement = field(default_factory=Agreement)
    pairs: int = 0
    failed: Failure | None = None  # the first error of the original
    remaining: tuple[str, ...] = ()  # conflicts of other writes that both texts still raise
    aloof: int = 0  # pairs in which both raised alike, and nothing of the rewrite's own showed
    cured: int = 0  # pairs in which the original raised and the rewritten text was right
    cures: list[str] = field(default_factory=list)  # symptoms that were cured
    uncured: list[str] = field(default_factory=list)  # symptoms that both showed, with varied inputs only
    same: int = 0  # pairs in which both ran alike
    constant: bool = False  # nothing that a call gave had a graph: what it gave was compared
    valued: bool = False  # no backward followed what was cured: the values of the module were compared
    blank: int = 0  # pairs in which the loss wasn't finite
    corrected: int = 0  # pairs in which the original's own gradient was wrong
    moved: int = 0  # pairs in which what the original computed became a leaf, with the right gradient
    unjudged: list[str] = field(default_factory=list)  # pairs without an oracle: why
    oracles: list[str] = field(default_factory=list)
    executed: list[frozenset[int]] = field(default_factory=list)  # changed lines of the original, run by run
    executed_after: list[frozenset[int]] = field(default_factory=list)  # the same of the rewritten text
    executable: frozenset[int] = frozenset()  # changed lines of the rewritten text that hold code
    counted: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())  # what ran in pairs that were compared
    failing: dict[frozenset[int], Request] = field(default_factory=dict)  # runs that failed before, by what they ran
    exercised: bool = False
    ends: list[Raised] = field(default_factory=list)  # errors, none of autograd's, that both texts end with
    prints: bool = True  # what is printed can be compared
    notes: list[str] = field(default_factory=list)

    def shown(self, conflicts: tuple[tuple[str, range], ...] = ()) -> Shown:
        """Which of the changed lines ran, and which never did."""
        return Shown(*self.counted, conflicts, self.executable.difference(*self.executed_after))

    def count(self, before: Run, after: Run) -> None:
        """What ran in two runs that were compared."""
        ran, ran_after = self.counted
        self.counted = ran | before.executed, ran_after | after.executed

    @property
    def compared(self) -> int:
        """Pairs that say something."""
        return self.proven + self.same + self.aloof

    @property
    def proven(self) -> int:
        """Pairs in which the original was wrong and the rewritten text is right."""
        return self.cured + self.corrected + self.moved


def conclude(evidence: Evidence, subject: Subject) -> Judgement:
    """The verdict when no pair of runs spoke against the rewrite."""
    changed = subject.changed_before | subject.changed_after
    if changed and not evidence.exercised:
        return judged(evidence, subject, Verdict.NOT_EXERCISED, "no run reached the changed lines")
    untaken = _untaken(evidence, subject)
    if untaken is not None:
        return judged(evidence, subject, Verdict.UNCHECKED, untaken)
    missing = next((error for error in evidence.ends if misses_gradient(error, subject)), None)
    if missing is not None:
        return judged(evidence, subject, Verdict.REJECTED, f"still raises {missing} (line {missing.line})")
    if evidence.proven:
        return judged(evidence, subject, Verdict.FIXED, _fixed_reason(evidence))
    if evidence.unjudged:
        return judged(evidence, subject, Verdict.UNCHECKED, "; ".join(evidence.unjudged))
    if evidence.aloof and not evidence.same:
        return judged(evidence, subject, Verdict.NOT_REPRODUCED, f"its own conflict didn't show {_times(evidence)}")
    if evidence.blank == evidence.pairs:
        return judged(evidence, subject, Verdict.UNCHECKED, "the loss is never finite, or its gradient never a number")
    if subject.predicted:
        reason = f"autograd raised no error in the original {_times(evidence)}"
        return judged(evidence, subject, Verdict.NOT_REPRODUCED, reason)
    likeness = f"same results, without gradients {_times(evidence)}" if evidence.constant else _likeness(evidence)
    return judged(evidence, subject, Verdict.EQUIVALENT, f"worked before, same after: {likeness}")


def misses_gradient(error: Raised, subject: Subject) -> bool:
    """Whether Python raises where the gradient that a fix is to provide is read: it is None."""
    return (
        HazardKind.NON_LEAF_GRAD in subject.kinds
        and error.line in subject.writes
        and error.type in ("AttributeError", "TypeError")
        and "NoneType" in error.message
    )


def _untaken(evidence: Evidence, subject: Subject) -> str | None:
    """What only the rewritten text has, and of which no run shows what it does."""
    line = one_sided(subject.before, subject.after, subject.changed_after, evidence.executed_after)
    if line is not None:
        return f"the branch that the rewrite makes in line {line} went the same way in all runs"
    ran: frozenset[int] = frozenset().union(*evidence.executed_after)
    ways = enumerate(new_ways(subject.before, subject.after, subject.changed_after), 1)
    line = next((place[0] for number, place in ways if -number not in ran), None)
    return None if line is None else f"an expression that the rewrite makes in line {line} ran in none of the runs"


def judged(evidence: Evidence, subject: Subject, verdict: Verdict, reason: str) -> Judgement:
    """A verdict with everything that the runs showed."""
    compared = verdict in (Verdict.FIXED, Verdict.EQUIVALENT)
    return Judgement(
        verdict=verdict,
        reason=reason,
        ran=subject.ran,
        error_before=None if evidence.failed is None else str(evidence.failed.error),
        oracle=", ".join(evidence.oracles) or None,
        runs=evidence.pairs - evidence.blank,
        max_difference=evidence.agreement.largest if compared else None,
        notes=(*evidence.notes, *_late_notes(evidence, verdict)),
        remaining=evidence.remaining,
        shown=evidence.shown(),
    )


def _fixed_reason(evidence: Evidence) -> str:
    if evidence.moved:
        return f"no leaf before; after, {_likeness(evidence)}"
    if not evidence.cured:
        against = next(
            (told for cure, told in _AGAINST.items() if cure.value in evidence.oracles), "central differences"
        )
        return f"wrong gradient without an error before; after, it agrees with {against} {_times(evidence)}"
    likeness = f"the module holds the same values {_times(evidence)}" if evidence.valued else _likeness(evidence)
    if evidence.remaining:
        return f"its own conflict is gone, and apart from the ones that remain, {likeness}"
    return f'raised "{evidence.cures[0]}" before; after, {likeness}'


def _likeness(evidence: Evidence) -> str:
    agreement = evidence.agreement
    loss = (
        "the sum as loss"
        if agreement.summed
        else "same loss"
        if agreement.forward == 0.0
        else f"loss equal {_digits(agreement.forward)}"
    )
    return f"{loss}, gradients equal {_digits(agreement.relative)}{_branches(evidence)} {_times(evidence)}"


def _times(evidence: Evidence) -> str:
    return f"({evidence.pairs - evidence.blank} pairs of runs)"


def _branches(evidence: Evidence) -> str:
    """Whether changed lines of the original ran in some runs and not in others."""
    runs = [lines for lines in evidence.executed if lines] or [frozenset()]
    every, never = frozenset.intersection(*runs), frozenset.union(*runs)
    return ", branch taken and not taken" if every != never else ""


def _late_notes(evidence: Evidence, verdict: Verdict) -> list[str]:
    notes = [f"still raises: {conflict}" for conflict in evidence.remaining]
    if verdict is not Verdict.REJECTED:
        notes += [f"both end with {error}" for error in evidence.ends]
    if verdict in (Verdict.FIXED, Verdict.EQUIVALENT):
        for leaf, nonzero in evidence.agreement.gained.items():
            notes.append(f"the gradient of {leaf} was None and is {'nonzero' if nonzero else 'zero'} now")
        notes += [f'with other inputs both raise "{symptom}"' for symptom in evidence.uncured]
        notes += [f"not judged in some runs: {why}" for why in evidence.unjudged]
    return notes


def _digits(relative: float) -> str:
    return "bit for bit" if relative == 0.0 else f"to {max(1, math.floor(-math.log10(relative)))} digits"
