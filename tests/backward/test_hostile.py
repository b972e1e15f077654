"""Hostile programs cost one verdict each and nothing else.

Each bounds itself (so many forks, so much memory, loopback only): a missing wall fails a test, not the machine. They
all have the same fault with the same right cure, so that one which does no lasting harm may end as fixed.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import judged_by

from gradfix.backward.cases import Program
from gradfix.backward.checker import Checker
from gradfix.backward.limits import MIB, Limits
from gradfix.findings import Judgement, Verdict

LIMITS = Limits(seconds=2.5, case=0.0, memory=200 * MIB, scratch=64 * MIB, output=MIB)  # case: one pair of runs
LONGEST = 40.0  # seconds: unguarded they would take a minute, or for ever
WALLS = [
    pytest.param((), id="all walls"),
    pytest.param(("namespaces",), id="landlock alone"),
    pytest.param(("landlock",), id="namespaces alone"),
]
WRITE, CURED = "h[0] = 1", "h = h.clone(); h[0] = 1"
START = "x = torch.randn(3, requires_grad=True)\nh = x.exp()\nh[0] = 1\n"
FILES = ("config.ini", ".cache/data", "project/module.py")


def start(without: tuple[str, ...], cwd: Path) -> Checker:
    pytest.importorskip("torch")
    checker = Checker(limits=LIMITS, without=without, cwd=cwd)
    checker.judge(Path("warm.py"), "", "", Program(), frozenset(), frozenset())
    if not checker.walls:
        pytest.skip("this host has no such wall")
    return checker


@pytest.fixture(scope="module", params=WALLS)
def guarded(request: pytest.FixtureRequest, checkers: dict[tuple[str, ...], Checker], cwd: Path) -> Checker:
    return _checker(checkers, request.param, cwd)


@pytest.fixture(scope="module")
def walled(checkers: dict[tuple[str, ...], Checker], cwd: Path) -> Checker:
    """Every wall there is: the bounds are the same behind each."""
    return _checker(checkers, (), cwd)


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cwd")


@pytest.fixture(scope="module")
def checkers() -> Iterator[dict[tuple[str, ...], Checker]]:
    """One for each choice of walls, by those that are left out."""
    started: dict[tuple[str, ...], Checker] = {}
    yield started
    for checker in started.values():
        checker.close()


def _checker(checkers: dict[tuple[str, ...], Checker], without: tuple[str, ...], cwd: Path) -> Checker:
    if without not in checkers:
        checkers[without] = start(without, cwd)
    return checkers[without]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A home and project to be left alone."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def judge(checker: Checker, hostile: str, tree: Path) -> Judgement:
    text = START + hostile.replace("TREE", str(tree)) + "\nh.sum().backward()\n"
    return judged_by(checker, tree / "project")(text, WRITE, CURED)


def snapshot(tree: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Mode, owner, time and content of everything in the tree."""
    found = {}
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(tree))] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


