"""Finds the interpreter that has the user's torch."""

from __future__ import annotations

import os
import re
import shutil
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


def torch_version(python: str) -> str | None:
    """The release of torch in the environment of an interpreter, "2.4.1+cpu": read there, nothing is run.

    None where it isn't in the environment's own folder of packages.
    """
    found = python if os.sep in python else shutil.which(python)
    prefix = Path(os.path.abspath(found or python)).parent.parent
    for pattern in ("lib/python3*/site-packages/torch/version.py", "Lib/site-packages/torch/version.py"):
        for path in sorted(prefix.glob(pattern)):
            try:
                stated = re.search(r"^__version__\s*=\s*['\"]([^'\"]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            except (OSError, ValueError):
                continue
            if stated is not None:
                return stated[1]
    return None
