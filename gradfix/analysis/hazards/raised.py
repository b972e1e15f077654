"""What torch raises at a write itself, or at the backward behind it, and who handles the error."""

from __future__ import annotations

import ast

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import HazardNote, Overwriting, WriteRecord
from gradfix.analysis.facts import Obstacle, ObstacleKind
from gradfix.findings import HazardKind


def note(m: Machine, record: WriteRecord, hazard: HazardNote, *, certain: bool) -> None:
    """Remember a hazard that raises where the interpreter is."""
    m.notes.add_hazard(record, hazard, m.passage(), certain and m.handled is None)
    if m.handled is not None:
        _handle(m, record, m.handled)


def expect(m: Machine, record: Overwriting, kind: HazardKind) -> bool:
    """Whether a `with` asks for the error of a backward for such a write: `with pytest.raises(RuntimeError):`."""
    if kind is not HazardKind.SAVED_THEN_WRITTEN or not isinstance(m.handled, (ast.With, ast.AsyncWith)):
        return False
    if isinstance(record, WriteRecord):
        _handle(m, record, m.handled)
    return True


def _handle(m: Machine, record: WriteRecord, handler: ast.AST) -> None:
    record.add_obstacle(Obstacle(ObstacleKind.HANDLED, "the error", m.place(handler, "its error ends here")))
