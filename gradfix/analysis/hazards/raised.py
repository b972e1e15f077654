"""What torch raises at a write itself, which goes no further where the program handles the error."""

from __future__ import annotations

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import HazardNote, WriteRecord
from gradfix.analysis.facts import Obstacle, ObstacleKind


def note(m: Machine, record: WriteRecord, hazard: HazardNote, *, certain: bool) -> None:
    """Remember a hazard that raises where the interpreter is."""
    m.notes.add_hazard(record, hazard, m.passage(), certain and m.handled is None)
    if m.handled is not None:
        record.add_obstacle(Obstacle(ObstacleKind.HANDLED, "the error", m.place(m.handled, "its error ends here")))
