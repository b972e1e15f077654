"""Fixing and judging one file: which of its cases are run for which fixes, and calls sought where no case is enough."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradfix import edits as edit_sets
from gradfix.edits import Edit
from gradfix.engine import engine
from gradfix.findings import Exclusion, Hazard, HazardKind, Identity, Judgement, Severity, Verdict
from gradfix.proof import attribution
from gradfix.proof.plan import MODULE, Plan, Rules
from gradfix.proof.shares import Own, share
from gradfix.proof.touched import lines_of, places_of, touched
from gradfix.results import FixResult, Result
from gradfix.source import Source, Span

if TYPE_CHECKING:
    from gradfix.backward.cases import Case
    from gradfix.backward.checker import Checker
    from gradfix.backward.synthesis import Calls
    from gradfix.backward.worker.requests import Place

NO_CASE = "nothing in this file reaches backward, and no call is declared"
DECLARE = (
    "to have it checked, declare a call: `# gradfix: verify f(x=randn(4, 3))` in the file or in the configuration, "
    "or name the program that imports it among the paths"
)
_SILENT = (Verdict.NOT_EXERCISED, Verdict.UNCHECKED)  # what says nothing about a fix
_OPEN = (*_SILENT, Verdict.NOT_REPRODUCED)  # what leaves room for a call: no run failed as it surely would
Answer = tuple[str | None, str]  # a call, or None and why there is none
Told = tuple[str, Judgement]  # with the function that the call was sought for, "" where nobody sought it


class Proof:
    """Fixing and judging one file, each variant once."""

    def __init__(self, rules: Rules, planned: Plan, checker: Checker) -> None:
        self._rules, self._plan, self._checker = rules, planned, checker
        self._source = planned.loaded.source
        self._fixed: dict[frozenset[Exclusion], FixResult] = {frozenset(): planned.fixed}
        self._told: dict[tuple[object, ...], list[Told]] = {}
        self._calls: dict[str, dict[Identity, list[Answer]]] = {}  # by function

    def fix(self, excluded: frozenset[Exclusion]) -> FixResult:
        """All fixes but those."""
        if excluded not in self._fixed:
            imports = self._rules.imports(self._source.path)
            self._fixed[excluded] = engine.fix(
                self._source, self._rules.codemods, self._rules.policy, excluded, imports
            )
        return self._fixed[excluded]

    def judge(self, before: FixResult, after: FixResult) -> Judgement:
        """The text of `before` against that of `after`, over the cases of the file."""
        return attribution.combined([judgement for _, judgement in self._all(before, after)])

    def share(self, one: Result, before: FixResult, after: FixResult) -> Judgement:
        """What the judgement of the text of `before` against that of `after` says about one fix between them.

        Calls that were sought for other functions count where they reach its lines.
        """
        every = {r.finding.identity: self._own(r, before, after) for r in _concerned_findings(before, after)}
        own, name = every[one.finding.identity], one.finding.identity.qualname
        told = [(who, share(judgement, own, list(every.values()))) for who, judgement in self._all(before, after)]
        return attribution.combined([j for who, j in told if who in ("", name) or j.verdict not in _SILENT])

    def _all(self, before: FixResult, after: FixResult) -> list[Told]:
        key = (before.edits, after.edits)
        if key not in self._told:
            told = self._told[key] = []
            for one in self._judgements(before, after):
                told.append(one)
                if one[1].verdict is Verdict.REJECTED:
                    break  # whatever the others say
        return self._told[key]

    def _judgements(self, before: FixResult, after: FixResult) -> Iterator[Told]:
        """Of every case, and of synthesised calls where none but the user's own command settles it."""
        from gradfix.backward.cases import Command

        concerned = _concerned_findings(before, after)
        observed: list[Judgement] = []
        for case in self._plan.cases:
            judgement = self._of(case, before, after, concerned)
            if not isinstance(case, Command):
                observed.append(judgement)
            yield "", judgement
        if all(judgement.verdict in _OPEN for judgement in observed):
            yield from self._synthesised(before, after, concerned, observed)

    def _of(self, case: Case, before: FixResult, after: FixResult, concerned: Sequence[Result]) -> Judgement:
        source = self._source
        hazards = [(r, r.finding.hazard) for r in concerned if r.finding.hazard is not None]
        here = [hazard for r, hazard in hazards if r.source is source]
        return self._checker.judge(
            Path(source.path),
            edit_sets.apply(source.text, before.edits),
            edit_sets.apply(source.text, after.edits),
            case,
            *touched(source, before.edits, after.edits),
            predicted=any(_certain(r) for r in concerned),
            kinds=frozenset(hazard.kind for _, hazard in hazards),
            writes=lines_of(source, before.edits, [h.write.span for h in here]),
            cuts=self._cuts(before, hazards),
            shared=len(concerned) > attribution.EACH,
        )

    def _cuts(self, before: FixResult, hazards: Sequence[tuple[Result, Hazard]]) -> tuple[Place, ...]:
        """Where what is undone cuts the graph in the text of `before`; none where one of the places isn't known."""
        source = self._source
        cutting = [(r, hazard.write.span) for r, hazard in hazards if hazard.kind is HazardKind.DISCONNECTED]
        spans = list(dict.fromkeys(span for r, span in cutting if r.source is source))
        places = places_of(source, before.edits, spans)
        return places if len(places) == len(spans) and all(r.source is source for r, _ in cutting) else ()

    def _synthesised(
        self, before: FixResult, after: FixResult, concerned: Sequence[Result], told: Sequence[Judgement]
    ) -> Iterator[Told]:
        """Of calls that a search comes up with, for each function with a finding."""
        from gradfix.backward.cases import DeclaredCall

        for name in dict.fromkeys(r.finding.identity.qualname for r in concerned or after.applied):
            own = [r for r in concerned if r.finding.identity.qualname == name]
            if name == MODULE:
                if not told:
                    yield name, Judgement(Verdict.UNCHECKED, NO_CASE, notes=(DECLARE,))
                continue
            found = self.found(name)
            wanted = [r.finding.identity for r in own if r.finding.identity in found] or list(found)
            answers = [answer for identity in wanted for answer in found[identity]]
            for call in dict.fromkeys(call for call, _ in answers if call is not None):
                yield name, self._of(DeclaredCall(call, synthesised=True), before, after, own)
            missing = [reason for call, reason in answers if call is None]
            if missing or not answers:
                yield name, Judgement(Verdict.UNCHECKED, (missing or [NO_CASE])[0], notes=(DECLARE,))

    def found(self, name: str) -> dict[Identity, list[Answer]]:
        """Calls for each finding of a function, or why there is none; sought once, in the text as it was read.

        A fix that changes several functions is to be reached in each of them.
        """
        if name not in self._calls:
            own = [r for r in self._plan.fixed.applied if r.finding.identity.qualname == name]
            parts = [(r, lines) for r in own for lines in _by_function(self._source.text, self._lines(r))]
            targets = [target for _, target in parts]
            lines = [min(_lines_of_function(self._source.text, name)), *(min(lines) for lines in targets)]
            calls: Calls = self._checker.find_calls(
                Path(self._source.path),
                self._source.text,
                name,
                list(dict.fromkeys(lines)),
                targets,
                frozenset(r.finding.hazard.kind for r in own if r.finding.hazard is not None),
                [self._writes(r) for r, _ in parts],
            )
            answers = self._calls[name] = {}
            for (result, _), call in zip(parts, calls.calls, strict=True):
                answers.setdefault(result.finding.identity, []).append((call, calls.reason))
        return self._calls[name]

    def _writes(self, result: Result) -> frozenset[int]:
        """The lines of the write that a fix cures, where it is in the text as it was read."""
        return lines_of(self._source, (), self._written(result))

    def _written(self, result: Result) -> list[Span]:
        """That write itself."""
        hazard = result.finding.hazard
        return [hazard.write.span] if hazard is not None and result.source is self._source else []

    def _own(self, result: Result, before: FixResult, after: FixResult) -> Own:
        """The lines of one fix, in both texts, and what it is to cure."""
        source, hazard, name = self._source, result.finding.hazard, result.finding.identity.qualname
        spans = [edit.span for edit in self._edits(result)]
        if name != MODULE:  # lines outside, as of an import, run without it
            body = _lines_of_function(source.text, name)
            spans = [span for span in spans if body.intersection(_lines_at(source, span))] or spans
        return Own(
            before=lines_of(source, before.edits, spans),
            after=lines_of(source, after.edits, spans),
            causes=lines_of(source, before.edits, [*spans, *self._written(result)]),
            kind=None if hazard is None else hazard.kind,
            predicted=_certain(result),
        )

    def _edits(self, result: Result) -> tuple[Edit, ...]:
        """What one fix changes in the text as it was read."""
        if result.source is self._source:
            return result.fix.edits if result.fix else ()
        # what it says about itself counts in a text that others have changed
        own = frozenset({result.finding.identity})
        without = self.fix(own).edits if len(self._plan.fixed.applied) > 1 else ()
        return tuple(set(without) ^ set(self._plan.fixed.edits))

    def _lines(self, result: Result) -> frozenset[int]:
        """The lines that a call must reach, of which one is enough: those that the fix changes, else the finding's."""
        source, own = self._source, result.finding.identity
        edits = self._edits(result)
        if edits:
            return frozenset(line for edit in edits for line in _lines_at(source, edit.span))
        is_here = result.source is source
        return lines_of(source, (), [result.finding.span]) if is_here else _lines_of_function(source.text, own.qualname)


