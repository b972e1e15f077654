"""Finds the interpreter that has the user's torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def find_python(explicit: str | None, configured: str | None, start: Path) -> str:
    """`--python`, the configuration, `VIRTUAL_ENV`, the nearest `.venv` at or above `start`, else this interpreter.

    Existence is checked only for what is found by looking; a name that was given is returned as it is.
    """
    for given in (explicit, configured):
        if given:
            return given
    active = os.environ.get("VIRTUAL_ENV")
    folders = [Path(active)] if active else []
    start = start.absolute()
    folders += [folder / ".venv" for folder in (start, *start.parents)]
    for folder in folders:
        for candidate in (folder / "bin" / "python", folder / "Scripts" / "python.exe"):
            if os.access(candidate, os.X_OK):
                return str(candidate)
    return sys.executable