def running(marker: str) -> list[str]:
    """Processes of this host whose command line holds the marker."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if marker in line:
                found.append(line)
    return found


def works_again(checker: Checker, tree: Path) -> bool:
    return judge(checker, "", tree).verdict is Verdict.FIXED


ENDS = [
    pytest.param("while True: pass", "the original reached no backward in time", id="endless loop"),
    pytest.param("import time; time.sleep(60)", "the original reached no backward in time", id="sleep"),
    pytest.param(
        "import signal\nfor n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "the original reached no backward in time",
        id="ignores signals and catches everything",
    ),
    pytest.param(
        "b = [bytearray(16 << 20) for i in range(128)]",
        ("the original raises MemoryError", "the original was stopped: more than 200 MiB of memory"),
        id="memory",
    ),
    pytest.param(
        "b = [torch.ones(4 << 20) for i in range(128)]",
        ("the original raises RuntimeError", "the original was stopped: more than 200 MiB of memory"),
        id="memory of tensors",
    ),
    pytest.param(
        "import os, time\nfor i in range(200):\n    if os.fork() == 0: time.sleep(30); os._exit(0)\ntime.sleep(30)",
        "the original was stopped: more than 64 processes",
        id="200 forks",
    ),
    pytest.param(
        "import os, time\nr, w = os.pipe()\nos.write(w, b'f' * 200)\nos.close(w)\nwhile os.read(r, 1): os.fork()\n"
        "time.sleep(30)",
        "the original was stopped: more than 64 processes",
        id="while True: os.fork(), 200 times",
    ),
    pytest.param("import os; os._exit(0)", "the original left the interpreter with code 0", id="os._exit"),
    pytest.param("import ctypes; ctypes.string_at(0)", "the original died of signal 11", id="segfault"),
    pytest.param("import sys; sys.exit(3)", "the original raises SystemExit: 3", id="sys.exit"),
    pytest.param(
        "for i in range(1024): print('x' * (1 << 20))",
        "the original was stopped: it printed more than 1 MiB",
        id="1 GB of output",
    ),
    pytest.param("input()", "the original raises EOFError", id="reads stdin"),
    pytest.param(
        "import sys; sys.setrecursionlimit(10**8)\ndef f(n): return f(n + 1)\nf(0)",
        ("the original raises", "the original was stopped", "the original died of", "the original reached no"),
        id="recursion",
    ),
    pytest.param(
        "for i in range(40):\n    with open(f'f{i}', 'wb') as f: f.write(b'x' * (4 << 20))\n"
        "import time; time.sleep(30)",
        ("the original raises OSError: [Errno 28]", "the original was stopped: it wrote more than 64 MiB"),
        id="fills the disk",
    ),
    pytest.param("torch.autograd.backward = lambda *a, **k: None", "no backward ran", id="replaces backward"),
    pytest.param(
        "import os\nfor f in range(3, 20):\n    try: os.write(f, b'garbage\\n')\n    except OSError: pass",
        "the run reported what is no JSON",
        id="writes to our descriptors",
    ),
    pytest.param("import os; os.closerange(3, 100)", "the original left the interpreter", id="closes our descriptors"),
]


@pytest.mark.parametrize(("hostile", "reason"), ENDS)
def test_a_program_that_misbehaves_is_unchecked(
    walled: Checker, tree: Path, hostile: str, reason: str | tuple[str, ...]
) -> None:
    started, before = time.monotonic(), snapshot(tree)
    judgement = judge(walled, hostile, tree)
    assert judgement.verdict is Verdict.UNCHECKED, judgement
    assert judgement.reason.startswith(reason)
    assert time.monotonic() - started < LONGEST
    assert snapshot(tree) == before


def test_forks_that_fork_end_behind_any_wall(guarded: Checker, tree: Path) -> None:
    forks = "import os, time\nfor i in range(12):\n    try: os.fork()\n    except OSError: pass\ntime.sleep(30)"
    assert judge(guarded, forks, tree).reason == "the original was stopped: more than 64 processes"
    assert works_again(guarded, tree)


TOUCHES = [
    pytest.param("open('TREE/config.ini', 'w').write('gone')", id="overwrite"),
    pytest.param("open('TREE/new', 'w').write('here')", id="create"),
    pytest.param("import os; os.remove('TREE/config.ini')", id="remove"),
    pytest.param("import shutil; shutil.rmtree('TREE', ignore_errors=True)", id="remove everything"),
    pytest.param("import os; os.rename('TREE/config.ini', 'TREE/other')", id="rename"),
    pytest.param("import os; os.truncate('TREE/config.ini', 0)", id="truncate"),
    pytest.param("import os; os.chmod('TREE/config.ini', 0)", id="chmod"),
    pytest.param("import os; os.utime('TREE/config.ini', (0, 0))", id="utime"),
    pytest.param("import os; os.symlink('/', 'TREE/link')", id="symlink"),
    pytest.param("torch.save(x, 'TREE/x.pt')", id="torch.save"),
    pytest.param("torch.from_file('TREE/mapped', shared=True, size=4)", id="torch.from_file"),
    pytest.param("torch.jit.save(torch.jit.script(torch.nn.ReLU()), 'TREE/m.pt')", id="jit.save"),
    pytest.param(
        "import ctypes; c = ctypes.CDLL(None); f = c.open(b'TREE/new', 0o102, 0o600); c.write(f, b'x', 1)", id="ctypes"
    ),
    pytest.param("import subprocess; subprocess.run(['touch', 'TREE/config.ini', 'TREE/new'])", id="subprocess"),
    pytest.param("open(__file__, 'w').write('mine')", id="its own file"),
    pytest.param(
        "import os\nhome = os.path.expanduser('~')\nassert not os.listdir(home)\nopen(home + '/f', 'w').close()",
        id="home",
    ),
]


@pytest.mark.parametrize("hostile", TOUCHES)
def test_nothing_outside_the_scratch_directory_can_be_changed(guarded: Checker, tree: Path, hostile: str) -> None:
    before = snapshot(tree)
    judgement = judge(guarded, hostile, tree)
    assert snapshot(tree) == before
    assert judgement.verdict in (Verdict.FIXED, Verdict.UNCHECKED), judgement


LEAVES = [
    pytest.param("import subprocess; subprocess.Popen(['setsid', 'sleep', 'MARK'])", id="setsid"),
    pytest.param(
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.closerange(0, 200)\n"
        "        os.execvp('sleep', ['sleep', 'MARK'])\n    os._exit(0)",
        id="daemon",
    ),
    pytest.param("import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()", id="thread"),
    pytest.param("import atexit, time; atexit.register(time.sleep, 60)", id="atexit"),
]


@pytest.mark.parametrize("hostile", LEAVES)
def test_nothing_it_starts_is_left(guarded: Checker, tree: Path, hostile: str) -> None:
    mark = f"98{os.getpid()}"
    started = time.monotonic()
    judgement = judge(guarded, hostile.replace("MARK", mark), tree)
    assert judgement.verdict is Verdict.FIXED, judgement
    assert not running(mark)
    assert time.monotonic() - started < LONGEST


def test_it_cannot_kill_what_guards_it(guarded: Checker, tree: Path) -> None:
    with_mine = f"import os, signal\nfor pid in (1, os.getppid(), {os.getpid()}):\n" + (
        "    try: os.kill(pid, signal.SIGKILL)\n    except OSError: pass"
    )
    judgement = judge(guarded, with_mine, tree)
    assert judgement.verdict is Verdict.FIXED or "lost" in judgement.reason, judgement
    assert works_again(guarded, tree)


CORRUPTED = [
    pytest.param("torch.equal = torch.allclose = lambda *a, **k: True", id="comparisons"),
    pytest.param("torch.Tensor.backward = lambda *a, **k: print('ok')", id="Tensor.backward"),
    pytest.param("torch.Tensor.__add__ = torch.Tensor.sum = lambda *a, **k: torch.zeros(()) + h[0]", id="arithmetic"),
    pytest.param("torch.randn = torch.manual_seed = torch.set_grad_enabled = None", id="what the check calls"),
    pytest.param("import sys; sys.modules.clear()", id="every module"),
    pytest.param("import sys; sys.settrace(None); sys.stdout = sys.stderr = None", id="tracing and streams"),
]


@pytest.mark.parametrize("hostile", CORRUPTED)
def test_what_it_corrupts_is_its_own_and_no_wrong_fix_passes(walled: Checker, tree: Path, hostile: str) -> None:
    text = START.replace("h[0] = 1", hostile + "\nh[0] = 1") + "h.sum().backward()\n"
    wrong = judged_by(walled, tree / "project")(text, WRITE, CURED.replace("= 1", "= 2"))
    assert wrong.verdict not in (Verdict.FIXED, Verdict.EQUIVALENT), wrong
    assert works_again(walled, tree)


REACHES_OUT = """
import os, socket, subprocess
def attempt(act):
    try: act()
    except Exception: pass
