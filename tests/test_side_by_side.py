"""Work in forked processes gives what it gives here, and none of them outlives the one it comes from."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gradfix.command_line import side_by_side
from gradfix.errors import FileProblem

ROOT = Path(__file__).resolve().parent.parent
LABELLED = ROOT / "tests" / "fixtures"
HERE = os.getpid()

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="one after the other elsewhere"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),  # xdist's, not gradfix's
]


def test_results_come_in_order_from_several_processes() -> None:
    def work(number: int) -> tuple[int, int]:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number, os.getpid()

    results = list(side_by_side.each(work, range(40), 3))
    assert [number for number, _ in results] == list(range(40))
    by = {process for _, process in results}
    assert HERE not in by
    assert len(by) > 1


def test_what_is_raised_there_is_raised_here() -> None:
    def work(number: int) -> int:
        raise FileProblem("model.py", f"odd: {number}", line=3, details="where it came from")

    with pytest.raises(FileProblem, match=r"model\.py:3: odd: 0") as raised:
        list(side_by_side.each(work, range(4), 2))
    assert raised.value.details == "where it came from"


@pytest.mark.parametrize("fatal", [0, 5, 9])
def test_what_a_killed_process_leaves_is_done_here(fatal: int) -> None:
    def work(number: int) -> int:
        if number == fatal and os.getpid() != HERE:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    assert list(side_by_side.each(work, range(10), 2)) == [number * number for number in range(10)]


def test_what_cannot_be_sent_is_done_again_here() -> None:
    def work(number: int) -> Callable[[], int]:
        return lambda: number

    assert [result() for result in side_by_side.each(work, range(5), 2)] == list(range(5))


def test_a_problem_of_a_file_stays_what_it_is_in_a_copy() -> None:
    copy = pickle.loads(pickle.dumps(FileProblem("a.py", "syntax error", line=7, details="more")))
    assert (str(copy), copy.path, copy.line, copy.details) == ("a.py:7: syntax error", "a.py", 7, "more")


def test_little_text_is_not_worth_a_process() -> None:
    assert side_by_side.processes(2 * side_by_side.LEAST - 1, 8) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_when_the_first_one_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    script = f"""\
import os, sys, time
from gradfix.command_line import side_by_side, terminal
terminal.stop_as_by_ctrl_c()
def work(number):
    open({str(tmp_path)!r} + f"/{{os.getpid()}}", "w").close()
    time.sleep(300)
list(side_by_side.each(work, range(4), 2))
"""
    started = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while len(workers := [int(path.name) for path in tmp_path.iterdir()]) < 2:
        assert started.poll() is None
        time.sleep(0.01)
    started.send_signal(number)
    _, told = started.communicate()
    assert started.returncode != 0
    assert told.count("Traceback") <= 1  # of the first one's end: the others say nothing
    while any(_runs(process) for process in workers):
        time.sleep(0.01)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


COMMAND = """\
import os, sys
from gradfix.command_line import cli, side_by_side
forked = []
os.register_at_fork(before=lambda: forked.append(1))
side_by_side.LEAST = 1
code = cli.run(sys.argv[1:])
print(len(forked), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("command", [["check", "--output-format", "json"], ["apply", "--diff", "--no-verify", "-v"]])
def test_the_command_says_the_same_however_many_there_are(command: list[str], tmp_path: Path) -> None:
    for path in sorted(LABELLED.glob("*/*.before.py"))[:12]:
        (tmp_path / f"{path.parent.name}_{path.name}").write_bytes(path.read_bytes())
    (tmp_path / "broken.py").write_text("import torch\nx = (\n")
    (tmp_path / "latin.py").write_bytes(b"import torch\nx = '\xe9'\n")
    one, three = (
        subprocess.run(
            [sys.executable, "-c", COMMAND, *command, "-j", jobs, "."],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        for jobs in ("1", "3")
    )
    assert one.stdout == three.stdout != ""
    *told, forks = one.stderr.splitlines()
    *told_by_three, forks_of_three = three.stderr.splitlines()
    assert told == told_by_three != []
    assert (one.returncode, int(forks)) == (three.returncode, 0)
    assert int(forks_of_three) == 3
