"""The pure middle: a source and codemods in, findings or edits out. Reads no file, runs no code, imports no torch."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gradfix import edits as edit_sets
from gradfix import syntax, torch_tables
from gradfix.analysis.analyse import analyse
from gradfix.analysis.facts import ModuleFacts
from gradfix.analysis.severities import reaches
from gradfix.analysis.summaries import Imports
from gradfix.codemod import Codemod
from gradfix.collector import paused
from gradfix.edits import Edit
from gradfix.errors import EditError, FileProblem
from gradfix.findings import (
    Applicability,
    Declined,
    Exclusion,
    Finding,
    Fix,
    Identity,
    Refusal,
    RefusalKind,
    Rewrite,
    Severity,
)
from gradfix.origins import Origins, Taken
from gradfix.results import Result, Status
from gradfix.rewrite.text.line_breaks import broken
from gradfix.source import Source, Span
from gradfix.suppress import suppressions

MAX_PASSES = 100
RETURNS = 3  # how often a finding may come back after its fix; or, PATIENCE aside, others in the text that the fix made
PATIENCE = 4  # passes in which of several writes to one storage only the first is fixed: it may cure the others
_GRADES = tuple(Applicability)  # safest first
CLONE = "clone"  # the form of a rewrite that clones the tensor before the write
# The write after the clone would be as harmless, and be found, as the one before.
_HARMLESS = Refusal(RefusalKind.HARMLESS, "the write is harmless, and no form without it is known to be equal")
_REJECTED = Refusal(RefusalKind.REJECTED, "its fix was rejected by the backward check")


@dataclass(frozen=True, slots=True)
class Policy:
    """What is reported and what is applied."""

    severity: Severity = Severity.WARNING  # the lowest reported and fixed
    applicability: Applicability = Applicability.SAFE  # the least safe applied
    form: str = "functional"  # or "clone": which of several fixes comes first
    torch: str = torch_tables.NEWEST  # the release, of `torch_tables.MINORS`, that the code runs on


@dataclass(frozen=True, slots=True)
class FixResult:
    """The outcome of `fix`: `edits` are on the text given, whatever number of passes they took."""

    edits: tuple[Edit, ...]
    applied: tuple[Result, ...]
    left: tuple[Result, ...]
    passes: int
    cured: tuple[Result, ...] = ()

    @property
    def results(self) -> tuple[Result, ...]:
        """All of them, by place."""
        every = self.applied + self.left + self.cured
        return tuple(sorted(every, key=lambda result: (result.passes, _order(result.finding))))


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


def _findings(
    source: Source, codemods: Sequence[Codemod], least: Severity, imports: Imports | None
) -> tuple[Finding, ...]:
    facts = _facts(source, imports)
    severe = reaches(facts, least)
    telling = [codemod for codemod in codemods if severe or not codemod.is_builtin]
    found = [finding for codemod in telling for finding in codemod.find(source, facts)]
    if not found:
        return ()
    found = _leading(found)
    silenced = suppressions(source)
    return tuple(sorted((f for f in found if not silenced.covers(f.code, f.name, f.span)), key=_order))


def results(source: Source, findings: Iterable[Finding], policy: Policy) -> tuple[Result, ...]:
    """The findings at or above the policy's severity, each with its fixes built."""
    with torch_tables.of_torch(policy.torch):
        return tuple(_option(source, finding, policy) for finding in findings if _wanted(finding, policy))


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
                source, originals, codemods, imports, _Work(source, originals, policy, excluded, returning)
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
    work: _Work,
) -> FixResult:
    times: Counter[Identity] = Counter()
    descents: Counter[Identity] = Counter()
    seen = {source.text}
    current, findings, edits = source, originals, ()  # type: tuple[Source, tuple[Finding, ...], tuple[Edit, ...]]
    applied: list[Result] = []
    for number in range(1, MAX_PASSES + 1):
        origins = Origins(edits)
        there = [(result, work.at_home(result, origins, number)) for result in results(current, findings, work.policy)]
        options = [option for result, option in there if not _is_rest(result, option, times)]
        batch, left = work.sort_out(current, options, patient=number <= PATIENCE)
        if not batch:
            return FixResult(edits, tuple(applied), tuple(left), number, work.cured(applied, left))
        times.update({option.identity for option in batch})
        descents.update({root for option in batch for root in work.roots(option, origins)})
        returning = {identity for identity, count in times.items() if count > RETURNS}
        returning |= {identity for identity, count in descents.items() if count > RETURNS + PATIENCE}
        if returning:
            raise _ReturningError(frozenset(returning))
        made = edit_sets.normalise(edit for option in batch for edit in option.here)
        current = replace(current, text=edit_sets.apply(current.text, made))
        if current.text in seen:
            raise FileProblem(source.path, f"fixes undo each other, nothing was changed: {_names(batch)}")
        seen.add(current.text)
        edits = edit_sets.compose(source.text, edits, made)
        applied += [replace(option.result, status=Status.APPLIED) for option in batch]
        findings = check_source(current, codemods, work.policy.torch, work.policy.severity, imports)
    raise FileProblem(source.path, f"fixes don't settle in {MAX_PASSES} passes, nothing was changed: {_names(batch)}")


