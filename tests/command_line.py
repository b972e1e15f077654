"""`gradfix` command lines, run in this process."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from gradfix.command_line import cli


@dataclass(frozen=True, slots=True)
class Done:
    """What a command line printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def gradfix(*arguments: str, cwd: Path) -> Done:
    """Run a command line in a folder."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before = Path.cwd()
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run(list(arguments))
    finally:
        os.chdir(before)
    return Done(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))  # type: ignore[attr-defined]
