"""The parent's end of the guarded server: starts it in the user's interpreter, sends runs, reads what they report."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from gradfix.backward.limits import Limits
from gradfix.backward.protocol import ProtocolError, Run, answer_of, run_of, said_of
from gradfix.backward.runner import LostError, RefusedError
from gradfix.backward.surroundings import environment
from gradfix.backward.worker.messages import Config
from gradfix.backward.worker.requests import PROTOCOL, Request

GRACE = 30.0  # seconds the server gets beyond a run's own bound before it is given up: it may import what runs did

_WORKER = Path(__file__).resolve().parent / "worker" / "start.py"


class Server:
    """A guarded server process. Close it, or leave the `with`: nothing it started survives."""

    def __init__(self, python: str, limits: Limits, *, trust: bool, without: tuple[str, ...] = ()) -> None:
        self._python, self._limits = python, limits
        self._number = 0
        self._scratch = tempfile.mkdtemp(prefix="gradfix-")
        self._partial = b""
        self._pending: deque[bytes] = deque()
        requests_read, self._requests = os.pipe()
        self._replies, replies_write = os.pipe()
        lifeline_read, self._lifeline = os.pipe()
        inherited = (requests_read, replies_write, lifeline_read)
        config: Config = {
            "requests": requests_read,
            "replies": replies_write,
            "lifeline": lifeline_read,
            "scratch": self._scratch,
            "limits": asdict(limits),
            "trust": trust,
            "without": list(without),
            "python": python,
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_WORKER), json.dumps(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment(self._scratch),
                pass_fds=inherited,
                start_new_session=True,
            )
        except OSError as error:
            self._let_go()
            raise RefusedError(f"{sys.executable} can't be started ({error.strerror})") from None
        finally:
            for fd in inherited:
                os.close(fd)
        self.walls: tuple[str, ...] = ()
        self.fresh = False
        self._greet()

    def _greet(self) -> None:
        """Wait until the server is ready, mostly with torch loaded, and learn which walls stand."""
        try:
            hello = answer_of(next(self._lines(time.monotonic() + self._limits.start))[1])
            if "refused" in hello:
                raise RefusedError(str(hello.get("refused", "the server gave no answer")))
            if hello["protocol"] != PROTOCOL:
                raise RefusedError(f"the server speaks protocol {hello['protocol']}, this is {PROTOCOL}")
        except (LostError, ProtocolError) as error:
            self.close()
            raise RefusedError(f"{self._python} didn't come up: {error}") from None
        except BaseException:
            self.close()
            raise
        self.walls, self.fresh = tuple(hello["walls"]), bool(hello["fresh"])

    def run(self, request: Request) -> Run:
        """Make one run.

        One that imported installed modules is made again: from then on the server has them, which may leave other
        random numbers to the program. Raises `LostError` when the server is gone, `ProtocolError` when the report is
        nonsense.
        """
        run = self._run(request)
        once = request.search is not None or request.command is not None or self.fresh
        return run if once or run.ended is None or not run.ended.met else self._run(request)

    def _run(self, request: Request) -> Run:
        """Make one run. A server that can't fork with torch in it starts over without, and is asked again."""
        self._number += 1
        data = memoryview(json.dumps(request.message(self._number)).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._requests, data) :]
        except OSError as error:
            raise LostError(f"it can't be reached ({error.strerror})") from None
        said: list[bytes] = []
        start = self._limits.start if self.fresh else 0.0
        for origin, line in self._lines(time.monotonic() + start + request.seconds + GRACE):
            if origin == b"S":
                end = answer_of(line)
                if end.get("fresh"):
                    self._greet()
                    return self._run(request)
                if end.get("end") != self._number:
                    raise LostError(str(end.get("refused", "it lost count")))
                return run_of([said_of(one) for one in said], end, len(request.further))
            said.append(line)
        raise LostError("it closed the line")

    def _lines(self, deadline: float) -> Iterator[tuple[bytes, bytes]]:
        """Pairs of origin (`S`: the server itself, `C`: the process with user code) and message."""
        while True:
            while self._pending:
                line = self._pending.popleft()
                yield line[:1], line[1:]
            ready, _, _ = select.select([self._replies], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise LostError("it didn't answer in time")
            chunk = os.read(self._replies, 1 << 20)
            if not chunk:
                raise LostError("it ended without an answer")
            *lines, self._partial = (self._partial + chunk).split(b"\n")
            self._pending.extend(lines)

    def close(self) -> None:
        """End the server and everything below it, and remove its scratch directory. May be called twice."""
        self._let_go()
        if self._process.poll() is None:
            try:
                self._process.wait(8)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._remove_scratch()

    def hang_up(self) -> None:
        """Make the server end, from any thread; whoever waits for its answer is told that it ended."""
        self._let_go("_lifeline")

    def _let_go(self, *names: str) -> None:
        for name in names or ("_lifeline", "_requests", "_replies"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        if not hasattr(self, "_process"):
            self._remove_scratch()

    def _remove_scratch(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