@dataclass(frozen=True, slots=True)
class _Option:
    """A finding of one pass: as it is reported, under the identity that exclusions know, with its edits here."""

    result: Result
    identity: Identity
    here: tuple[Edit, ...]


class _Work:
    """What stays the same over the passes of one `fix`, and the fixes found to break the syntax."""

    def __init__(
        self,
        source: Source,
        originals: Sequence[Finding],
        policy: Policy,
        excluded: frozenset[Exclusion],
        returning: frozenset[Identity],
    ) -> None:
        self._source = source
        self._originals = originals
        self._places: dict[tuple[str, int], list[Finding]] = {}
        for finding in originals:
            self._places.setdefault((finding.code, finding.span.start), []).append(finding)
        self.policy = policy
        self._excluded = excluded
        self._returning = returning
        self._broken: set[Identity] = set()

    def at_home(self, result: Result, origins: Origins, number: int) -> _Option:
        """`result` of a later text told in places of the original, where its place wasn't edited."""
        original = result.finding if number == 1 else self._original(result.finding, origins)
        result = self._without_declined(result, (original or result.finding).identity)
        here = result.fix.edits if result.fix else ()
        if original is None:
            return _Option(replace(result, passes=number), result.finding.identity, here)
        fixes = [_fix_at_home(fix, origins) for fix in (result.fix, *result.alternatives) if fix is not None]
        told = [fix for fix in fixes if fix is not None]
        if len(told) < len(fixes):
            known = replace(result.finding, identity=original.identity)
            return _Option(replace(result, finding=known, passes=number), original.identity, here)
        best, others = (told[0], tuple(told[1:])) if told else (None, ())
        moved = replace(result, source=self._source, finding=original, fix=best, alternatives=others)
        return _Option(moved, original.identity, here)

    def roots(self, option: _Option, origins: Origins) -> Iterator[Identity]:
        """The findings of the original, of its kind, whose fixes made the text that this one is to change."""
        replaced = origins.replaced(option.here[0].span.start) if option.here else None
        if replaced is None:
            return
        for finding in self._originals:
            known = finding.identity in self._returning or finding.code != option.result.finding.code
            if not known and finding.span.overlaps(replaced):
                yield finding.identity

    def _without_declined(self, result: Result, identity: Identity) -> Result:
        """`result` with those of its fixes that aren't declined."""
        fixes = [fix for fix in (result.fix, *result.alternatives) if fix is not None]
        left = [fix for fix in fixes if Declined(identity, fix.title) not in self._excluded]
        if len(left) == len(fixes):
            return result
        best, others = (left[0], tuple(left[1:])) if left else (None, ())
        return replace(result, fix=best, alternatives=others, refusal=None if left else _REJECTED)

    def _original(self, finding: Finding, origins: Origins) -> Finding | None:
        """The finding of the original that `finding` is, by code and place: ordinals shift as statements change."""
        start = origins.offset(finding.span.start)
        there = [] if start is None else self._places.get((finding.code, start), [])
        same = [o for o in there if o.identity.fingerprint == finding.identity.fingerprint]
        return next(iter(same or there), None)

    def sort_out(
        self, current: Source, options: Sequence[_Option], *, patient: bool
    ) -> tuple[list[_Option], list[Result]]:
        """Which options to apply now, and the results of those that never will be; the rest wait for the next pass."""
        taken: list[_Option] = []
        places = Taken()
        left: list[Result] = []
        renewed: set[tuple[str, str]] = set()
        for option in sorted(options, key=lambda o: -o.result.finding.severity.rank):
            why = self._why_not(option)
            if why is not None:
                left.append(replace(option.result, status=Status.LEFT, refusal=why))
                continue
            storage = _storage(option)
            here = [_whole_lines(current, edit) for edit in option.here]
            if (patient and storage in renewed) or places.collides(here):
                continue
            taken.append(option)
            places.take(here)
            if storage is not None:
                renewed.add(storage)
        parsing, broken = _split_by_parsing(current, taken)
        if not broken:
            return taken, left
        self._broken |= {option.identity for option in broken}
        return (parsing, left) if parsing else self.sort_out(current, options, patient=patient)

    def cured(self, applied: Sequence[Result], left: Sequence[Result]) -> tuple[Result, ...]:
        """The findings of the original that are gone without a fix of their own."""
        told = {result.finding.identity for result in (*applied, *left)}
        gone = (o for o in self._originals if o.identity not in told and _wanted(o, self.policy))
        return tuple(Result(self._source, finding, Status.CURED) for finding in gone)

    def _why_not(self, option: _Option) -> Refusal | None:
        if option.identity in self._excluded:
            return _REJECTED
        if option.identity in self._returning:
            return Refusal(
                RefusalKind.NO_FORM,
                "the write is still a hazard after its fix",
                "give the tensor a name of its own first",
            )
        if option.identity in self._broken:
            return Refusal(
                RefusalKind.SPELLING,
                "its fix would leave code that Python can't parse",
                f"report this as a bug of {option.result.finding.code}",
            )
        fix = option.result.fix
        if fix is None:
            return option.result.refusal or Refusal(RefusalKind.NO_FORM, "no fix is known")
        if fix.applicability is Applicability.DISPLAYONLY:
            return Refusal(RefusalKind.ASKS, "its fix is only a suggestion")
        if _GRADES.index(fix.applicability) > _GRADES.index(self.policy.applicability):
            return Refusal(RefusalKind.ASKS, "its fix is unsafe", "`--unsafe-fixes` applies it")
        return None


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


