"""The pure middle: a source and codemods in, findings or edits out. Reads no file, runs no code, imports no torch."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter

from gradfix import edits as edit_sets
from gradfix import syntax, torch_tables
from gradfix.analysis.analyse import analyse
from gradfix.analysis.facts import ModuleFacts
from gradfix.analysis.imports import Imports
from gradfix.analysis.severities import reaches
from gradfix.codemod import Codemod
from gradfix.collector import paused
from gradfix.edits import Edit
from gradfix.engine.origins import Origins
from gradfix.engine.passes import Bred, Option, Passes
from gradfix.engine.policy import CLONE, Policy
from gradfix.engine.suppress import Unreported, suppressions
from gradfix.errors import FileProblem
from gradfix.findings import (
    Applicability,
    Exclusion,
    Finding,
    Fix,
    Identity,
    Refusal,
    RefusalKind,
    Severity,
)
from gradfix.results import FixResult, Result, Status
from gradfix.rewrite.text.line_breaks import broken
from gradfix.rewrite.text.shadows import shadowed
from gradfix.source import Source, Span

MAX_PASSES = 100
RETURNS = 3  # how often a finding may come back after its fix
PATIENCE = 4  # passes in which of several writes to one storage only the first is fixed: it may cure the others
_BY_PLACE = attrgetter("order")
# The write after the clone would be as harmless, and be found, as the one before.
_HARMLESS = Refusal(RefusalKind.HARMLESS, "the write is harmless, and no form without it is known to be equal")


def check_source(
    source: Source,
    codemods: Sequence[Codemod],
    torch: str = torch_tables.NEWEST,
    least: Severity = Severity.INFO,
    imports: Imports | None = None,
) -> tuple[Finding, ...]:
    """Every finding that no comment suppresses, by place, of any severity; `torch` as in `Policy`.

    Where none is as severe as `least`, those below may be missing: their fixes would be thought out for nothing.
    `imports` says what the imports of the source lead to; without it, nothing is known of other files.

    Raises `FileProblem` when the text can't be parsed or is nested too deeply.
    """
    with torch_tables.of_torch(torch), paused():
        return _findings(source, codemods, least, imports)


def unreported(
    source: Source, codemods: Sequence[Codemod], policy: Policy, imports: Imports | None = None
) -> tuple[Unreported, ...]:
    """What `check_source` and `results` leave out, by place. Raises `FileProblem` as `check_source`."""
    with torch_tables.of_torch(policy.torch), paused():
        found = _found(source, codemods, Severity.INFO, imports)
    silenced = suppressions(source)
    every = (Unreported(source, f, silenced.over(f.code, f.name, f.span)) for f in sorted(found, key=_BY_PLACE))
    return tuple(one for one in every if one.comment is not None or not policy.wants(one.finding))


def _findings(
    source: Source, codemods: Sequence[Codemod], least: Severity, imports: Imports | None
) -> tuple[Finding, ...]:
    found = _found(source, codemods, least, imports)
    if not found:
        return ()
    silenced = suppressions(source)
    return tuple(sorted((f for f in found if not silenced.covers(f.code, f.name, f.span)), key=_BY_PLACE))


def _found(source: Source, codemods: Sequence[Codemod], least: Severity, imports: Imports | None) -> list[Finding]:
    """What the codemods find, silenced or not."""
    facts = _facts(source, imports)
    severe = reaches(facts, least)
    telling = [codemod for codemod in codemods if severe or not codemod.is_builtin]
    try:
        found = [finding for codemod in telling for finding in codemod.find(source, facts)]
    except RecursionError:  # a chain of calls that Python parses, but doesn't spell
        raise FileProblem(source.path, syntax.TOO_DEEP) from None
    return _leading(found)


def results(source: Source, findings: Iterable[Finding], policy: Policy) -> tuple[Result, ...]:
    """The findings at or above the policy's severity, each with its fixes built."""
    with torch_tables.of_torch(policy.torch):
        return tuple(_option(source, finding, policy) for finding in findings if policy.wants(finding))


def fix(
    source: Source,
    codemods: Sequence[Codemod],
    policy: Policy,
    excluded: frozenset[Exclusion] = frozenset(),
    imports: Imports | None = None,
) -> FixResult:
    """Apply fixes in passes until none is left to apply.

    Of a finding with a `Declined` fix the next best one is applied. Fixes that change one line wait for the next
    pass, and so do further writes to a storage that a fix renews: mostly they are harmless then, and a copy is
    saved. A fix whose result Python can't parse is left, with the reason, and so is one after which its finding
    comes back. Raises `FileProblem` as `check_source`, and when the fixes undo each other or don't settle in
    `MAX_PASSES` passes.
    """
    originals = check_source(source, codemods, policy.torch, policy.severity, imports)
    returning: frozenset[Identity] = frozenset()
    while True:
        try:
            return _in_passes(
                source, originals, codemods, imports, Passes(source, originals, policy, excluded, returning)
            )
        except _ReturningError as error:
            returning |= error.identities


