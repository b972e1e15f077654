"""Something done in a fork of a run's process: whatever it does there, the run goes on as if it had not been done."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable
from os import _exit  # the user's code may replace what `os` holds
from typing import Any

from gradfix.backward.worker.limits import PATIENCE, waited


def can_fork() -> bool:
    """Whether a fork would have all that this process has: not what other threads hold."""
    return hasattr(os, "fork") and threading.active_count() == 1


def in_a_fork(work: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any] | None:
    """What `work` gives, as JSON carries it; None where it doesn't come back in time, or at all. It prints nothing.

    Time without a processor doesn't count.
    """
    receiving, sending = os.pipe()
    drawn = random.getstate()
    child = os.fork()
    if child == 0:
        random.setstate(drawn)  # Python seeds it in each fork
        _work(work, sending)
    os.close(sending)
    try:
        text = _read(receiving, seconds, str(child))
    finally:
        os.close(receiving)
        with contextlib.suppress(OSError):  # the user's code may have waited for it
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _work(work: Callable[[], dict[str, Any]], sending: int) -> None:
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        with os.fdopen(sending, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(work()) + "\n")
    finally:
        _exit(0)


def _read(receiving: int, seconds: float, child: str) -> bytes:
    """One line, or nothing: a process that was left behind may hold the other end for long."""
    found, until, most = b"", time.monotonic() + seconds, (PATIENCE - 1) * seconds
    while (left := until + min(waited(child), most) - time.monotonic()) > 0:
        if not select.select([receiving], [], [], left)[0]:
            continue  # it may have waited meanwhile
        part = os.read(receiving, 1 << 16)
        found += part
        if not part or part.endswith(b"\n"):
            break
    return found
