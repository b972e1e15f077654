"""Programs that reach for what the check stands on: its process, its server, the Python that it is written in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_hostile import LONGEST, judge, snapshot, start, works_again

from gradfix.backward.checker import Checker
from gradfix.findings import Verdict


@pytest.fixture(scope="module")
def walled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    with start((), tmp_path_factory.mktemp("cwd")) as checker:
        yield checker


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "config.ini").write_text("config.ini")
    return tmp_path


FORGIVING = "    try: {}\n    except OSError: pass"
HARMLESS = [
    pytest.param("import os; n = os.open('/dev/null', os.O_RDWR); os.dup2(n, 1); os.dup2(n, 2)", id="dup2"),
    pytest.param("import sys; sys.stdout.close(); sys.stderr.close()", id="closes its streams"),
    pytest.param("import ctypes; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)", id="PR_SET_PDEATHSIG"),
    pytest.param(
        "import os, signal\nfor pid in (1, os.getppid()):\n" + FORGIVING.format("os.kill(pid, signal.SIGSTOP)"),
        id="stops its server",
    ),
    pytest.param(
        "import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == -1", id="attaches to its server"
    ),
    pytest.param("import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); os.nice(19)", id="nice"),
    pytest.param("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))", id="no more files"),
    pytest.param("import gc; gc.freeze(); gc.disable()", id="gc"),
    pytest.param("import sys; sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)", id="settrace"),
    pytest.param("import time; time.monotonic = time.perf_counter = time.time = lambda: 0.0", id="time stands still"),
    pytest.param("import os; os.chdir('/'); os.umask(0o777); os.environ.clear()", id="surroundings"),
    pytest.param("import os; os._exit = lambda *code: None", id="never leaves"),
    pytest.param("import threading, time; threading._register_atexit(time.sleep, 60)", id="threading at exit"),
    pytest.param(
        "import multiprocessing, time\n"
        "multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,)).start()",
        id="multiprocessing",
    ),
]


@pytest.mark.parametrize("hostile", HARMLESS)
def test_what_does_no_harm_keeps_no_fix_from_being_proven(walled: Checker, tree: Path, hostile: str) -> None:
    started = time.monotonic()
    judgement = judge(walled, hostile, tree)
    assert judgement.verdict is Verdict.FIXED, judgement
    assert time.monotonic() - started < LONGEST


ENDS = [
    pytest.param("import os; os.closerange(0, 4096)", id="closes all"),
    pytest.param("import os, signal; os.kill(0, signal.SIGKILL)", id="kills its group"),
    pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", id="stops itself"),
    pytest.param("import signal, time; signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(1)", id="alarm"),
    pytest.param(
        "import faulthandler, time; faulthandler.dump_traceback_later(0.1, exit=True); time.sleep(1)", id="fault"
    ),
    pytest.param("import asyncio; asyncio.new_event_loop().run_forever()", id="event loop"),
    pytest.param("import os\nfor _ in range(20): os.write(2, b'x' * (1 << 20))", id="standard error"),
    pytest.param("import builtins; builtins.print = builtins.len = builtins.isinstance = None", id="builtins"),
    pytest.param("import json, os; json.dumps = None; os.write = lambda *a: 0", id="what reports are made with"),
    pytest.param("import os; os.symlink('TREE/config.ini', 'link'); open('link', 'w').write('gone')", id="symlink"),
    pytest.param(
        "import os; f = os.open('TREE/config.ini', 0); open(f'/proc/self/fd/{f}', 'w').write('gone')", id="/proc"
    ),
    pytest.param("import mmap; mmap.mmap(open('TREE/config.ini', 'r+').fileno(), 4)[:4] = b'gone'", id="mmap"),
]


@pytest.mark.parametrize("hostile", ENDS)
def test_what_ends_the_run_costs_one_verdict(walled: Checker, tree: Path, hostile: str) -> None:
    started, before = time.monotonic(), snapshot(tree)
    judgement = judge(walled, hostile, tree)
    assert judgement.verdict is Verdict.UNCHECKED, judgement
    assert snapshot(tree) == before
    assert time.monotonic() - started < LONGEST


FORKS = [
    pytest.param("import os; h.register_hook(lambda gradient: os.fork() and None)", id="in a hook"),
    pytest.param("import os; os.fork()", id="before backward"),
    pytest.param(
        "import os, time\nh.register_hook(lambda gradient: os.fork() == 0 and time.sleep(0.5) or None)",
        id="one is late",
    ),
]


@pytest.mark.parametrize("hostile", FORKS)
def test_two_processes_that_go_on_prove_nothing(walled: Checker, tree: Path, hostile: str) -> None:
    judgement = judge(walled, hostile, tree)
    assert judgement.verdict is Verdict.UNCHECKED, judgement
    assert judgement.reason == "the original goes on in two processes (`os.fork`)"
    assert works_again(walled, tree)


WORKERS = [
    pytest.param(
        "import multiprocessing\ncontext = multiprocessing.get_context('fork')\nqueue = context.Queue()\n"
        "context.Process(target=queue.put, args=(3,)).start()\nassert queue.get() == 3",
        id="multiprocessing",
    ),
    pytest.param(
        "from torch.utils.data import DataLoader\nassert len(list(DataLoader(range(4), num_workers=2))) == 4",
        id="DataLoader",
    ),
    pytest.param("import subprocess; subprocess.run(['true'], preexec_fn=lambda: None)", id="subprocess"),
    pytest.param("import os, sys\nif os.fork() == 0: sys.exit()\nos.wait()", id="one that leaves"),
]


@pytest.mark.parametrize("program", WORKERS)
def test_forks_that_do_work_of_their_own_are_no_matter_of_the_run(walled: Checker, tree: Path, program: str) -> None:
    judgement = judge(walled, program, tree)
    assert judgement.verdict is Verdict.FIXED, judgement
