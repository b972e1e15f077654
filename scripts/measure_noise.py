"""Prints how often `gradfix check` speaks up in libraries: `python scripts/measure_noise.py FOLDER...`.

Each folder is an unpacked library. A row gives the lines of its Python files that import torch, the findings of default
severity among them, findings per 1,000 of those lines, files that couldn't be done, and seconds of wall time.
docs/precision.md has a table of such rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradfix.engine.prefilter import mentions_torch

CHECK = (sys.executable, "-m", "gradfix", "check", "--isolated", "--output-format", "json")
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Noise:
    """What one library's check said."""

    library: str
    lines: int
    findings: int
    errors: int
    seconds: float

    @property
    def per_thousand(self) -> float:
        """Findings per 1,000 lines of files that import torch; 0 without such a file."""
        return 1000 * self.findings / self.lines if self.lines else 0.0


def main(folders: Sequence[str]) -> None:
    """Measure the libraries one after the other, and print a row as soon as it is known."""
    print("| library | lines | findings | per 1,000 | errors | seconds |\n|---|---:|---:|---:|---:|---:|")
    for folder in folders:
        row = measure(Path(folder).resolve(strict=True))
        numbers = f"{row.lines:,} | {row.findings} | {row.per_thousand:.2f} | {row.errors} | {row.seconds:.1f}"
        print(f"| {row.library} | {numbers} |", flush=True)


def measure(folder: Path) -> Noise:
    """Check `folder` in a process of its own; raises CalledProcessError where that printed no list of findings."""
    start = time.perf_counter()
    done = subprocess.run([*CHECK, str(folder)], capture_output=True, text=True, check=False, cwd=ROOT)
    seconds = time.perf_counter() - start
    if not done.stdout:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    codes = [finding["code"] for finding in json.loads(done.stdout)]
    errors = codes.count(None)
    return Noise(folder.name, torch_lines(folder), len(codes) - errors, errors, seconds)


def torch_lines(folder: Path) -> int:
    """Lines, blank ones and comments too, of the Python files under `folder` that import torch."""
    texts = (path.read_bytes() for path in folder.rglob("*.py"))
    return sum(len(text.splitlines()) for text in texts if mentions_torch(text))


if __name__ == "__main__":
    main(sys.argv[1:])
