"""stdout and stderr: bytes that can be written whatever the encoding, colour where it is wanted, Ctrl-C held off."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TextIO

from gradfix.errors import GradfixError
from gradfix.report.paint import Paint
from gradfix.report.visible import visible

_ENDING = tuple(number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None)


@dataclass(frozen=True, slots=True)
class Screen:
    """Where results go (`out`) and everything about them (`err`)."""

    out_paint: Paint
    err_paint: Paint
    quiet: bool = False

    @classmethod
    def open(cls, color: str, *, quiet: bool = False) -> Screen:
        """`color` is `auto`, `always` or `never`; `auto` honours NO_COLOR, then FORCE_COLOR, then the terminal."""
        return cls(Paint(_coloured(color, sys.stdout)), Paint(_coloured(color, sys.stderr)), quiet)

    def out(self, text: str | bytes) -> None:
        """Write the result itself. Bytes go as they are; characters the terminal lacks are shown as escapes."""
        _write(sys.stdout, text)

    def err(self, text: str | bytes) -> None:
        """Write what was asked for, where stdout is taken."""
        _write(sys.stderr, text)

    def tell(self, line: str) -> None:
        """Say something about the work itself, unless it shall be quiet."""
        if not self.quiet:
            _write(sys.stderr, f"{line}\n")

    def complain(self, line: str) -> None:
        """Say what went wrong."""
        _write(sys.stderr, f"{line}\n")

    @contextmanager
    def progress(self, total: int, *, patience: float = 0.0) -> Iterator[Counter]:
        """A line on stderr that is written over, where a person looks at it for more than `patience` seconds."""
        counter = Counter(total, shown=not self.quiet and sys.stderr.isatty(), since=time.monotonic() + patience)
        try:
            yield counter
        finally:
            counter.clear()

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Hold off Ctrl-C and its like, so that either nothing is written or everything; they count afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        held: list[int] = []

        def hold(number: int, frame: FrameType | None) -> None:
            held.append(number)

        before = {number: signal.signal(number, hold) for number in (signal.SIGINT, *_ENDING) if _is_heard(number)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if held:
            self.complain("interrupted while writing: all files are written")


class Counter:
    """ "12/40 name" on one line."""

    def __init__(self, total: int, *, shown: bool, since: float) -> None:
        self._total, self._shown, self._since, self._number = total, shown, since, 0

    def step(self, name: str) -> None:
        """The next one begins."""
        self._number += 1
        if self._shown and time.monotonic() >= self._since:
            width = shutil.get_terminal_size().columns - 1  # a longer line would wrap, and its first row stay
            line = visible(f"{self._number}/{self._total} {name}")
            _write(sys.stderr, f"\r\x1b[K{line[:width]}")

    def clear(self) -> None:
        """Take the line away."""
        if self._shown and self._number:
            _write(sys.stderr, "\r\x1b[K")


class Stopped(KeyboardInterrupt):
    """What else ends a process from outside came: all is cleaned up as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def stop_as_by_ctrl_c() -> None:
    """Have SIGTERM and SIGHUP raise `Stopped`, so that no scratch folder stays behind; not where they are ignored."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, stop)


def _is_heard(number: int) -> bool:
    return signal.getsignal(number) not in (signal.SIG_IGN, signal.SIG_DFL)


def read_stdin() -> bytes:
    """All of stdin."""
    return sys.stdin.buffer.read()


def open_closed_streams() -> None:
    """Give the process those of its three streams it was started without (`>&-`): nothing is read or kept there.

    In this order each takes its own descriptor again, which else the next file would get.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def _write(stream: TextIO, text: str | bytes) -> None:
    """Raises `GradfixError` where the system takes no more, but not where the reader has left."""
    if not text:
        return
    data = text if isinstance(text, bytes) else text.encode(stream.encoding or "utf-8", "backslashreplace")
    try:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if stream is sys.stdout else "standard error"
        raise GradfixError(f"can't write to {name}: {error.strerror}") from None


def _coloured(color: str, stream: TextIO) -> bool:
    if color != "auto":
        return color == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
