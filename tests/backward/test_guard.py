"""The guarded server as such: which walls stand, what a run sees, what is left afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import Judge, judged_by
from lending import Lender

from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.backward.worker import server as worker_server
from gradfix.backward.worker.limits import waited as waited_of
from gradfix.findings import Judgement, Verdict

TEXT = "x = torch.randn(3, requires_grad=True)\nh = x.exp()\nh[0] = 1\nh.sum().backward()\n"
CURE = ("h[0] = 1", "h = h.clone(); h[0] = 1")
NOTHING: frozenset[int] = frozenset()
ONE = Limits(case=0.0)  # pair of runs: enough for what is no matter of the verdict


def fixed(checker: Checker, folder: Path, first: str = "") -> Judgement:
    return judged_by(checker, folder)(first + TEXT, *CURE)


def test_the_walls_that_stand_are_named(checker: Checker, judge: Judge) -> None:
    judge(TEXT, *CURE)
    assert checker.walls
    assert all(
        wall.split(":")[0] in ("landlock", "namespaces", "read-only mounts", "seccomp") for wall in checker.walls
    )


def test_without_any_wall_nothing_runs(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    with Checker(without=("landlock", "namespaces")) as checker:
        judgement = fixed(checker, tmp_path, f"open({str(witness)!r}, 'w')\n")
        assert checker.walls == ()
    assert judgement.verdict is Verdict.UNCHECKED
    assert judgement.reason == "no wall stands here; pass --trust to run it anyway"
    assert not witness.exists()


def test_trust_runs_it_anyway(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with Checker(without=("landlock", "namespaces"), trust=True, limits=ONE) as checker:
        assert fixed(checker, tmp_path).verdict is Verdict.FIXED


def test_an_interpreter_without_torch_says_so(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    with Checker(python=python) as checker:
        judgement = fixed(checker, tmp_path)
    assert judgement.verdict is Verdict.UNCHECKED
    assert judgement.reason == f"{python} can't import torch (No module named 'torch'); pass --python"


def test_an_interpreter_that_is_none_says_so(tmp_path: Path) -> None:
    with Checker(python=str(tmp_path / "nowhere")) as checker:
        assert "can't be started (No such file or directory)" in fixed(checker, tmp_path).reason
    with Checker(python="/bin/true") as checker:
        assert "/bin/true didn't come up" in fixed(checker, tmp_path).reason


def test_start_up_files_of_the_environment_run_behind_the_walls(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    packages = next((tmp_path / "venv" / "lib").glob("python3*/site-packages"))
    (packages / "early.pth").write_text(f"import os; open({str(witness)!r}, 'w')\n")
    with Checker(python=str(tmp_path / "venv" / "bin" / "python"), limits=ONE) as checker:
        fixed(checker, tmp_path)
    assert not witness.exists()


def test_an_interpreter_that_a_project_names_starts_behind_the_walls(tmp_path: Path) -> None:
    witness, python = tmp_path / "ran", tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {witness}\n")
    python.chmod(0o755)
    subprocess.run([str(python)], check=True)
    witness.unlink()  # the script does what it says when nothing stands around it
    with Checker(python=str(python)) as checker:
        assert fixed(checker, tmp_path).verdict is Verdict.UNCHECKED
    assert not witness.exists()


def test_modules_on_the_python_path_run_behind_the_walls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = tmp_path / "ran"
    (tmp_path / "json.py").write_text(f"open({str(witness)!r}, 'w')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Checker(limits=ONE) as checker:
        fixed(checker, tmp_path)
    assert not witness.exists()


def test_a_program_sees_its_neighbours_and_its_data(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    project, cwd = tmp_path / "project", tmp_path / "cwd"
    (project / "data").mkdir(parents=True)
    cwd.mkdir()
    (project / "helper.py").write_text("FACTOR = 2\n")
    (project / "data" / "a.txt").write_text("3")
    (cwd / "b.txt").write_text("4")
    first = textwrap.dedent(f"""\
        import os, sys
        import helper
        assert helper.FACTOR == 2
        assert open("data/a.txt").read() == "3"
        assert open("b.txt").read() == "4"
        with open("b.txt", "a") as log:
            log.write("5")
        assert open("b.txt").read() == "45", "every run starts afresh"
        assert __name__ == "__main__"
        assert __file__ == {str(project / "program.py")!r} == sys.argv[0]
        assert "SECRET" not in os.environ
        assert "gradfix" not in sys.modules
    """)
    os.environ["SECRET"] = "1"
    try:
        with Checker(cwd=cwd, limits=ONE) as checker:
            judgement = fixed(checker, project, first)
    finally:
        del os.environ["SECRET"]
    assert judgement.verdict is Verdict.FIXED, judgement
    assert (cwd / "b.txt").read_text() == "4"
    assert sorted(path.name for path in project.rglob("*")) == ["a.txt", "data", "helper.py"]


def test_relative_paths_are_meant_from_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "found.py").write_text("")
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["src", *filter(None, sys.path)]))
    with Checker(python="./python", limits=ONE) as checker:
        assert fixed(checker, tmp_path, "import found\n").verdict is Verdict.FIXED


def test_the_rewritten_text_is_what_runs_and_what_tracebacks_show(lender: Lender, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "program.py").write_text("raise SystemExit('the file on disk')\n")
    first = "import inspect\ndef f():\n    return 1\nassert 'return 1' in inspect.getsource(f)\n"
    with lender.checker(tmp_path, ONE) as checker:
        assert fixed(checker, tmp_path, first).verdict is Verdict.FIXED
    assert (tmp_path / "program.py").read_text() == "raise SystemExit('the file on disk')\n"


def test_nothing_is_left_after_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for without in ((), ("namespaces",)):
        with Checker(without=without, cwd=tmp_path, limits=ONE) as checker:
            fixed(checker, tmp_path)
            assert _servers(tmp_path)
        assert not _servers(tmp_path)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_check_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    pytest.importorskip("torch")
    script = textwrap.dedent(f"""\
        import tempfile; tempfile.tempdir = {str(tmp_path)!r}
        from pathlib import Path
        from gradfix.backward.cases import Program
        from gradfix.backward.checker import Checker
        text = "import torch, subprocess\\nsubprocess.Popen(['setsid', 'sleep', '97{os.getpid()}'])\\nwhile True: pass"
        with Checker() as checker:
            checker.judge(Path("p.py"), text, text, Program(), frozenset(), frozenset())
    """)
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(lambda: bool(_marked(f"97{os.getpid()}")))
        os.kill(process.pid, number)
        process.wait(20)
        _wait_for(lambda: not _servers(tmp_path) and not _marked(f"97{os.getpid()}"))
    finally:
        process.kill()
    if number == signal.SIGINT:
        assert list(tmp_path.iterdir()) == []


def test_a_dead_server_costs_one_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Checker(cwd=tmp_path, limits=ONE) as checker:
        assert fixed(checker, tmp_path).verdict is Verdict.FIXED
        os.kill(max(_servers(tmp_path)), signal.SIGKILL)
        judgement = fixed(checker, tmp_path)
        assert judgement.verdict is Verdict.UNCHECKED
        assert judgement.reason.startswith("the guarded server was lost")
        assert fixed(checker, tmp_path).verdict is Verdict.FIXED


def test_the_budget_is_kept(lender: Lender, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    slow = "import time; time.sleep(0.5)\n"
    with lender.checker(tmp_path, Limits(total=4.0, case=1.2)) as checker:
        first = fixed(checker, tmp_path, slow)
        assert first.verdict is Verdict.FIXED
        assert any("stopped after" in note for note in first.notes)
        while fixed(checker, tmp_path, slow).reason != "the budget of the check is spent":
            pass
        assert checker._budget.left > -8.0


def test_all_verdicts_of_a_checker_come_from_one_server(lender: Lender, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with lender.checker(tmp_path, ONE) as checker:
        assert fixed(checker, tmp_path).verdict is Verdict.FIXED
        first = checker._server
        assert fixed(checker, tmp_path).verdict is Verdict.FIXED
        assert checker._server is first is not None


@pytest.mark.parametrize(
    ("late", "waited", "over"),
    [
        (-1.0, 0.0, False),
        (1.0, 0.0, True),
        (1.0, 3.0, False),
        (4.0, 3.0, True),
        (30.0, 100.0, False),
        (50.0, 100.0, True),
    ],
)
def test_time_without_a_processor_is_not_the_runs_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, late: float, waited: float, over: bool
) -> None:
    server = worker_server.Server(0, 1, scratch=str(tmp_path), limits=Limits(), own_pids=False)
    monkeypatch.setattr(server, "_descendants", lambda: ["7", "9"])
    monkeypatch.setattr(worker_server, "waited", {"7": waited + 2.0, "9": 0.5}.__getitem__)
    monkeypatch.setattr(worker_server.time, "monotonic", lambda: 1000.0)
    assert server._is_over(1000.0 - late, 20.0, 2.0) is over


def test_a_process_that_has_no_processor_waits() -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this kernel doesn't tell")
    first = waited_of("self")
    assert 0.0 < first <= waited_of("self") < time.monotonic()
    assert waited_of("no process") == 0.0


def _servers(folder: Path) -> list[int]:
    """Processes of the check whose scratch directory lies in the folder."""
    return [pid for pid in _marked("worker/start.py") if str(folder) in _command(pid)]


def _marked(marker: str) -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and marker in _command(int(name))]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _wait_for(condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.05)
