"""What makes runs for the check: a guarded server, or where none can be, a process for each run."""

from __future__ import annotations

from typing import Protocol

from gradfix.backward.protocol import Run
from gradfix.backward.worker.requests import Request


class RefusedError(Exception):
    """Nothing can be run here; the message is the reason for the user."""


class LostError(Exception):
    """What makes the runs stopped answering and was ended."""


class Runner(Protocol):
    """Makes one run after the other. Close it: nothing it started survives."""

    @property
    def walls(self) -> tuple[str, ...]:
        """What stands around the runs."""

    @property
    def fresh(self) -> bool:
        """Whether each run is a process that imports torch itself."""

    def run(self, request: Request) -> Run:
        """Make one run. Raises `RefusedError`, `LostError`, and `ProtocolError` when the report is nonsense."""

    def close(self) -> None:
        """End everything and remove what was written. May be called twice."""

    def hang_up(self) -> None:
        """End what is under way, from any thread; who waits for it gets a `LostError`."""
