"""`examples/plugin`: a codemod of somebody else's, found as an installed package and as a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "examples" / "plugin"
LOGGED = (
    "import torch\n\nw = torch.randn(3, requires_grad=True)\ntotal = w * 2\ntotal += w.sin()\ntotal.sum().backward()\n"
)


def _gradfix(*arguments: str, path: Path | None = None, cwd: Path) -> subprocess.CompletedProcess[str]:
    places = [str(ROOT), *([str(path)] if path is not None else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", "gradfix", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin, installed by pip into a folder of its own."""
    pytest.importorskip("setuptools")
    place = tmp_path_factory.mktemp("site")
    copy = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(PLUGIN, copy)
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--target", str(place))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(copy)], check=True)
    return place


def test_an_installed_package_brings_its_codemod(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(LOGGED)
    page = _gradfix("rule", "LOSS01", path=installed, cwd=tmp_path)
    assert page.returncode == 0, page.stderr
    assert "Loss kept for the log" in page.stdout
    done = _gradfix("check", "--select", "LOSS01", "train.py", path=installed, cwd=tmp_path)
    assert "warning[LOSS01]: `total` keeps the graph" in done.stdout
    assert done.returncode == 1


def test_without_the_package_nobody_knows_it(tmp_path: Path) -> None:
    assert _gradfix("rule", "LOSS01", cwd=tmp_path).returncode == 2


def test_a_folder_brings_it_by_option_and_by_configuration(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(LOGGED)
    shutil.copytree(PLUGIN / "gradfix_losses", tmp_path / "rules")
    (tmp_path / "rules" / "__init__.py").unlink()
    by_option = _gradfix("check", "--codemods", "rules", "--select", "LOSS01", "train.py", cwd=tmp_path)
    assert "warning[LOSS01]" in by_option.stdout
    (tmp_path / "gradfix.toml").write_text('codemods = ["rules"]\nselect = ["LOSS"]\n')
    by_configuration = _gradfix("check", "--allow-config-codemods", "train.py", cwd=tmp_path)
    assert "warning[LOSS01]" in by_configuration.stdout
