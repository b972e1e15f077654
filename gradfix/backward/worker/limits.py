"""Bounds of what a check may cost, and those of them that the kernel itself enforces on a process and its children.

Systems without the module `resource` know neither: then nothing is bounded here, and what is used is 0.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from dataclasses import dataclass
from mmap import PAGESIZE

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

MIB = 1 << 20
PATIENCE = 3  # times a bound of time, after which it is over however busy the machine is


@dataclass(frozen=True)
class Limits:
    """Times in seconds, sizes in bytes. Every bound is enforced outside the process that runs the user's code."""

    seconds: float = 20.0  # one run
    case: float = 30.0  # all runs of one case; no new pair of runs is started afterwards
    search: float = 15.0  # looking for calls of one function, its imports included
    command: float = 300.0  # one run of the user's own command
    total: float = 600.0  # all cases of one `Checker`
    start: float = 120.0  # until the interpreter has imported torch
    memory: int = 4096 * MIB  # resident size of a run, all its processes together
    output: int = 8 * MIB  # what a run prints
    file_size: int = 256 * MIB  # one file a run writes
    scratch: int = 512 * MIB  # all files a run writes
    report: int = 64 * MIB  # what a run reports to the check
    processes: int = 64  # processes alive at once in one run
    backwards: int = 8  # backward passes observed in one run; it is stopped after the last one


def set_limits(limits: Limits, seconds: float) -> None:
    """Bound this process, which has used memory and time of its own, for what it does from here on."""
    if resource is None:
        return
    size = _address_space() + limits.memory
    for what, value in (
        *([(resource.RLIMIT_NPROC, 4 * limits.processes)] if _counts_own_processes() else ()),
        (resource.RLIMIT_AS, size),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_CPU, int(time.process_time() + seconds) + 5),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (value, value))


def resident() -> int:
    """Bytes of memory this process has now; where that isn't told, those it had at its peak."""
    try:
        with open("/proc/self/statm", encoding="ascii") as handle:
            return int(handle.read().split()[1]) * PAGESIZE
    except OSError:
        return peak()


def peak() -> int:
    """Bytes of memory this process had at its peak."""
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def waited(pid: str) -> float:
    """Seconds for which a process could have gone on and had no processor; 0 where the system doesn't tell."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as handle:
            return int(handle.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _counts_own_processes() -> bool:
    """Whether RLIMIT_NPROC counts this user namespace alone, threads included: since Linux 5.14, never for root."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as handle:
            own = handle.read().split()[2] == "1"  # not the initial namespace, which maps all
        return own and tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (5, 14)
    except (OSError, IndexError, ValueError):
        return False


def _address_space() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as handle:
            return int(handle.read().split()[0]) * PAGESIZE
    except OSError:
        return 8 << 30
