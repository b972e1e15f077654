"""Holds what gradfix's analysis says of a program against what torch did with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import torch

from gradfix.analysis.analyse import analyse
from gradfix.analysis.facts import ModuleFacts
from gradfix.findings import Severity
from gradfix.source import Source

from . import running
from .grammar import Program
from .running import Feed, Run

FEEDS = (Feed(0), Feed(1))
MANY_FEEDS = (*map(Feed, range(5)), Feed(5, 1), Feed(6, -1))  # where chance or data decide what runs


# Of a view whose base was written: raised where the view is used next, not where it was written.
STALE = re.compile("its base or another view of its base has been modified")
SILENT = "silent-write"  # whether its gradient comes out wrong depends on the values: never held against a run


class Class(Enum):
    """What a program is, over all its runs."""

    FAILS = "fails"  # some run raises for a write
    OTHER_HAZARD = "other hazard"  # some run is disconnected or not scalar, and none fails
    SILENT = "silent"  # every run ends, and some gradient differs from the clone-packing oracle's
    RUNS = "runs"
    DISCARDED = "discarded"  # some run raises for another reason


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing the analysis said, with the lines of the expression or statement it is about."""

    lines: range
    severity: Severity
    kinds: tuple[str, ...]

    def covers(self, line: int) -> bool:
        return line in self.lines


@dataclass(slots=True)
class Judged:
    """One program: its class, what the analysis claims, and where the two disagree."""

    program: Program
    kind: Class
    hazard: str | None = None  # the kind of the first error met
    always: bool = False  # every run fails
    claims: tuple[Claim, ...] = ()
    writers: tuple[int, ...] = ()  # the line that overwrote first, per conflict of all failing runs
    flagged: Severity | None = None  # the highest severity claimed at a line that overwrote first
    missed: tuple[int, ...] = ()  # lines that overwrote first and carry no claim from warning on
    false_errors: tuple[int, ...] = ()  # lines run, claimed as error, in a run that ended well
    warned: tuple[int, ...] = ()  # lines claimed as warning and run, of a program that runs
    crash: str | None = None  # what the analysis raised
    message: str = ""
    runs: list[Run] = field(default_factory=list)


def judge(program: Program) -> Judged:
    """Run the program with several seeds, analyse it, compare."""
    text = program.text
    uncertain = any(word in text for word in ("if ", "random.", "dropout", "Dropout"))
    feeds = MANY_FEEDS if uncertain else FEEDS
    runs = [running.run(text, program.leaves, fed) for fed in feeds]
    judged = Judged(program, _class(program, runs, feeds), runs=runs)
    bad = next((run for run in runs if run.kind is not None), None)
    if bad is not None:
        judged.hazard, judged.message = bad.kind, bad.message
    if judged.kind is Class.DISCARDED:
        return judged
    judged.always = all(run.kind in running.FAILING for run in runs)
    try:
        judged.claims = claims_of(text)
    except Exception as error:
        judged.crash = f"{type(error).__name__}: {error}"
        return judged
    if judged.kind is Class.FAILS:
        _compare_failing(judged, feeds)
    _compare_running(judged)
    judged.runs = []  # they hold every tensor of the program
    return judged


def claims_of(text: str) -> tuple[Claim, ...]:
    """What the analysis says from warning on."""
    return claims_among(analyse(Source.from_text("program.py", text)))


def claims_among(facts: ModuleFacts) -> tuple[Claim, ...]:
    """What facts say from warning on."""
    claims = [_claim(write.node, write.severity, write.hazards) for write in facts.writes]
    claims += [_claim(step.node, step.severity, step.hazards) for step in facts.early_steps]
    claims += [_claim(fill.branch, fill.severity, fill.hazards) for fill in facts.fills]
    errors = [cut for cut in facts.cuts if cut.severity is Severity.ERROR]  # the others don't raise
    claims += [_claim(cut.node, cut.severity, cut.hazards) for cut in errors]
    claims += [_claim(again.node, again.severity, again.hazards) for again in facts.second_backwards]
    for call in facts.backward_calls:
        if call.severity is not None:
            claims.append(_claim(call.node, call.severity, call.hazards))
    return tuple(claim for claim in claims if claim.severity.rank >= Severity.WARNING.rank)


