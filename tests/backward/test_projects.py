"""Projects of several files: what is imported, from where, and that nothing is written until the verdict."""

from __future__ import annotations

import compileall
import os
from pathlib import Path

import pytest

pytest.importorskip("torch")

from gradfix import registry
from gradfix.backward.cases import DeclaredCall, Program
from gradfix.backward.checker import Checker
from gradfix.backward.programs import Programs
from gradfix.command_line import run
from gradfix.engine.policy import Policy
from gradfix.findings import Applicability, Judgement, Severity, Verdict
from gradfix.project import files
from gradfix.proof.plan import Loaded, Plan, Rules

RULES = Rules(registry.builtin(), Policy(Severity.WARNING, Applicability.SAFE))

HELPER = "import torch\n\n\ndef squash(x):\n    y = x.exp()\n    y[0] = 10\n    return y\n"
FIXED = HELPER.replace("    y[0]", "    y = y.clone()\n    y[0]")
WRONG = FIXED.replace("= 10", "= 11")
TRAIN = "import torch\nfrom {module} import squash\n"
TRAIN += "x = torch.randn(3, requires_grad=True)\nsquash(x).sum().backward()\n"
SET_BEFORE, SET_AFTER = frozenset({6}), frozenset({6, 7})

pytestmark = pytest.mark.usefixtures("lent")


def judged(folder: Path, helper: str, after: str, case: Program | DeclaredCall) -> Judgement:
    state = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
    with Checker(cwd=folder) as checker:
        judgement = checker.judge(folder / helper, HELPER, after, case, SET_BEFORE, SET_AFTER)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()} == state
    return judgement


@pytest.mark.parametrize(
    ("helper", "entry", "module"),
    [
        pytest.param("helper.py", "train.py", "helper", id="beside each other"),
        pytest.param("pkg/helper.py", "train.py", "pkg.helper", id="a package beside the program"),
        pytest.param("src/pkg/helper.py", "scripts/train.py", "pkg.helper", id="src layout"),
        pytest.param("pkg/helper.py", "pkg/train.py", ".helper", id="relative, as under -m"),
        pytest.param("pkg/sub/helper.py", "pkg/train.py", ".sub.helper", id="relative, a package below"),
        pytest.param("pkg/helper.py", "scripts/train.py", "pkg.helper", id="a package in the working directory"),
    ],
)
def test_a_helper_is_judged_by_the_program_that_imports_it(
    tmp_path: Path, helper: str, entry: str, module: str
) -> None:
    for name, text in ((helper, HELPER), (entry, TRAIN.format(module=module))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for package in {*tmp_path.glob("**/pkg"), *tmp_path.glob("**/sub")}:
        (package / "__init__.py").touch()
    texts = {str(path): path.read_text() for path in tmp_path.rglob("*.py")}
    assert Programs(texts, str(tmp_path)).importing(str(tmp_path / helper)) == (str(tmp_path / entry),)
    right = judged(tmp_path, helper, FIXED, Program(str(tmp_path / entry)))
    assert (right.verdict, right.ran) == (Verdict.FIXED, f"program {entry}"), right
    assert judged(tmp_path, helper, WRONG, Program(str(tmp_path / entry))).verdict is Verdict.REJECTED


def test_stale_bytecode_and_copies_in_the_working_directory_are_not_taken(tmp_path: Path) -> None:
    entry = "import sys\nsys.path.insert(0, '.')\n" + TRAIN.format(module="helper")
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "train.py").write_text(entry)
    compileall.compile_file(tmp_path / "helper.py", quiet=1)
    judgement = judged(tmp_path, "helper.py", FIXED, Program(str(tmp_path / "train.py")))
    assert judgement.verdict is Verdict.FIXED, judgement


