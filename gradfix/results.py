"""What became of each finding and each file: the values that `engine` and `run` make and `report` renders."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gradfix.edits import Edit
from gradfix.errors import FileProblem
from gradfix.findings import Finding, Fix, Judgement, Refusal
from gradfix.source import Source


class Status(Enum):
    """What was done about a finding."""

    FOUND = "found"  # reported only
    APPLIED = "applied"  # its fix is part of the new text
    CURED = "cured"  # needs no fix of its own any more: those of others made it harmless
    LEFT = "left"  # stays as it is; the refusal says why


@dataclass(frozen=True, slots=True)
class Result:
    """One finding with what can be, or was, done about it. All spans and edits count in `source.text`.

    `source` is the file as it was read, but for a finding that only came up after other fixes (`passes` > 1) it is the
    text those fixes made.
    """

    source: Source
    finding: Finding
    status: Status
    fix: Fix | None = None  # the best one
    alternatives: tuple[Fix, ...] = ()
    refusal: Refusal | None = None  # why there is no fix, or why it wasn't applied
    judgement: Judgement | None = None
    passes: int = 1


@dataclass(frozen=True, slots=True)
class FixResult:
    """What fixing one text comes to: `edits` are on the text given, whatever number of passes they took."""

    edits: tuple[Edit, ...] = ()
    applied: tuple[Result, ...] = ()
    left: tuple[Result, ...] = ()
    passes: int = 0
    cured: tuple[Result, ...] = ()

    @property
    def results(self) -> tuple[Result, ...]:
        """All of them, by place."""
        every = self.applied + self.left + self.cured
        return tuple(sorted(every, key=lambda result: (result.passes, result.finding.order)))


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file. `edits` turn the text that was read into the new one."""

    path: str  # as the user named it
    source: Source | None = None  # None: it couldn't be read
    results: tuple[Result, ...] = ()
    edits: tuple[Edit, ...] = ()
    problem: FileProblem | None = None
