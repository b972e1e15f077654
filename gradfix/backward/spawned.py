"""Runs without a server, where no process can be forked: each in a process of its own, that imports torch anew.

No wall stands around them, so this is for users who trust what they run. Bounded are time and output, by this end, and
what the system's `resource` limits bound. A run is ended with its whole process group (on Windows: process tree);
what leaves that by a session of its own is beyond reach.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from gradfix.backward.limits import Limits
from gradfix.backward.protocol import Run, run_of, said_of
from gradfix.backward.runner import LostError, RefusedError
from gradfix.backward.surroundings import environment
from gradfix.backward.worker.messages import Config, UseMessage
from gradfix.backward.worker.requests import Request

TICK = 0.02  # seconds between two looks at a run
KEPT_OUTPUT = 256 * 1024  # bytes of stdout and of stderr that are read


class Spawned:
    """Starts a process for each run and ends it. Close it, or leave the `with`: its scratch directory is removed."""

    walls: tuple[str, ...] = ()
    fresh = True

    def __init__(self, python: str, limits: Limits) -> None:
        self._python, self._limits = python, limits
        self._scratch = Path(tempfile.mkdtemp(prefix="gradfix-"))
        self._number = 0
        self._hung_up = False

    def run(self, request: Request) -> Run:
        """Make one run. Raises `RefusedError` when the interpreter can't, `ProtocolError` as the server."""
        self._number += 1
        place = self._scratch / f"run-{self._number}"
        place.mkdir()
        try:
            return self._made(request, place)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def close(self) -> None:
        """Remove the scratch directory."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def hang_up(self) -> None:
        """End the run under way, from any thread."""
        self._hung_up = True

    def _made(self, request: Request, place: Path) -> Run:
        (place / "request.json").write_text(json.dumps(request.message(self._number)), encoding="utf-8")
        process = self._started(place)
        watch = _Watch(process, place, self._limits, request)
        try:
            while process.poll() is None and watch.killed is None:
                if self._hung_up:
                    raise LostError("it was ended")
                time.sleep(TICK)
                watch.look()
        finally:
            _end(process)
        return watch.run()

    def _started(self, place: Path) -> subprocess.Popen[bytes]:
        config: Config = {
            "request": str(place / "request.json"),
            "report": str(place / "report"),
            "place": str(place),
            "limits": asdict(self._limits),
        }
        worker = Path(__file__).resolve().parent / "worker" / "start.py"
        with open(place / "output", "wb") as output, open(place / "errors", "wb") as errors:
            try:
                return subprocess.Popen(
                    [self._python, "-S", str(worker), json.dumps(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    cwd=place,
                    env=environment(str(self._scratch)),
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                )
            except OSError as error:
                raise RefusedError(f"{self._python} can't be started ({error.strerror})") from None


class _Watch:
    """The bounds of one run, as far as they can be seen from outside, and what it left to read."""

    def __init__(self, process: subprocess.Popen[bytes], place: Path, limits: Limits, request: Request) -> None:
        self.killed: str | None = None  # the bound it broke
        self._process, self._place, self._limits, self._request = process, place, limits, request
        self._started = time.monotonic()
        self._begun: float | None = None  # when it had torch and came to the user's code

    def look(self) -> None:
        """Compare what the run uses with its bounds."""
        now, reported = time.monotonic(), self._size("report")
        if self._begun is None and reported:
            self._begun = now
        begun = self._begun
        if now > self._started + self._limits.start if begun is None else now > begun + self._request.seconds:
            self.killed = "time"
        elif self._size("output") + self._size("errors") > self._limits.output:
            self.killed = f"it printed more than {self._limits.output >> 20} MiB"
        elif reported > self._limits.report:
            self.killed = f"it reported more than {self._limits.report >> 20} MiB"

    def run(self) -> Run:
        """What is known of the run, now that it ended. Raises `RefusedError` and `ProtocolError`."""
        self.look()
        lines = self._read("report", self._limits.report).split(b"\n")[:-1]
        said = [said_of(line) for line in lines]
        refused = next((str(message["refused"]) for message in said if "refused" in message), None)
        if refused is not None:
            raise RefusedError(refused)
        status = self._process.returncode
        use: UseMessage = {
            "seconds": time.monotonic() - (self._begun or self._started),
            "killed": self.killed,
            "status": status,
            "left": 0,  # nobody counts them here
            "output": self._read("output", KEPT_OUTPUT).decode("utf-8", "replace"),
            "errors": self._read("errors", KEPT_OUTPUT).decode("utf-8", "replace"),
        }
        return run_of(said, use, len(self._request.further))

    def _size(self, name: str) -> int:
        with contextlib.suppress(OSError):
            return (self._place / name).stat().st_size
        return 0

    def _read(self, name: str, most: int) -> bytes:
        with contextlib.suppress(OSError), open(self._place / name, "rb") as handle:
            return handle.read(most)
        return b""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and, as far as the system knows them, those it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    process.kill()
    process.wait()
