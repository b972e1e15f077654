"""Programs as a user would start them, but in processes forked from one that has torch, which takes longest."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_FORKED = "forkserver" in multiprocessing.get_all_start_methods()
_CONTEXT = multiprocessing.get_context("forkserver" if _FORKED else "spawn")
if _FORKED:
    _CONTEXT.set_forkserver_preload(["torch", "torch._dynamo"])  # which optimizers import


@dataclass(frozen=True, slots=True)
class Ended:
    """What a program printed, and its exit code."""

    returncode: int | None  # None when it didn't end in time
    stdout: str
    stderr: str


def started(path: Path, *, seed: int | None = None) -> Ended:
    """Run `python PATH` in the folder of the program; `seed` fixes torch's generator for one that doesn't itself."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _CONTEXT.Process(target=_become, args=(str(path.absolute()), str(out), str(err), seed))
        process.start()
        process.join(120)
        code = process.exitcode
        process.kill()
        return Ended(code, out.read_text(), err.read_text())


def _become(path: str, out: str, err: str, seed: int | None) -> None:
    for name, fd in ((out, 1), (err, 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), fd)
    os.chdir(os.path.dirname(path))
    sys.argv, sys.path[0] = [path], os.path.dirname(path)
    if seed is not None:
        import torch

        torch.manual_seed(seed)
    runpy.run_path(path, run_name="__main__")
