"""What is shipped: the sdist, the wheel made from it, and what an installation of that can do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import gradfix

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path.name for path in (ROOT / "codemods").glob("*.py"))
RULES = [name for name in MODULES if not name.startswith("_")]
# A project's own `codemods` package, as LibCST's documentation proposes: gradfix must neither import nor need it.
FOREIGN = "raise RuntimeError('the codemods of the project were imported')\n"


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Built:
    """The two archives and the interpreter of a venv the wheel is installed in."""

    sdist: Path
    wheel: Path
    python: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Builds without network; the venv sees the dependencies of this one through a `.pth` file."""
    work = tmp_path_factory.mktemp("dist")
    checkout = work / "checkout"  # a copy: building leaves an egg-info folder behind
    ours = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "tests", "benchmarks")
    shutil.copytree(ROOT, checkout, ignore=ours)
    _run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", work, checkout, cwd=work)
    (sdist,) = work.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "unpacked", filter="data")
    (tree,) = (work / "unpacked").iterdir()
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", work, tree, cwd=work)
    (wheel,) = work.glob("*.whl")
    venv.create(work / "venv", with_pip=False)
    python = work / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=work)
    (packages,) = (work / "venv").rglob("site-packages")
    (packages / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return Built(sdist, wheel, python)


def _foreign_project(folder: Path) -> Path:
    (folder / "codemods").mkdir()
    (folder / "codemods" / "__init__.py").write_text(FOREIGN)
    return folder


def test_the_list_of_packages_is_complete() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inside = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "gradfix").rglob("__init__.py")}
    assert set(listed) == inside | {"gradfix.codemods"}


def test_the_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == gradfix.__version__
    assert re.search(rf"^## {re.escape(gradfix.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_archives_carry_every_codemod_and_all_data(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = set(wheel.namelist())
    with tarfile.open(built.sdist) as sdist:
        unpacked = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    data = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gradfix" / "data").glob("*.json")}
    assert data
    assert {f"gradfix/codemods/{name}" for name in MODULES} | {"gradfix/py.typed"} | data <= names
    assert {f"codemods/{name}" for name in MODULES} | {"gradfix/py.typed", "LICENSE"} | data <= unpacked
    assert {name.split("/")[0] for name in names} == {"gradfix", f"gradfix-{gradfix.__version__}.dist-info"}
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gradfix").rglob("*.py")} - {"gradfix/codemods.py"}
    assert code <= names


def test_an_installation_has_every_rule_whatever_the_project_calls_its_packages(built: Built, tmp_path: Path) -> None:
    project = _foreign_project(tmp_path)
    assert _run(built.python, "-m", "gradfix", "--version", cwd=project) == f"gradfix {gradfix.__version__}\n"
    pages = _run(built.python, "-m", "gradfix", "rule", "--all", cwd=project)
    assert len(re.findall(r"^# .* \(GF\d+\)$", pages, re.MULTILINE)) == len(RULES)
    script = built.python.with_name("gradfix")
    assert _run(script, "rule", "--all", cwd=project) == pages


def test_an_installation_fixes_a_file(built: Built, tmp_path: Path) -> None:
    project = _foreign_project(tmp_path)
    (project / "f.py").write_text(
        "import torch\n\nx = torch.ones(3, requires_grad=True)\ny = x.exp()\ny[0] = 10\ny.sum().backward()\n"
    )
    done = subprocess.run(
        [built.python, "-m", "gradfix", "diff", "f.py"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "\n-y[0] = 10\n" in done.stdout


def test_the_bare_checkout_runs(tmp_path: Path) -> None:
    assert _run(sys.executable, "-m", "gradfix", "--version", cwd=ROOT) == f"gradfix {gradfix.__version__}\n"
    assert len(
        re.findall(r"^# .* \(GF\d+\)$", _run(sys.executable, "-m", "gradfix", "rule", "--all", cwd=ROOT), re.MULTILINE)
    ) == len(RULES)


def _commands() -> list[str]:
    """The shell blocks of the README's section with the two commands."""
    section = (ROOT / "README.md").read_text().split("## Two commands", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)


def test_ci_runs_the_second_command_of_the_readme() -> None:
    demo, tests = _commands()
    assert tests in (ROOT / ".ci" / "run").read_text()
    assert "gradfix apply --diff examples/" in demo


def test_every_dependency_is_pinned() -> None:
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    assert {re.match(r"[\w-]+", requirement).group().lower() for requirement in wanted} <= pinned
