"""Whether the conflicts that a rewritten text still has are its own, told from traced runs of both texts.

torch reports one conflict at a time, so a program with two hazards still raises when one is cured. A conflict belongs
to a rewrite when the write of it is the one that is meant to be cured, or stands in lines that the rewrite changed, or
right behind lines that it put in. A loss that is disconnected or no scalar has no such line: it belongs to every
rewrite that is meant to cure it, to no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gradfix.backward.protocol import Conflict, Run
from gradfix.backward.verdict.compare import DiffersError
from gradfix.backward.verdict.endings import UncheckedError, still_raises
from gradfix.backward.verdict.evidence import Subject
from gradfix.backward.verdict.failures import Failure
from gradfix.findings import HazardKind
from gradfix.source import Source

SILENT = "silent-write"  # nothing raises because of it
ANYWHERE = frozenset({HazardKind.DISCONNECTED, HazardKind.NON_SCALAR_BACKWARD})  # not the conflict of one write
_FAITHFUL = {HazardKind.SAVED_THEN_WRITTEN.value, *(kind.value for kind in ANYWHERE)}  # leave the graph as it is
_ANYWHERE = frozenset(kind.value for kind in ANYWHERE)


@dataclass(frozen=True, slots=True)
class Lines:
    """How the lines of two texts correspond, by the lines that differ (all from 1)."""

    changed_before: frozenset[int]
    changed_after: frozenset[int]
    origins: dict[int, int]  # unchanged lines of the second text -> of the first
    before_own: frozenset[int]  # lines of the first text that the rewrite concerns

    @classmethod
    def of(cls, subject: Subject) -> Lines | None:
        """None when the changed lines can't be right: the others differ in number, too."""
        changed_before, changed_after = subject.changed_before, subject.changed_after
        before, after = (Source.from_text(subject.path, t).line_count for t in (subject.before, subject.after))
        ours = [n for n in range(1, before + 1) if n not in changed_before]
        theirs = [n for n in range(1, after + 1) if n not in changed_after]
        if len(ours) != len(theirs):
            return None
        origins = dict(zip(theirs, ours, strict=True))
        behind = {origins[n] for n in theirs if n - 1 in changed_after and origins[n] - 1 not in changed_before}
        return cls(changed_before, changed_after, origins, changed_before | behind | subject.writes)


@dataclass(frozen=True, slots=True)
class Told:
    """What two lists of conflicts say about the rewrite between them."""

    cured: tuple[Conflict, ...]  # its own, of the original
    left: tuple[Conflict, ...]  # its own, still there
    others: tuple[Conflict, ...]  # not its own, as the original has them, too
    fresh: tuple[Conflict, ...]  # not its own; the original doesn't have them
    blurred: bool  # forbidden writes of the original were made behind autograd's back: what it connects isn't known


def told(lines: Lines | None, path: str, before: Run, after: Run, kinds: frozenset[HazardKind]) -> Told:
    """Compare the traced runs of the original and the rewritten text of the file `path`.

    `kinds` are the hazards that the rewrite is meant to cure.
    """
    if lines is None:
        return Told((), (), (), (), blurred=False)
    meant = {kind.value for kind in ANYWHERE & kinds}
    unmeant = {kind.value for kind in ANYWHERE - kinds}
    after_own = lines.changed_after | {n for n, origin in lines.origins.items() if origin in lines.before_own}

    def own(conflict: Conflict, among: frozenset[int]) -> bool:
        at_its_lines = conflict.kind not in unmeant and _stands_in(conflict, path, among)
        return conflict.kind in meant or at_its_lines

    ours, theirs = list(_raising(before)), list(_raising(after))
    blurred = any(conflict.kind not in _FAITHFUL for conflict in ours)
    ours = [conflict for conflict in ours if not (blurred and conflict.kind == HazardKind.DISCONNECTED.value)]
    places: dict[tuple[str, str, int | None], list[Conflict]] = {}
    for conflict in ours:
        places.setdefault(_place(conflict, path, None), []).append(conflict)
    left = [conflict for conflict in theirs if own(conflict, after_own)]
    rest = [(conflict, places.get(_place(conflict, path, lines), [])) for conflict in theirs if conflict not in left]
    return Told(
        cured=tuple(conflict for conflict in ours if own(conflict, lines.before_own)),
        left=tuple(left),
        others=tuple(dict.fromkeys(_twin(conflict, before) for conflict, before in rest if before)),
        fresh=tuple(conflict for conflict, before in rest if not before),
        blurred=blurred,
    )


def none_of_its_own(known: Told, subject: Subject, again: Failure, *, whole: bool) -> Told:
    """`known`, where the rewritten text raises `again`, and not because of the rewrite.

    `whole`: the original was traced to its end. Raises `DiffersError` when the rewrite is to blame, `UncheckedError`
    where the conflicts don't tell.
    """
    if not (known.left or known.others or known.fresh):
        if again.symptom.kind in subject.kinds or not subject.kinds:
            raise DiffersError(still_raises(again))
        raise UncheckedError(f"{still_raises(again)}, and no conflict tells why")
    if known.left:
        raise DiffersError(f"{still_raises(again)}: {known.left[0].told(subject.path)}")
    if known.fresh and whole and not known.blurred:
        raise DiffersError(f"{still_raises(again)}: {known.fresh[0].told(subject.path)}, which the original doesn't")
    if known.fresh:
        raise UncheckedError(
            f"{still_raises(again)}: {known.fresh[0].told(subject.path)}, which the original doesn't get to"
        )
    return known


def came_to_its_end(traced: Run) -> bool:
    """Whether nothing kept a traced run from going on to the last conflict."""
    return traced.ended is not None and traced.ended.error is None and traced.killed is None


def _raising(run: Run) -> Iterator[Conflict]:
    return (c for c in ([] if run.ended is None else run.ended.conflicts) if c.kind != SILENT)


def _stands_in(conflict: Conflict, path: str, lines: frozenset[int]) -> bool:
    at = conflict.within(path)
    return at is not None and any(n in lines for n in range(at.line, at.end_line + 1))


def _twin(conflict: Conflict, before: list[Conflict]) -> Conflict:
    """Of conflicts of the original at the same place, the one that overwrites what the same function saved, or any."""
    return next((one for one in before if one.saved_by == conflict.saved_by), before[0])


def _place(conflict: Conflict, path: str, lines: Lines | None) -> tuple[str, str, int | None]:
    """Kind, file and line of a conflict, the line as the original counts it; where lines don't matter, the kind."""
    write = None if conflict.kind in _ANYWHERE else conflict.write
    if write is None:
        return conflict.kind, "", None
    line = write.line if lines is None or write.file != path else lines.origins.get(write.line)
    return conflict.kind, write.file, line
