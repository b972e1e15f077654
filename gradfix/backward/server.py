"""The parent's end of the guarded server: starts it in the user's interpreter, sends runs, reads what they report."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from gradfix.backward.limits import Limits
from gradfix.backward.protocol import PROTOCOL, Message, ProtocolError, Request, Run, run_of

GRACE = 10.0  # seconds the server gets beyond a run's own bound before it is given up
_KEPT_VARIABLES = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONUSERBASE",
    "VIRTUAL_ENV",
)
_CACHES = {"TORCH_HOME": "torch", "HF_HOME": "huggingface"}  # readable, though home is elsewhere


class ServerRefusedError(Exception):
    """Nothing can be run here; the message is the reason for the user."""


class ServerDiedError(Exception):
    """The server stopped answering and was ended."""


class Server:
    """A guarded server process. Close it, or leave the `with`: nothing it started survives."""

    def __init__(self, python: str, limits: Limits, *, trust: bool, without: tuple[str, ...] = ()) -> None:
        if sys.platform != "linux":
            raise ServerRefusedError("the backward check runs on Linux only")
        self._limits = limits
        self._number = 0
        self._scratch = tempfile.mkdtemp(prefix="gradfix-")
        self._partial = b""
        self._pending: deque[bytes] = deque()
        requests_read, self._requests = os.pipe()
        self._replies, replies_write = os.pipe()
        lifeline_read, self._lifeline = os.pipe()
        inherited = (requests_read, replies_write, lifeline_read)
        config = {
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
                [sys.executable, "-I", "-S", str(Path(__file__).resolve().with_name("worker.py")), json.dumps(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(self._scratch),
                pass_fds=inherited,
                start_new_session=True,
            )
        except OSError as error:
            self._let_go()
            raise ServerRefusedError(f"{sys.executable} can't be started ({error.strerror})") from None
        finally:
            for fd in inherited:
                os.close(fd)
        self.walls = self._greet(python)

    def _greet(self, python: str) -> tuple[str, ...]:
        """Wait until torch is there. Returns the walls that stand."""
        try:
            hello = _object(next(self._lines(time.monotonic() + self._limits.start))[1])
            if "refused" in hello:
                raise ServerRefusedError(str(hello.get("refused", "the server gave no answer")))
            if hello["protocol"] != PROTOCOL:
                raise ServerRefusedError(f"the server speaks protocol {hello['protocol']}, this is {PROTOCOL}")
        except (ServerDiedError, ProtocolError) as error:
            self.close()
            raise ServerRefusedError(f"{python} didn't come up: {error}") from None
        except BaseException:
            self.close()
            raise
        return tuple(hello["walls"])

    def run(self, request: Request) -> Run:
        """Make one run.

        Raises `ServerDiedError` when the server is gone, `ProtocolError` when the report is nonsense.
        """
        self._number += 1
        data = memoryview(json.dumps(request.message(self._number)).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._requests, data) :]
        except OSError as error:
            raise ServerDiedError(f"it can't be reached ({error.strerror})") from None
        said: list[bytes] = []
        for origin, line in self._lines(time.monotonic() + request.seconds + GRACE):
            if origin == b"S":
                end = _object(line)
                if end.get("end") != self._number:
                    raise ServerDiedError(str(end.get("refused", "it lost count")))
                return run_of([_object(one) for one in said], end)
            said.append(line)
        raise ServerDiedError("it closed the line")

    def _lines(self, deadline: float) -> Iterator[tuple[bytes, bytes]]:
        """Pairs of origin (`S`: the server itself, `C`: the process with user code) and message."""
        while True:
            while self._pending:
                line = self._pending.popleft()
                yield line[:1], line[1:]
            ready, _, _ = select.select([self._replies], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ServerDiedError("it didn't answer in time")
            chunk = os.read(self._replies, 1 << 20)
            if not chunk:
                raise ServerDiedError("it ended without an answer")
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


def _object(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except ValueError:
        raise ProtocolError("the run reported what is no JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("the run reported what is no object")
    return message


def _environment(scratch: str) -> dict[str, str]:
    """What a run may know: where programs and libraries are, nothing else of the user's environment."""
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    if "PYTHONPATH" in environment:  # relative entries are meant from here
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, environment["PYTHONPATH"].split(os.pathsep)))
    environment.update(
        HOME=scratch,
        PYTHONHASHSEED="0",
        OMP_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="",
        TORCH_COMPILE_DISABLE="1",
        MPLBACKEND="Agg",
        PYTHONDONTWRITEBYTECODE="1",
    )
    environment.setdefault("PYTHONUSERBASE", site.getuserbase())
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    for name, folder in _CACHES.items():
        environment[name] = os.environ.get(name, os.path.join(cache, folder))
    return environment
