"""The guarded server: one forked child a run, bounded in time, memory, processes, output and files.

It holds torch, warmed, and no user code; where a process with torch in it can't be forked, each run imports its own.
What a run leaves behind is killed before the next one starts: as process 1 of its own namespace with one signal to all,
else by walking the children this process has adopted.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from mmap import PAGESIZE
from os import _exit  # the user's code may replace what `os` holds

from gradfix.backward.worker.limits import PATIENCE, Limits, set_limits, waited
from gradfix.backward.worker.messages import BEGUN, Answer, Said
from gradfix.backward.worker.requests import Request, numbered

TICK = 0.02  # seconds between two looks at what a run uses
KEPT_OUTPUT = 256 * 1024  # bytes of stdout and of stderr that are kept

Runner = Callable[[Request, str, Callable[[Said], None]], None]  # the request, and the directory of the run
Prepare = Callable[[Request, Iterable[str]], None]
Begin = Callable[[], Runner]


class CannotForkError(Exception):
    """The system has no process for a run."""


@dataclass
class _Usage:
    """What a finished run used and how it ended."""

    killed: str | None = None  # the bound it broke
    output: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    printed: int = 0
    reported: int = 0
    begun: float | None = None  # when the run had torch and came to the user's code
    waited: float = 0.0  # seconds before that for which it had no processor


class Server:
    """Reads requests from one descriptor, answers on another, one run after the other."""

    def __init__(self, requests: int, replies: int, *, scratch: str, limits: Limits, own_pids: bool) -> None:
        self._requests, self._replies = requests, replies
        self._scratch, self._limits, self._own_pids = scratch, limits, own_pids
        self._used: dict[str, None] = {}  # installed modules that runs met, in order
        self._own_proc = own_pids and _process_of_proc() == "1"

    def serve(self, begin: Begin, prepare: Prepare | None = None) -> None:
        """Answer every request line until the other side closes.

        `prepare` is called here before each run, `begin` in the run's own process. Raises `CannotForkError`.
        """
        for line in _lines(self._requests):
            number, request = numbered(json.loads(line))
            if prepare is not None:
                prepare(request, self._used)
            self._say(self._guarded(number, request, f"{self._scratch}/run-{number}", begin))

    def _say(self, message: Answer) -> None:
        _write_all(self._replies, b"S" + json.dumps(message).encode() + b"\n")

    def _guarded(self, number: int, request: Request, place: str, begin: Begin) -> Answer:
        os.makedirs(place, 0o700, exist_ok=True)
        started = time.monotonic()
        pid, fds = self._forked(request, place, begin)
        try:
            usage = self._watch(pid, fds, request.seconds)
            seconds = time.monotonic() - (usage.begun or started) - (self._waited() - usage.waited)
            left, status = self._clear(pid, count=usage.killed is None)
        finally:
            for fd in fds:
                os.close(fd)
            shutil.rmtree(place, ignore_errors=True)
        return {
            "end": number,
            "seconds": max(0.0, seconds),
            "killed": usage.killed,
            "status": status,
            "left": left,
            "output": usage.output.decode("utf-8", "replace"),
            "errors": usage.errors.decode("utf-8", "replace"),
        }

    def _forked(self, request: Request, place: str, begin: Begin) -> tuple[int, list[int]]:
        """Start a run. Returns its process and where its output, its errors and its report are read."""
        pipes = [os.pipe() for _ in range(3)]
        try:
            pid = os.fork()
        except OSError as error:
            for fd in itertools.chain(*pipes):
                os.close(fd)
            raise CannotForkError(error.strerror) from None
        if pid == 0:
            self._become_run(request, place, begin, [write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        return pid, [read for read, _ in pipes]

    def _become_run(self, request: Request, place: str, begin: Begin, fds: list[int]) -> None:
        """The child's whole life. Ends in `os._exit`, so that nothing of the server is ever run twice."""
        code = 70
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            out, err, report = fds
            os.dup2(out, 1)
            os.dup2(err, 2)
            kept = os.dup(report)
            for fd in (self._requests, self._replies):
                os.close(fd)
            os.set_inheritable(kept, False)
            run = begin()
            _write_all(kept, BEGUN)
            set_limits(self._limits, request.seconds)
            run(request, place, lambda message: _write_all(kept, json.dumps(message).encode() + b"\n"))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            _exit(code)

    def _watch(self, pid: int, fds: list[int], seconds: float) -> _Usage:
        """Read what the run says and prints until it ends or breaks a bound; `seconds` count once it has begun."""
        usage, pending = _Usage(), bytearray()
        deadline, bound = time.monotonic() + self._limits.start, self._limits.start
        poll = select.poll()
        for fd in fds:
            os.set_blocking(fd, False)
            poll.register(fd, select.POLLIN)
        poll.register(self._requests, select.POLLHUP)
        ended = _pidfd(pid)
        if ended is not None:
            poll.register(ended, select.POLLIN)
        next_look = time.monotonic() + TICK
        try:
            while usage.killed is None:
                ready = dict(poll.poll(TICK * 1000))
                if ready.get(self._requests, 0) & (select.POLLHUP | select.POLLERR):
                    self._clear(pid, count=False)
                    _exit(0)  # nobody is listening any more
                over = _has_ended(pid)
                for fd in fds:
                    if (over or fd in ready) and not self._drain(fd, fds, usage, pending) and fd in ready:
                        poll.unregister(fd)
                if over:
                    break
                if usage.begun is None and usage.reported:
                    usage.begun, usage.waited = time.monotonic(), self._waited()
                    deadline, bound = usage.begun + seconds, seconds
                if time.monotonic() > next_look:
                    usage.killed = usage.killed or self._broken_bound(deadline, bound, usage.waited)
                    next_look = time.monotonic() + TICK
        finally:
            if ended is not None:
                os.close(ended)
        return usage

    def _drain(self, fd: int, fds: list[int], usage: _Usage, pending: bytearray) -> bool:
        """Take what is there now. False at the end of the stream."""
        for _ in range(64):
            try:
                chunk = os.read(fd, 1 << 16)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            if fd == fds[2]:
                usage.reported += len(chunk)
                pending += chunk
                whole, newline, rest = bytes(pending).rpartition(b"\n")
                if newline:
                    pending[:] = rest
                    self._note_used(whole)
                    _write_all(self._replies, b"".join(b"C" + line + b"\n" for line in whole.split(b"\n")))
            else:
                usage.printed += len(chunk)
                kept = usage.output if fd == fds[0] else usage.errors
                kept += chunk[: max(0, KEPT_OUTPUT - len(kept))]
            if usage.printed > self._limits.output:
                usage.killed = f"it printed more than {_mib(self._limits.output)}"
                return True
            if usage.reported > self._limits.report:
                usage.killed = f"it reported more than {_mib(self._limits.report)}"
                return True
        return True

    def _note_used(self, lines: bytes) -> None:
        """Learn from a run's last message what it imported; `prepare` knows the names it accepts."""
        last = lines.rpartition(b"\n")[2]
        if last.startswith(b'{"ended"'):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._used.update(dict.fromkeys(map(str, json.loads(last)["ended"]["used"])))

    def _waited(self) -> float:
        """Seconds for which the run could have gone on and had no processor, so far."""
        return max(map(waited, self._descendants()), default=0.0)

    def _is_over(self, deadline: float, seconds: float, before: float) -> bool:
        """Whether a run has used up its time: what a busy machine lets it wait doesn't count, up to a bound."""
        late = time.monotonic() - deadline
        return late > 0 and late > min(self._waited() - before, (PATIENCE - 1) * seconds)

    def _broken_bound(self, deadline: float, seconds: float, before: float) -> str | None:
        pids = self._descendants()
        if len(pids) > self._limits.processes:  # before the time: on a busy machine they have used that up
            return f"more than {self._limits.processes} processes"
        if self._is_over(deadline, seconds, before):
            return "time"
        own = _resident("self")  # what a child shares with this process isn't its own
        if sum(max(0, _resident(pid) - own) for pid in pids) > self._limits.memory or _host_is_short():
            return f"more than {_mib(self._limits.memory)} of memory"
        if _size(self._scratch) > self._limits.scratch:
            return f"it wrote more than {_mib(self._limits.scratch)}"
        return None

    def _descendants(self) -> list[str]:
        """Process numbers, as `/proc` counts them, of everything a run has started and that still runs."""
        if self._own_proc:
            return [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        return descendants(most=self._limits.processes + 1)

    def _clear(self, pid: int, *, count: bool) -> tuple[int, int]:
        """Kill the run and all it started. Returns how many besides itself were left, and its exit status.

        Not counted, they are killed at once: something that forks without end mustn't gain time.
        """
        status: int | None = None
        pids = self._descendants() if count else []
        left = sum(1 for other in pids if _state(other) not in ("Z", "X", "")) - (0 if _has_ended(pid) else 1)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            self._kill_all()
            try:
                while True:
                    reaped, code = os.waitpid(-1, os.WNOHANG)
                    if reaped == pid:
                        status = _exit_code(code)
                    if reaped == 0:
                        break
            except ChildProcessError:
                break
            time.sleep(0.0005)
        return max(0, left), -signal.SIGKILL if status is None else status

    def _kill_all(self) -> None:
        if not self._own_pids:
            for pid in descendants():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(pid), signal.SIGKILL)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(-1, signal.SIGKILL)


