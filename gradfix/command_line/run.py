"""Files in, results out: reading, the engine, the backward check and writing, wired together. Prints nothing."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from gradfix import edits as edit_sets
from gradfix import syntax
from gradfix.command_line import interrupts, side_by_side
from gradfix.edits import Edit
from gradfix.engine import prefilter
from gradfix.errors import FileProblem
from gradfix.findings import Refusal, RefusalKind, Verdict
from gradfix.project import files
from gradfix.proof.plan import Loaded, Plan, Rules
from gradfix.results import FileResult, FixResult, Result

if TYPE_CHECKING:
    from gradfix.backward.cases import Case
    from gradfix.backward.checker import Checker
    from gradfix.backward.pool import Pool
    from gradfix.engine.suppress import Unreported

Input: TypeAlias = "Loaded | FileProblem"
T = TypeVar("T")


def check(rules: Rules, inputs: Sequence[Input], jobs: int | None = 1) -> Iterator[FileResult]:
    """The findings of each file, nothing executed; in `jobs` processes at most (None: as many as there are cores)."""
    return _each(inputs, lambda loaded: _checked(rules, loaded), jobs)


def unreported(rules: Rules, inputs: Sequence[Input]) -> Iterator[Unreported]:
    """What nothing is said of, for those who ask why: silenced by a comment, or less severe than what is reported.

    A file that can't be looked at is told of elsewhere.
    """
    from gradfix.engine import engine

    for given in inputs:
        if isinstance(given, Loaded) and prefilter.worth_parsing(given.source.text, rules.codemods):
            with contextlib.suppress(FileProblem):
                yield from engine.unreported(given.source, rules.codemods, rules.policy, rules.imports(given.path))


def plan(
    rules: Rules, inputs: Sequence[Input], declared: Callable[[str], Sequence[Case]] | None, jobs: int | None = 1
) -> Iterator[Plan | FileResult]:
    """The fixes of each file with what there is to run for it; what can't be planned comes as a result.

    `declared` gives the calls the configuration declares for a path; None: nothing is going to be run. `jobs` as for
    `check`.
    """
    return _each(inputs, lambda loaded: _planned(rules, loaded, declared), jobs)


def with_programs(planned: Sequence[Plan | FileResult]) -> list[Plan | FileResult]:
    """The plans, those without a case of their own with the programs among the files: itself, and what imports it."""
    if not any(isinstance(one, Plan) and one.fixed.applied for one in planned):
        return list(planned)
    from gradfix.backward.cases import Command, Program

    def is_bare(one: Plan | FileResult) -> bool:
        return isinstance(one, Plan) and bool(one.fixed.applied) and all(isinstance(c, Command) for c in one.cases)

    if not any(map(is_bare, planned)):
        return list(planned)
    from gradfix.backward.programs import Programs

    texts = {os.path.abspath(one.loaded.path): one.loaded.source.text for one in planned if isinstance(one, Plan)}
    programs = Programs(texts, os.getcwd())

    def completed(one: Plan) -> Plan:
        path = os.path.abspath(one.loaded.path)
        own = [Program()] if programs.is_program(path) else []
        return replace(one, cases=(*own, *map(Program, programs.importing(path)), *one.cases))

    return [completed(one) if isinstance(one, Plan) and is_bare(one) else one for one in planned]


def unproven(planned: Plan) -> FileResult:
    """What `apply` would make of a plan without running anything."""
    fixed = planned.fixed
    return FileResult(planned.loaded.path, planned.loaded.source, fixed.results, fixed.edits)


def prove_all(
    rules: Rules, planned: Sequence[Plan | FileResult], checkers: Pool, begun: Callable[[str], None], *, proven: bool
) -> Iterator[FileResult]:
    """The results of the plans in their order, each as `prove` gives it; `begun` is told what is run next."""

    def proved(one: Plan | FileResult, checker: Checker) -> FileResult:
        if isinstance(one, FileResult) or not one.fixed.applied:
            return one if isinstance(one, FileResult) else unproven(one)
        begun(one.loaded.path)
        return prove(rules, one, checker, proven=proven)

    return checkers.each(proved, planned)


def prove(rules: Rules, planned: Plan, checker: Checker, *, proven: bool) -> FileResult:
    """Run the cases of a plan, leave out what they reject (with `proven`: what they don't prove), and fix again."""
    return at_the_boundary(planned.loaded, lambda loaded: _proved(rules, planned, checker, proven=proven))


def write(results: Sequence[FileResult], planned: Sequence[Plan]) -> tuple[FileResult, ...]:
    """Write every changed file, each in one atomic step. One that can't be written has the problem in its result."""
    inputs = {one.loaded.path: one.loaded for one in planned}
    return tuple(
        at_the_boundary(inputs[result.path], partial(_written, result)) if result.edits else result
        for result in results
    )


def _each(inputs: Sequence[Input], work: Callable[[Loaded], T], jobs: int | None) -> Iterator[T | FileResult]:
    """`work` of each file that could be read, several side by side where there is enough to do."""
    texts = (given.source.text for given in inputs if isinstance(given, Loaded))
    number = side_by_side.processes(sum(len(text) for text in texts if "torch" in text), jobs)
    return side_by_side.each(lambda given: at_the_boundary(given, work), inputs, number)


def at_the_boundary(given: Input, work: Callable[[Loaded], T]) -> T | FileResult:
    """The outcome of `work`; an error of one file becomes its result, so that the others go on.

    An error that nobody foresaw is a bug of gradfix or of a codemod: its problem carries the traceback.
    """
    if isinstance(given, FileProblem):
        return FileResult(given.path, problem=given)
    try:
        with interrupts.unwrapped():
            return work(given)
    except FileProblem as known:
        return FileResult(given.path, given.source, problem=known)
    except Exception as error:  # the file boundary
        reason = f"internal error, please report it: {type(error).__name__}: {error}"
        problem = FileProblem(given.path, reason, details=traceback.format_exc())
        return FileResult(given.path, given.source, problem=problem)


def _checked(rules: Rules, loaded: Loaded) -> FileResult:
    if not _concerned(rules, loaded):
        return FileResult(loaded.path)
    from gradfix.engine import engine

    policy = rules.policy
    imports = rules.imports(loaded.path)
    found = engine.check_source(loaded.source, rules.codemods, policy.torch, policy.severity, imports)
    results = engine.results(loaded.source, found, rules.policy)
    return FileResult(loaded.path, loaded.source if results else None, results)


def _planned(rules: Rules, loaded: Loaded, declared: Callable[[str], Sequence[Case]] | None) -> Plan:
    if not _concerned(rules, loaded):
        return Plan(loaded, FixResult(), ())
    from gradfix.engine import engine

    fixed = engine.fix(loaded.source, rules.codemods, rules.policy, imports=rules.imports(loaded.path))
    if declared is None or not fixed.applied:
        return Plan(loaded, fixed, ())
    from gradfix.backward.cases import cases

    return Plan(loaded, fixed, cases(Path(loaded.path), loaded.source.text, declared(loaded.path)))


def _concerned(rules: Rules, loaded: Loaded) -> bool:
    """Whether a codemod can have something to say; if not, the file is only parsed, so that its errors are told."""
    if prefilter.worth_parsing(loaded.source.text, rules.codemods):
        return True
    syntax.parse(loaded.source)
    return False


def _proved(rules: Rules, planned: Plan, checker: Checker, *, proven: bool) -> FileResult:
    from gradfix.proof import attribution
    from gradfix.proof.proof import Proof

    proof = Proof(rules, planned, checker)
    settled = attribution.settle(proof.fix, proof.judge, proof.share, proven=proven)
    judged = {r.finding.identity: r for r in reversed(settled.rejected)}
    left = tuple(_explained(r, judged.get(r.finding.identity)) for r in settled.result.left)
    applied = tuple(_compared(r, judged.get(r.finding.identity)) for r in settled.result.applied)
    result = replace(settled.result, left=left, applied=applied)
    return FileResult(planned.loaded.path, planned.loaded.source, result.results, result.edits)


def _explained(left: Result, judged: Result | None) -> Result:
    """A result that was left because of a verdict, with that verdict and the fix it was about."""
    if judged is None or judged.judgement is None:
        return left
    verdict = judged.judgement.verdict
    why = "the backward check rejected its fix" if verdict is Verdict.REJECTED else "`--require-verified` is set"
    asks = left.refusal is not None and left.refusal.kind is RefusalKind.ASKS
    refusal = Refusal(RefusalKind.REJECTED, why, "`--unsafe-fixes` tries another one" if asks else None)
    return replace(left, fix=judged.fix, judgement=judged.judgement, refusal=refusal)


def _compared(applied: Result, judged: Result | None) -> Result:
    """A result that was applied, with a note about the fix that was tried before."""
    if judged is None or judged.judgement is None or judged.fix is None or applied.judgement is None:
        return applied
    note = f"another fix was rejected ({judged.fix.title}): {judged.judgement.reason}"
    return replace(applied, judgement=replace(applied.judgement, notes=(*applied.judgement.notes, note)))


def _written(result: FileResult, loaded: Loaded) -> FileResult:
    if loaded.stamp is None:
        return result
    text = edit_sets.apply(loaded.source.text, result.edits)
    files.write(loaded.path, loaded.source.encode(text), loaded.stamp)
    return result


def together(results: Iterable[Result]) -> tuple[Edit, ...]:
    """The edits of the best fix of each result, without those that overlap an earlier one."""
    edits: list[Edit] = []
    for result in results:
        if result.fix is not None and not edit_sets.overlaps(edits, result.fix.edits):
            edits += (edit for edit in result.fix.edits if edit not in edits)
    return edit_sets.normalise(edits)


def pool(python: str, *, trust: bool, budget: float | None, jobs: int = 1, keep: bool = False) -> Pool:
    """Checkers for `prove_all`; `budget` bounds all their runs together, in seconds."""
    from gradfix.backward.limits import Limits
    from gradfix.backward.pool import Pool

    limits = Limits() if budget is None else Limits(total=budget)
    return Pool(python, trust=trust, limits=limits, jobs=jobs, keep=keep)


def names_of(planned: Plan) -> list[str]:
    """What is going to be run for a plan: its cases, and the functions of which calls are to be found."""
    return [*map(name_of, planned.cases), *(f"calls of `{name}`, to be found" for name in planned.sought)]


def name_of(case: Case) -> str:
    """How a case is called before it runs: "as a program", "by the program train.py", the call, the command."""
    from gradfix.backward.cases import Command, DeclaredCall, RecordedCall

    if isinstance(case, RecordedCall):
        return f"recorded call of {case.function}"
    if isinstance(case, Command):
        return f"`{case.command}` on a copy of {os.path.relpath(case.root)}"
    if isinstance(case, DeclaredCall):
        return case.call
    return "as a program" if case.entry is None else f"by the program {os.path.relpath(case.entry)}"