class _ReturningError(Exception):
    """Fixes after which their findings come back again and again."""

    def __init__(self, identities: frozenset[Identity]) -> None:
        super().__init__()
        self.identities = identities


def _in_passes(
    source: Source,
    originals: tuple[Finding, ...],
    codemods: Sequence[Codemod],
    imports: Imports | None,
    passes: Passes,
) -> FixResult:
    times: Counter[Identity] = Counter()
    bred = Bred()
    seen = {source.text}
    current, findings = source, originals
    edits: tuple[Edit, ...] = ()
    applied: list[Result] = []
    for number in range(1, MAX_PASSES + 1):
        origins = Origins(edits)
        found = [
            (result, passes.at_home(result, origins, number)) for result in results(current, findings, passes.policy)
        ]
        options = [option for result, option in found if not _is_rest(result, option, times)]
        batch, left = passes.sort_out(current, options, patient=number <= PATIENCE)
        if not batch:
            return FixResult(edits, tuple(applied), tuple(left), number, passes.cured(applied, left))
        times.update({option.identity for option in batch})
        returning = frozenset(identity for identity, count in times.items() if count > RETURNS)
        if number > PATIENCE:  # most files are done by then
            there, fixed = ([root for o in part for root in passes.roots(o, origins)] for part in (options, batch))
            returning |= bred.seen(Counter(there), frozenset(fixed))
        if returning:
            raise _ReturningError(returning)
        made = edit_sets.normalise(edit for option in batch for edit in option.here)
        current = replace(current, text=edit_sets.apply(current.text, made))
        if current.text in seen:
            raise FileProblem(source.path, f"fixes undo each other, nothing was changed: {_names(batch)}")
        seen.add(current.text)
        edits = edit_sets.compose(source.text, edits, made)
        applied += [replace(option.result, status=Status.APPLIED) for option in batch]
        findings = check_source(current, codemods, passes.policy.torch, passes.policy.severity, imports)
    raise FileProblem(source.path, f"fixes don't settle in {MAX_PASSES} passes, nothing was changed: {_names(batch)}")


def _facts(source: Source, imports: Imports | None) -> ModuleFacts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the parser, about the user's escapes and comparisons
        try:
            return analyse(source, imports)
        except SyntaxError as error:
            raise syntax.problem(source, error) from None
        except (RecursionError, MemoryError):
            raise FileProblem(source.path, syntax.TOO_DEEP) from None


def _leading(found: list[Finding]) -> list[Finding]:
    """`found` without what another finding speaks for."""
    led = {(span, finding.code) for finding in found for span in finding.leads}
    codes: dict[Span, set[str]] = {}
    for span, code in led:
        codes.setdefault(span, set()).add(code)
    return [finding for finding in found if finding.leads or codes.get(finding.span, set()) <= {finding.code}]


def _option(source: Source, finding: Finding, policy: Policy) -> Result:
    """The finding with every rewrite built; those that refuse when built fall away, the first reason is kept."""
    fixes: list[Fix] = []
    refusal = finding.refusal
    for rewrite in sorted(finding.rewrites, key=policy.preference):
        if rewrite.last_resort and any(fix.applicability is Applicability.SAFE for fix in fixes):
            continue
        built = _HARMLESS if finding.hazard is None and rewrite.form == CLONE else rewrite.build(source)
        built = built if isinstance(built, Refusal) else shadowed(source, built) or built
        if isinstance(built, Refusal):
            refusal = refusal or built
        else:
            fixes.append(Fix(rewrite.title, rewrite.applicability, broken(source, edit_sets.normalise(built))))
    if not fixes:
        return Result(source, finding, Status.FOUND, refusal=refusal)
    return Result(source, finding, Status.FOUND, fixes[0], tuple(fixes[1:]))


def _is_rest(here: Result, told: Option, times: Counter[Identity]) -> bool:
    """Whether it is the write that a fix left behind where it harms nothing: to a clone, or in a line of the fix."""
    of_a_fix = bool(times) and (told.identity in times or told.result.source is here.source)
    return of_a_fix and here.finding.hazard is None and here.fix is None


def _names(batch: Sequence[Option]) -> str:
    return ", ".join(sorted({f"{o.result.finding.code} ({o.result.finding.name})" for o in batch}))