def descendants(most: int = 10_000) -> list[str]:
    """Process numbers of all children of this process, and theirs, as `/proc` counts them; about `most` at the most."""
    found: list[str] = []
    todo = [_process_of_proc() or ""]
    while todo and len(found) < most:
        children = _children(todo.pop())
        found += children
        todo += children
    return found


def kill_descendants(seconds: float = 5.0) -> None:
    """Kill every descendant, also those that fork meanwhile: all are stopped before the first is killed."""
    until = time.monotonic() + seconds
    while (pids := descendants()) and time.monotonic() < until:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(pid), number)
            if number == signal.SIGSTOP:
                pids = descendants()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _exit_code(status: int) -> int:
    """Of a process that ended; minus the signal that ended it."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _lines(fd: int) -> Iterator[bytes]:
    pending = b""
    while chunk := os.read(fd, 1 << 16):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _process_of_proc() -> str | None:
    """This process as the mounted `/proc` counts it: it may show another namespace's numbers."""
    try:
        return os.readlink("/proc/self")
    except OSError:
        return None


def _children(pid: str) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as handle:
                found += handle.read().split()
    return found


def _state(pid: str) -> str:
    """R, S, D, Z … as in proc(5); "" when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as handle:
            return handle.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _resident(pid: str) -> int:
    """Bytes of memory. From `statm`: exact accounts wait for a lock that a process which forks all the time holds."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as handle:
            return int(handle.read().split()[1]) * PAGESIZE
    except (OSError, IndexError):
        return 0


def _host_is_short() -> bool:
    """Whether less than a twentieth of the host's memory can still be had."""
    try:
        with open("/proc/meminfo", encoding="ascii") as handle:
            fields = dict(line.split(":", 1) for line in handle)
        return int(fields["MemAvailable"].split()[0]) * 20 < int(fields["MemTotal"].split()[0])
    except (OSError, KeyError, ValueError):
        return False


def _size(directory: str) -> int:
    """Bytes in use on the scratch file system when it is bounded by itself (then 0), else of its files."""
    if os.path.ismount(directory):
        return 0
    total = seen = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            seen += 1
            if seen > 20_000:
                return 1 << 62
    return total


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"
