"""The user's own command as the judge: on a copy, behind the walls, by exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from gradfix.backward.cases import Command
from gradfix.backward.checker import Checker
from gradfix.findings import Judgement, Verdict

LOSS = "def loss(x):\n    y = x.exp()\n    y[0] = 10\n    return y.sum()\n"
RIGHT = LOSS.replace("    y[0]", "    y = y.clone()\n    y[0]")
WRONG = RIGHT.replace("= 10", "= 11")
TESTS = """\
import math
from lib.loss import loss

class Row(list):  # as much of a tensor as the loss needs
    saved = False

    def __setitem__(self, at, value):
        if self.saved and SAVING:
            raise RuntimeError('modified by an inplace operation')
        super().__setitem__(at, value)

    def exp(self):
        made = Row(map(math.exp, self))
        made.saved = True
        return made

    def clone(self): return Row(self)
    def sum(self): return sum(self)

def test_loss():
    assert abs(loss(Row([1, 1, 1])) - (10 + 2 * 2.718281828)) < 1e-4
    open('written.txt', 'w').write('x')
"""
FAILING, PASSING = (TESTS.replace("SAVING", saving) for saving in ("True", "False"))
PYTEST = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 pytest -q -p no:cacheprovider tests"

pytestmark = pytest.mark.usefixtures("lent")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("src/lib", "tests", ".git"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "src" / "lib" / "__init__.py").touch()
    (tmp_path / "src" / "lib" / "loss.py").write_text(LOSS)
    (tmp_path / "large.bin").write_bytes(b"x" * 300_000)
    (tmp_path / "tests" / "test_loss.py").write_text(FAILING)
    return tmp_path


def judged(project: Path, after: str, command: str = PYTEST) -> Judgement:
    state = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with Checker(cwd=project) as checker:
        case = Command(command, str(project))
        path = project / "src" / "lib" / "loss.py"
        judgement = checker.judge(path, LOSS, after, case, frozenset({3}), frozenset({3, 4}))
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == state
    return judgement


def test_a_test_that_fails_before_and_passes_after(project: Path) -> None:
    judgement = judged(project, RIGHT)
    assert (judgement.verdict, judgement.ran) == (Verdict.FIXED, PYTEST), judgement
    assert judgement.reason == f"`{PYTEST}` exits with 1 before, with 0 after"


def test_a_wrong_rewrite_fails_after(project: Path) -> None:
    assert judged(project, WRONG).verdict is Verdict.UNCHECKED  # the original fails, too
    (project / "tests" / "test_loss.py").write_text(PASSING)
    judgement = judged(project, WRONG)
    assert judgement.verdict is Verdict.REJECTED
    assert "1 failed" in judgement.reason


def test_what_passes_before_and_after_is_equivalent_and_writes_to_the_copy_alone(project: Path) -> None:
    (project / "tests" / "test_loss.py").write_text(PASSING)
    judgement = judged(project, RIGHT)
    assert judgement.verdict is Verdict.EQUIVALENT, judgement


@pytest.mark.parametrize(
    ("command", "verdict", "reason"),
    [
        ("python -c 'import lib'", Verdict.NOT_EXERCISED, "doesn't reach the changed lines"),
        ("true", Verdict.UNCHECKED, "nobody knows which lines it reaches"),
        ("no-such-command", Verdict.UNCHECKED, "can't be run"),
        ("echo x > large.bin", Verdict.UNCHECKED, "fails before and after"),
        (
            "test -d .git && exit 3; ls large.bin && python -c 'import lib.loss; lib.loss.loss'",
            Verdict.NOT_EXERCISED,
            "",
        ),
    ],
)
def test_commands_that_show_nothing(project: Path, command: str, verdict: Verdict, reason: str) -> None:
    judgement = judged(project, RIGHT, command)
    assert judgement.verdict is verdict, judgement
    assert reason in judgement.reason


def test_an_installation_of_the_original_gets_the_text_of_the_copy(project: Path) -> None:
    command = f"cd /tmp && PYTHONPATH=$(echo $PYTHONPATH | cut -d: -f1):{project}/src python -c '"
    command += "import torch, lib.loss; lib.loss.loss(torch.ones(3, requires_grad=True)).backward()'"
    assert judged(project, RIGHT, command).verdict is Verdict.FIXED