for place in ("/tmp", "/var/tmp", "/dev/shm", "/run", os.path.expanduser("~" + os.environ.get("USER", "root")), "TREE"):
    attempt(lambda: open(place + "/MARK", "w").write("here"))
attempt(lambda: socket.create_connection(("127.0.0.1", TCP), 1))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", UDP)))
attempt(lambda: socket.socket(socket.AF_UNIX).connect("\\0MARK"))
def listen():
    global server
    server = socket.socket()
    server.bind(("127.0.0.1", FREE))
    server.listen()
attempt(listen)
attempt(lambda: subprocess.Popen(["setsid", "sleep", "MARK"], env={}))
import time; time.sleep(1)
"""


def test_files_processes_and_loopback_are_out_of_reach(guarded: Checker, tree: Path) -> None:
    mark, before = f"94{os.getpid()}", snapshot(tree)
    places = [Path(place, mark) for place in ("/tmp", "/var/tmp", "/dev/shm", "/run", Path.home())]
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        unix.bind(f"\0{mark}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        for listener in (tcp, unix):
            listener.listen()
        ports = {"TCP": tcp.getsockname()[1], "UDP": udp.getsockname()[1], "FREE": free}
        hostile = REACHES_OUT.replace("MARK", mark)
        for name, port in ports.items():
            hostile = hostile.replace(name, str(port))
        with Dialling(free) as dialling:
            judge(guarded, hostile, tree)
        for one in (tcp, udp, unix):
            one.settimeout(0.1)
            with pytest.raises(TimeoutError):
                one.recv(1) if one is udp else one.accept()
    assert not dialling.answered
    assert not running(mark)
    assert not [place for place in places if place.exists()]
    assert snapshot(tree) == before


class Dialling:
    """Calls a port of the loopback again and again, to see whether anybody ever listens there."""

    def __init__(self, port: int) -> None:
        self._port, self._over = port, threading.Event()
        self._thread = threading.Thread(target=self._dial)
        self.answered = False

    def __enter__(self) -> Dialling:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _dial(self) -> None:
        while not self._over.wait(0.05):
            with socket.socket() as caller:
                self.answered |= caller.connect_ex(("127.0.0.1", self._port)) == 0


def test_it_reaches_no_socket(guarded: Checker, tree: Path) -> None:
    dial = "import socket\ns = socket.socket(socket.{})\ns.settimeout(1)\ns.connect({!r})"
    with socket.socket(socket.AF_INET) as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(tree / "s"))
        for listener in (tcp, unix):
            listener.listen()
            listener.settimeout(0.1)
        with Checker(limits=LIMITS, without=guarded._without, cwd=tree) as fresh:  # which finds the sockets there
            for listener in (tcp, unix):
                judgement = judge(fresh, dial.format(listener.family.name, listener.getsockname()), tree)
                assert judgement.verdict is Verdict.UNCHECKED
                assert judgement.reason.startswith("the original raises")
        for listener in (tcp, unix):
            with pytest.raises(TimeoutError):
                listener.accept()


def test_after_all_of_this_the_server_still_works(guarded: Checker, tree: Path) -> None:
    assert works_again(guarded, tree)