def _claim(node: ast.AST, severity: Severity, hazards: Iterable[object]) -> Claim:
    first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
    return Claim(range(first, last + 1), severity, tuple(h.kind.value for h in hazards))  # type: ignore[attr-defined]


def _class(program: Program, runs: list[Run], feeds: tuple[Feed, ...]) -> Class:
    kinds = {run.kind for run in runs}
    if "other" in kinds:
        return Class.DISCARDED
    if kinds & running.FAILING:
        return Class.FAILS
    if kinds & {"disconnected", "non-scalar-backward"}:
        return Class.OTHER_HAZARD
    for run, fed in zip(runs, feeds, strict=True):
        oracle = running.run(program.text, program.leaves, fed, "oracle")
        if oracle.ran and not same_gradients(run, oracle):
            return Class.SILENT
    return Class.RUNS


def same_gradients(first: Run, second: Run) -> bool:
    return first.grads.keys() == second.grads.keys() and all(
        close(first.grads[name], second.grads[name]) for name in first.grads
    )


def close(truth: torch.Tensor | None, found: torch.Tensor | None, tolerance: float = 1e-4) -> bool:
    """Equal up to rounding, wherever the truth is a number; no gradient and a gradient of zeros are the same here."""
    if truth is None or found is None:
        other = found if truth is None else truth
        return other is None or not bool(other.nan_to_num(0.0 if found is None else 1.0).any())
    if truth.shape != found.shape:
        return False
    known = truth.isfinite()
    return bool(torch.allclose(wide(truth[known]), wide(found[known]), tolerance, tolerance))


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """In a dtype that holds every real number of it, or every complex one."""
    return tensor.to(torch.complex128) if tensor.is_complex() else tensor.double()


def _compare_failing(judged: Judged, feeds: tuple[Feed, ...]) -> None:
    conflicts: dict[tuple[int, ...], None] = {}
    for run, fed in zip(judged.runs, feeds, strict=True):
        if run.kind not in running.FAILING:
            continue
        if run.kind == "saved-then-written" or STALE.search(run.message):
            traced = running.run(judged.program.text, judged.program.leaves, fed, "traced")
            conflicts.update(dict.fromkeys(traced.culprits))
        elif run.lines:
            conflicts[run.lines[-1:]] = None
    judged.writers = tuple(dict.fromkeys(lines[0] for lines in conflicts))
    best = {line: _highest(judged.claims, line) for line in judged.writers}
    found = [severity for severity in best.values() if severity is not None]
    judged.flagged = max(found, key=lambda severity: severity.rank, default=None)
    judged.missed = tuple(line for line, severity in best.items() if severity is None)


def _compare_running(judged: Judged) -> None:
    wrong: set[int] = set()
    untold = _one_line_branches(judged.program.text)
    loud = [claim for claim in judged.claims if set(claim.kinds) - {SILENT}]
    for run in judged.runs:
        if not run.ran or judged.kind is Class.SILENT:
            continue
        for claim in loud:
            if claim.severity is Severity.ERROR and claim.lines.start in run.executed - untold:
                wrong.add(claim.lines.start)
    judged.false_errors = tuple(sorted(wrong))
    if judged.kind is Class.RUNS and loud and not _fails_for_another_caller(judged.program):
        executed = frozenset().union(*(run.executed for run in judged.runs))
        raised = frozenset().union(*(run.raised for run in judged.runs))  # and handled
        told = {claim.lines.start for claim in loud if raised.isdisjoint(claim.lines)}
        judged.warned = tuple(sorted(told & (executed - untold)))


def _one_line_branches(text: str) -> set[int]:
    """Lines of which the trace doesn't tell whether all of them ran."""
    branches = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.If))
    return {branch.lineno for branch in branches if branch.body[0].lineno == branch.lineno}


def _fails_for_another_caller(program: Program) -> bool:
    """Whether the hazard shows where the data require grad, or where the modules don't train."""
    others = (Feed(0, tracked=True), Feed(0, evaluating=True), Feed(0, tracked=True, evaluating=True))
    return any(running.run(program.text, program.leaves, fed).kind in running.WRITTEN for fed in others)


def _highest(claims: Iterable[Claim], line: int) -> Severity | None:
    return max((c.severity for c in claims if c.covers(line)), key=lambda severity: severity.rank, default=None)