def test_a_package_that_imports_the_file_makes_no_second_module_of_it(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("from .helper import squash\n")
    (tmp_path / "pkg" / "helper.py").write_text(HELPER)
    case = DeclaredCall("__import__('pkg').squash(randn(3)) if __import__('pkg').squash is squash else None")
    assert judged(tmp_path, "pkg/helper.py", FIXED, case).verdict is Verdict.UNCHECKED  # no call
    case = DeclaredCall("[squash][squash is not __import__('pkg').squash](randn(3))")
    assert judged(tmp_path, "pkg/helper.py", FIXED, case).verdict is Verdict.FIXED


def test_a_file_named_like_a_module_of_pythons_own(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text(HELPER)
    assert judged(tmp_path, "random.py", FIXED, DeclaredCall("squash(randn(3))")).verdict is Verdict.FIXED


def test_a_program_that_never_calls_it_exercises_nothing(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(HELPER)
    text = TRAIN.format(module="helper").replace("squash(x).sum()", "x.sum()")
    (tmp_path / "train.py").write_text(text)
    judgement = judged(tmp_path, "helper.py", FIXED, Program(str(tmp_path / "train.py")))
    assert judgement.verdict is Verdict.NOT_EXERCISED


def test_what_a_program_reaches_through_others_counts(tmp_path: Path) -> None:
    texts = {
        "/p/train.py": "import torch\nimport model\nmodel.f(torch.ones(1)).backward()\n",
        "/p/model.py": "from layers import block\n",
        "/p/layers/__init__.py": "",
        "/p/layers/block.py": "from . import base\n",
        "/p/layers/base.py": "",
        "/p/other.py": "",
        "/p/broken.py": "import (\n",
    }
    programs = Programs(texts, "/p")
    assert programs.importing("/p/layers/base.py") == ("/p/train.py",)
    assert programs.importing("/p/layers/__init__.py") == ("/p/train.py",)
    assert programs.importing("/p/other.py") == ()


TRAINER = """\
import torch


class Trainer:
    def __init__(self, loss):
        self.loss = loss

    def fit(self, x):
        self._step(x)

    def _step(self, x):
        self.loss(x).sum().backward()


def run(loss):
    Trainer(loss).fit(torch.ones(3, requires_grad=True))
"""


@pytest.mark.parametrize(
    ("text", "is_program"),
    [
        pytest.param("Trainer(squash).fit(x)\n", True, id="a method of a class"),
        pytest.param("if __name__ == '__main__':\n    run(squash)\n", True, id="a function, under a guard"),
        pytest.param("from fitting.trainer import run as go\ngo(squash)\n", True, id="another name"),
        pytest.param("import fitting.trainer as t\nfor loss in [squash]:\n    t.run(loss)\n", True, id="a module's"),
        pytest.param("fitted = run\nprint(fitted)\n", False, id="named, not called"),
        pytest.param("def main():\n    run(squash)\n", False, id="called by nobody"),
    ],
)
def test_a_pass_in_another_file_makes_a_program(text: str, is_program: bool) -> None:
    head = "import torch\nfrom fitting.trainer import Trainer, run\nfrom loss import squash\nx = torch.ones(3)\n"
    texts = {
        "/p/main.py": head + text,
        "/p/fitting/__init__.py": "",
        "/p/fitting/trainer.py": TRAINER,
        "/p/loss.py": HELPER,
    }
    programs = Programs(texts, "/p")
    assert programs.is_program("/p/main.py") is is_program
    assert programs.importing("/p/loss.py") == (("/p/main.py",) if is_program else ())
    assert not programs.is_program("/p/fitting/trainer.py")


def test_programs_whose_passes_stand_elsewhere_are_run(tmp_path: Path) -> None:
    """Both of the file with the write, and of the program itself."""
    write = "def squash(x):\n    y = x.exp()\n    y[0] = 0\n    return y\n"
    (tmp_path / "trainer.py").write_text(TRAINER)
    (tmp_path / "loss.py").write_text("import torch\n" + write)
    (tmp_path / "main.py").write_text("from loss import squash\nfrom trainer import run\nrun(squash)\n")
    (tmp_path / "own.py").write_text(f"import torch\nfrom trainer import run\n{write}run(squash)\n")
    planned = _planned(tmp_path, "trainer.py", "loss.py", "main.py", "own.py")
    assert {os.path.basename(one.loaded.path): one.cases for one in planned} == {
        "trainer.py": (),
        "main.py": (),
        "loss.py": (Program(str(tmp_path / "main.py")),),
        "own.py": (Program(),),
    }
    with Checker(cwd=tmp_path) as checker:
        for one in (plan for plan in planned if plan.cases):
            (result,) = run.prove(RULES, one, checker, proven=True).results
            assert result.judgement is not None
            assert result.judgement.verdict is Verdict.FIXED, result.judgement


def _planned(folder: Path, *names: str) -> list[Plan]:
    inputs = []
    for name in names:
        source, stamp = files.read(folder / name)
        inputs.append(Loaded(str(folder / name), source, stamp))
    plans = run.with_programs(list(run.plan(RULES, inputs, lambda path: ())))
    return [one for one in plans if isinstance(one, Plan)]


@pytest.mark.parametrize("case", [Program(), DeclaredCall("squash(randn(3))")])
def test_what_is_left_in_other_modules_counts(tmp_path: Path, case: Program | DeclaredCall) -> None:
    (tmp_path / "seen.py").write_text("LAST = []\n\n\nclass Most:\n    value = 0.0\n")
    helper = HELPER.replace("import torch\n", "import torch\nimport seen\n").replace(
        "    return y", "    seen.LAST.append(y.sum().item())\n    return y"
    )
    text = helper + "if __name__ == '__main__':\n    squash(torch.randn(3, requires_grad=True)).sum().backward()\n"
    right = text.replace("    y[0]", "    y = y.clone()\n    y[0]")
    wrong = right.replace("    return y", "    seen.Most.value = 1.0\n    return y")
    with Checker(cwd=tmp_path) as checker:
        told = [
            checker.judge(tmp_path / "helper.py", text, after, case, frozenset({7}), frozenset({7, 8, 10}))
            for after in (right, wrong)
        ]
    assert [one.verdict for one in told] == [Verdict.FIXED, Verdict.REJECTED], told
    assert told[1].reason == "`seen.Most.value` afterwards is 0 before, 1 after"
