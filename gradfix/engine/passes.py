"""One pass of fixing: what each finding of a text is in the original, and which of the fixes are applied together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gradfix import edits as edit_sets
from gradfix import syntax
from gradfix.edits import Edit
from gradfix.engine.origins import Origins
from gradfix.engine.policy import Policy
from gradfix.engine.taken import Spoken, Taken
from gradfix.errors import EditError, FileProblem
from gradfix.findings import Applicability, Declined, Exclusion, Finding, Fix, Identity, Refusal, RefusalKind
from gradfix.results import Result, Status
from gradfix.source import Source, Span

FRUITLESS = 7  # passes in which the findings in a text that fixes made may fail to get fewer
_REJECTED = Refusal(RefusalKind.REJECTED, "its fix was rejected by the backward check")


@dataclass(frozen=True, slots=True)
class Option:
    """A finding of one pass: as it is reported, under the identity that exclusions know, with its edits here."""

    result: Result
    identity: Identity
    here: tuple[Edit, ...]


class Passes:
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

    def at_home(self, result: Result, origins: Origins, number: int) -> Option:
        """`result` of a later text told in places of the original, where its place wasn't edited."""
        original = result.finding if number == 1 else self._original(result.finding, origins)
        result = self._without_declined(result, (original or result.finding).identity)
        here = result.fix.edits if result.fix else ()
        if original is None:
            return Option(replace(result, passes=number), result.finding.identity, here)
        fixes = [_fix_at_home(fix, origins) for fix in (result.fix, *result.alternatives) if fix is not None]
        told = [fix for fix in fixes if fix is not None]
        if len(told) < len(fixes):
            known = replace(result.finding, identity=original.identity)
            return Option(replace(result, finding=known, passes=number), original.identity, here)
        best, others = (told[0], tuple(told[1:])) if told else (None, ())
        moved = replace(result, source=self._source, finding=original, fix=best, alternatives=others)
        return Option(moved, original.identity, here)

    def roots(self, option: Option, origins: Origins) -> Iterator[Identity]:
        """The findings of the original whose fixes made the text that this option is to change."""
        replaced = origins.replaced(option.here[0].span.start) if option.here else None
        if replaced is None:
            return
        for finding in self._originals:
            if finding.identity not in self._returning and finding.span.overlaps(replaced):
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
        self, current: Source, options: Sequence[Option], *, patient: bool
    ) -> tuple[list[Option], list[Result]]:
        """Which options to apply now, and the results of those that never will be; the rest wait for the next pass."""
        taken: list[Option] = []
        places, spoken = Taken(), Spoken()
        left: list[Result] = []
        renewed: set[tuple[str, str]] = set()
        for option in sorted(options, key=lambda o: -o.result.finding.severity.rank):
            why = self._why_not(option)
            if why is not None:
                left.append(replace(option.result, status=Status.LEFT, refusal=why))
                continue
            storage = _storage(option)
            lines = [_whole_lines(current, edit) for edit in option.here]
            here = (*lines, *(edit for edit in option.here if not len(edit.span)))  # what two put at one place mixes
            if (patient and storage in renewed) or places.collides(here) or spoken.collides(current, option.here):
                continue
            taken.append(option)
            places.take(here)
            spoken.take(current, option.here)
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
        gone = (o for o in self._originals if o.identity not in told and self.policy.wants(o))
        return tuple(Result(self._source, finding, Status.CURED) for finding in gone)

    def _why_not(self, option: Option) -> Refusal | None:
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
        if not self.policy.allows(fix.applicability):
            return Refusal(RefusalKind.ASKS, "its fix is unsafe", "`--unsafe-fixes` applies it")
        return None


class Bred:
    """The findings in text that fixes made: where they don't get fewer over some passes, the fixes breed them."""

    def __init__(self) -> None:
        self._fewest: dict[Identity, int] = {}
        self._since: Counter[Identity] = Counter()

    def seen(self, there: Mapping[Identity, int], fixed: Collection[Identity]) -> frozenset[Identity]:
        """Note how many are there in this pass, by the finding of the original, and where some are fixed.

        Returns those that breed.
        """
        for root, count in there.items():
            if count < self._fewest.get(root, count + 1):
                self._fewest[root] = count
                self._since[root] = 0
            elif root in fixed:
                self._since[root] += 1
        return frozenset(root for root, passes in self._since.items() if passes > FRUITLESS)


def _storage(option: Option) -> tuple[str, str] | None:
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
    puts_lines = edit.text.rstrip(" \t").endswith(("\n", "\r")) or edit.text.startswith(("\n", "\r"))
    if (not len(edit.span) and puts_lines) or edit.span.end > len(source.text):
        return edit
    first, last = (source.position(at).line for at in (edit.span.start, max(edit.span.start, edit.span.end - 1)))
    return replace(edit, span=Span(source.line_span(first).start, source.line_span(last).end))


def _split_by_parsing(current: Source, batch: Sequence[Option]) -> tuple[list[Option], list[Option]]:
    """The options that together still parse, and those that don't; each is tried only when the whole doesn't parse."""
    if _parses(current, batch):
        return list(batch), []
    kept: list[Option] = []
    broken: list[Option] = []
    for option in batch:
        (kept if _parses(current, [*kept, option]) else broken).append(option)
    return kept, broken


def _parses(current: Source, batch: Sequence[Option]) -> bool:
    if not batch:
        return True
    try:
        text = edit_sets.apply(current.text, (edit for option in batch for edit in option.here))
        syntax.parse(replace(current, text=text))
    except (FileProblem, EditError):
        return False
    return True
