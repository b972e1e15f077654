"""Where a process with torch in it can't be forked, each run is a process of its own; what systems lack is hidden.

Every run imports torch, so these ask for single runs, not for verdicts.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradfix.backward.checker import Checker
from gradfix.backward.limits import MIB, Limits
from gradfix.backward.protocol import Run
from gradfix.backward.runner import LostError, RefusedError, Runner
from gradfix.backward.server import Server
from gradfix.backward.spawned import Spawned
from gradfix.backward.worker.requests import Request

pytest.importorskip("torch")

TEXT = "x = torch.randn(3, requires_grad=True)\nh = x.exp()\nh[0] = 1\nh.sum().backward()\n"
LIMITS = Limits(output=MIB)

THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
NO_FORK_OF_TORCH = """\
import os, sys
own = os.fork
def fork():
    if "torch" in sys.modules:
        raise OSError(12, "Cannot allocate memory")
    return own()
os.fork = fork
"""
# As on Windows: a launcher takes away what Python lacks there, then runs the program it was given.
BARE = """\
import os, runpy, signal, sys
for name in ("fork", "killpg", "setsid", "sysconf", "pidfd_open", "waitid", "getuid", "mkfifo"):
    delattr(os, name)
for name in ("SIGKILL", "SIGSTOP", "pthread_sigmask"):
    delattr(signal, name)
sys.modules.update(resource=None, fcntl=None, pwd=None, grp=None)
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(runner: Runner, folder: Path, first: str = "", seconds: float = 10.0) -> Run:
    text = f"import torch\n{first}{TEXT}"
    return runner.run(
        Request(path=str(folder / "program.py"), text=text, cwd=str(folder), seconds=seconds, backwards=8)
    )


def failed_in_place(made: Run) -> bool:
    """Whether the run came to the program's backward, which raises."""
    return [event.error is not None and "inplace" in event.error.message for event in made.events] == [True]


def starting_with(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `code` run at the start of every interpreter behind the walls."""
    (folder / "start").mkdir()
    (folder / "start" / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder / "start"))


def test_what_starts_threads_is_not_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starting_with(THREAD, tmp_path, monkeypatch)
    server = Server(sys.executable, LIMITS, trust=False)
    assert (server.fresh, bool(server.walls)) == (True, True)
    witness = tmp_path / "written"
    made = run(server, tmp_path, f"try: open({str(witness)!r}, 'w')\nexcept OSError: pass\n")
    assert failed_in_place(made), made
    assert not witness.exists()
    endless = run(server, tmp_path, "while True: pass\n", seconds=0.3)
    server.close()
    assert (endless.killed, endless.ended) == ("time", None)
    assert 0.3 <= endless.seconds < 5, "time counts from the user's code on"


def test_a_server_without_memory_to_fork_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starting_with(NO_FORK_OF_TORCH, tmp_path, monkeypatch)
    server = Server(sys.executable, LIMITS, trust=False)
    assert not server.fresh
    walls = server.walls
    made = run(server, tmp_path)
    assert (server.fresh, server.walls) == (True, walls)
    server.close()
    assert failed_in_place(made), made


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter without what Windows lacks; this one has no `os.fork` either."""
    (tmp_path / "launcher.py").write_text(BARE)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -S {tmp_path / "launcher.py"} "$@"\n')
    python.chmod(0o755)
    monkeypatch.delattr(os, "fork")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    return python


@pytest.fixture
def spawned(tmp_path: Path, bare: Path) -> Iterator[Spawned]:
    runner = Spawned(str(bare), LIMITS)
    yield runner
    runner.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_without_walls_nothing_runs_unless_it_is_trusted(bare: Path) -> None:
    with Checker(python=str(bare)) as checker, pytest.raises(RefusedError, match="no wall stands here; pass --trust"):
        checker._started()
    with Checker(python=str(bare), trust=True) as checker:
        runner = checker._started()
        assert isinstance(runner, Spawned)
        runner.close()


def test_trusted_each_run_is_a_process_of_its_own(spawned: Spawned, tmp_path: Path) -> None:
    first = "import os\nassert not hasattr(os, 'fork')\ntry: input()\nexcept EOFError: print(__name__)\n"
    made = run(spawned, tmp_path, first)
    assert failed_in_place(made), made
    assert made.output == "__main__\n"


def test_what_it_prints_is_bounded(spawned: Spawned, tmp_path: Path) -> None:
    made = run(spawned, tmp_path, "print('x' * (1 << 24), flush=True)\nwhile True: pass\n")
    assert made.killed == "it printed more than 1 MiB"
    assert len(made.output) <= 256 * 1024


def test_what_it_started_ends_with_it(spawned: Spawned, tmp_path: Path) -> None:
    mark = f"96{os.getpid()}"
    made = run(spawned, tmp_path, f"import subprocess\nsubprocess.Popen(['sleep', '{mark}'])\nwhile True: pass\n", 0.3)
    assert made.killed == "time"
    assert 0.3 <= made.seconds < 5
    assert not _running(mark)


def test_it_can_be_ended_from_another_thread(spawned: Spawned, tmp_path: Path) -> None:
    mark = f"95{os.getpid()}"
    timer = threading.Thread(target=lambda: (_wait_for(mark), spawned.hang_up()))
    timer.start()
    with pytest.raises(LostError, match="it was ended"):
        run(spawned, tmp_path, f"import subprocess\nsubprocess.Popen(['sleep', '{mark}'])\nwhile True: pass\n", 60.0)
    timer.join()
    assert not _running(mark)


def test_what_is_no_interpreter_or_has_no_torch_says_so(spawned: Spawned, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch')\n")
    launcher = (tmp_path / "launcher.py").read_text()
    (tmp_path / "launcher.py").write_text(
        launcher.replace("import os", f"import sys; sys.path.append({str(tmp_path)!r})\nimport os")
    )
    with pytest.raises(RefusedError, match="can't import torch"):
        run(spawned, tmp_path)
    nowhere = Spawned(str(tmp_path / "nowhere"), LIMITS)
    with pytest.raises(RefusedError, match="nowhere can't be started"):
        run(nowhere, tmp_path)
    nowhere.close()


def test_an_old_torch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("__version__ = '2.3.1+cpu'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RefusedError, match=r"has torch 2\.3\.1\+cpu, the check needs 2\.4 or newer; pass --python"):
        Server(sys.executable, LIMITS, trust=False)


def _running(mark: str) -> bool:
    lines = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                lines.append((folder / "cmdline").read_bytes())
            except OSError:
                continue
    return any(b"sleep\0" + mark.encode() in line for line in lines)


def _wait_for(mark: str) -> None:
    until = time.monotonic() + 60
    while not _running(mark) and time.monotonic() < until:
        time.sleep(0.05)
