"""stdout and stderr: encodings, Ctrl-C held off while files are written."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys

import pytest

from gradfix.command_line.terminal import Screen, Stopped, open_closed_streams, read_stdin, stop_as_by_ctrl_c
from gradfix.errors import GradfixError
from gradfix.report.paint import Paint

SCREEN = Screen(Paint(), Paint())


def _stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def test_what_the_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _stream("ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    SCREEN.out("naïve\n")
    SCREEN.out("naïve\n".encode("latin-1"))
    assert stream.buffer.getvalue() == b"na\\xefve\nna\xefve\n"  # type: ignore[attr-defined]


def test_quiet_keeps_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _stream("utf-8")
    monkeypatch.setattr(sys, "stderr", stream)
    quiet = Screen(Paint(), Paint(), quiet=True)
    quiet.tell("progress")
    quiet.complain("error")
    assert stream.buffer.getvalue() == b"error\n"  # type: ignore[attr-defined]


def test_ctrl_c_waits_until_everything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _stream("utf-8")
    monkeypatch.setattr(sys, "stderr", stream)
    written = []
    with SCREEN.uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        written.append("all")
    assert written == ["all"]
    assert b"all files are written" in stream.buffer.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_progress_is_shown_to_people_only(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _stream("utf-8")
    monkeypatch.setattr(sys, "stderr", stream)
    with SCREEN.progress(2) as counter:
        counter.step("a.py")
    assert stream.buffer.getvalue() == b""  # type: ignore[attr-defined]
    monkeypatch.setattr(stream, "isatty", lambda: True)
    with SCREEN.progress(2) as counter:
        counter.step("a.py")
    assert stream.buffer.getvalue() == b"\r\x1b[K1/2 a.py\r\x1b[K"  # type: ignore[attr-defined]


def test_progress_stays_on_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _stream("utf-8")
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "12")
    with SCREEN.progress(2) as counter:
        counter.step("some/\nfolder.py")
    assert stream.buffer.getvalue().decode() == "\r\x1b[K1/2 some/\u240af\r\x1b[K"  # type: ignore[attr-defined]


def test_a_full_disk_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Full(), encoding="utf-8"))
    with pytest.raises(GradfixError, match="can't write to standard output: No space left"):
        SCREEN.out("a finding\n")


def test_streams_that_were_closed_before_the_start_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    open_closed_streams()
    SCREEN.out("a finding\n")
    SCREEN.complain("an error")
    assert read_stdin() == b""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_being_ended_counts_as_ctrl_c_unless_it_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", _stream("utf-8"))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
        stop_as_by_ctrl_c()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with SCREEN.uninterrupted():
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(signal.SIGTERM)
        assert stopped.value.number == signal.SIGTERM
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