def _concerned_findings(before: FixResult, after: FixResult) -> list[Result]:
    """The findings that the text of `before` still has and the fixes of `after` cure."""
    if not before.applied:
        return list(after.applied)
    left = {r.finding.identity for r in before.left}
    return [r for r in after.applied if r.finding.identity in left]


def _lines_at(source: Source, span: Span) -> range:
    """The lines that a span touches, the one it stands in where it is empty."""
    return range(source.position(span.start).line, source.position(max(span.start, span.end - 1)).line + 1)


def _certain(result: Result) -> bool:
    return result.finding.severity is Severity.ERROR


def _by_function(text: str, lines: frozenset[int]) -> list[frozenset[int]]:
    """`lines` by the innermost function around each; all of them where none stands in one."""
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    parts: dict[int, set[int]] = {}
    for line in sorted(lines):
        around = [n.lineno for n in functions if n.body[0].lineno <= line <= (n.end_lineno or n.lineno)]
        if around:
            parts.setdefault(max(around), set()).add(line)
    return [frozenset(part) for part in parts.values()] or [lines]


def _lines_of_function(text: str, qualname: str) -> frozenset[int]:
    """The lines of a function's body, by its dotted name."""
    body: list[ast.stmt] = list(ast.parse(text).body)
    for part in qualname.split("."):
        found = [node for node in body if getattr(node, "name", None) == part]
        if not found:
            break
        body = list(found[0].body)  # type: ignore[attr-defined]  # what has a name here has a body
    return frozenset(range(body[0].lineno, (body[-1].end_lineno or 0) + 1))
