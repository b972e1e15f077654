"""Which interpreter runs the user's code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gradfix.project.interpreter import find_python, torch_version


def make(folder: Path) -> Path:
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    return python


@pytest.fixture(autouse=True)
def _no_active_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)


def test_what_is_given_wins(tmp_path: Path) -> None:
    make(tmp_path / ".venv")
    assert find_python("/a/python", "/b/python", tmp_path) == "/a/python"
    assert find_python(None, "/b/python", tmp_path) == "/b/python"


def test_the_active_environment_beats_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / ".venv")
    active = make(tmp_path / "active")
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "active"))
    assert find_python(None, None, tmp_path) == str(active)


def test_the_nearest_folder_above(tmp_path: Path) -> None:
    make(tmp_path / ".venv")
    near = make(tmp_path / "a" / ".venv")
    (tmp_path / "a" / "b").mkdir()
    assert find_python(None, None, tmp_path / "a" / "b") == str(near)


def test_this_interpreter_at_last(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)  # without a python in it
    assert find_python(None, None, tmp_path) == sys.executable


@pytest.mark.parametrize("packages", ["lib/python3.9/site-packages", "Lib/site-packages"])
def test_the_release_of_torch_is_read_in_the_environment(tmp_path: Path, packages: str) -> None:
    python = str(make(tmp_path))
    assert torch_version(python) is None
    stated = tmp_path / packages / "torch" / "version.py"
    stated.parent.mkdir(parents=True)
    stated.write_text("from typing import Optional\n\ncuda: Optional[str] = None\n")
    assert torch_version(python) is None
    stated.write_text("__all__ = ['__version__']\n__version__ = '2.4.1+cu121'\n")
    assert torch_version(python) == "2.4.1+cu121"
    assert torch_version("no-such-program") is None
