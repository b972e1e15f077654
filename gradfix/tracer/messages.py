"""The conflicts of a run as JSON objects; whoever reads them needs no torch."""

from __future__ import annotations

from typing import TypedDict


class SpotMessage(TypedDict):
    """A `spots.Spot`."""

    file: str
    function: str
    line: int
    end_line: int
    column: int | None
    end_column: int | None
    text: str
    time: int


class ConflictMessage(TypedDict):
    """A `conflicts.Conflict`."""

    kind: str
    write: SpotMessage | None
    through: SpotMessage | None
    by: str
    save: SpotMessage | None
    saved_by: str
    shape: list[int]
    dtype: str
    times: int
    message: str