def _wanted(finding: Finding, policy: Policy) -> bool:
    return finding.severity.rank >= policy.severity.rank


def _preference(policy: Policy, rewrite: Rewrite) -> tuple[int, bool]:
    """Sorts rewrites that come best first: what the policy applies goes before what it doesn't."""
    grade = _GRADES.index(rewrite.applicability)
    if policy.form == CLONE:
        return grade, rewrite.form != CLONE
    return max(0, grade - _GRADES.index(policy.applicability)), False


def _order(finding: Finding) -> tuple[int, int, str]:
    return finding.span.start, finding.span.end, finding.code


def _option(source: Source, finding: Finding, policy: Policy) -> Result:
    """The finding with every rewrite built; those that refuse when built fall away, the first reason is kept."""
    fixes: list[Fix] = []
    refusal = finding.refusal
    for rewrite in sorted(finding.rewrites, key=partial(_preference, policy)):
        if rewrite.last_resort and any(fix.applicability is Applicability.SAFE for fix in fixes):
            continue
        built = _HARMLESS if finding.hazard is None and rewrite.form == CLONE else rewrite.build(source)
        if isinstance(built, Refusal):
            refusal = refusal or built
        else:
            fixes.append(Fix(rewrite.title, rewrite.applicability, broken(source, edit_sets.normalise(built))))
    if not fixes:
        return Result(source, finding, Status.FOUND, refusal=refusal)
    return Result(source, finding, Status.FOUND, fixes[0], tuple(fixes[1:]))


def _is_rest(here: Result, told: _Option, times: Counter[Identity]) -> bool:
    """Whether it is the write that a fix left behind where it harms nothing: to a clone, or in a line of the fix."""
    of_a_fix = bool(times) and (told.identity in times or told.result.source is here.source)
    return of_a_fix and here.finding.hazard is None and here.fix is None


def _storage(option: _Option) -> tuple[str, str] | None:
    """The storage, by function and name, that the finding says is written."""
    finding = option.result.finding
    if finding.hazard is None or not finding.hazard.storage:
        return None  # nothing is written: several cuts of one loss are undone together
    return finding.identity.qualname, finding.hazard.storage


def _fix_at_home(fix: Fix, origins: Origins) -> Fix | None:
    """`fix` with its edits where they would be in the original; None where that text isn't there any more."""
    moved = []
    for edit in fix.edits:
        span = origins.span(edit.span)
        if span is None:
            return None
        moved.append(Edit(span, edit.text))
    return replace(fix, edits=tuple(moved))


def _whole_lines(source: Source, edit: Edit) -> Edit:
    """An edit as wide as the lines it changes: another fix must see what this one made of them."""
    if not len(edit.span) or edit.span.end > len(source.text):
        return edit
    first, last = (source.position(at).line for at in (edit.span.start, edit.span.end - 1))
    return replace(edit, span=Span(source.line_span(first).start, source.line_span(last).end))


def _split_by_parsing(current: Source, batch: Sequence[_Option]) -> tuple[list[_Option], list[_Option]]:
    """The options that together still parse, and those that don't; each is tried only when the whole doesn't parse."""
    if _parses(current, batch):
        return list(batch), []
    kept: list[_Option] = []
    broken: list[_Option] = []
    for option in batch:
        (kept if _parses(current, [*kept, option]) else broken).append(option)
    return kept, broken


def _parses(current: Source, batch: Sequence[_Option]) -> bool:
    if not batch:
        return True
    try:
        text = edit_sets.apply(current.text, (edit for option in batch for edit in option.here))
        syntax.parse(replace(current, text=text))
    except (FileProblem, EditError):
        return False
    return True


def _names(batch: Sequence[_Option]) -> str:
    return ", ".join(sorted({f"{o.result.finding.code} ({o.result.finding.name})" for o in batch}))
