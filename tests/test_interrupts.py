"""Ctrl-C inside code that makes errors of its own of whatever is raised in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradfix.command_line import cli, interrupts, run
from gradfix.command_line.terminal import Stopped
from gradfix.errors import CodemodError
from gradfix.proof.plan import Loaded


def _wrapped() -> None:
    try:
        try:
            raise Stopped(15)
        except KeyboardInterrupt as stopped:
            raise RuntimeError("Error calling __set_name__") from stopped
    except RuntimeError:
        raise CodemodError("can't be loaded")  # noqa: B904 - the context alone holds what came before


def test_what_is_behind_other_errors_is_raised_in_their_place() -> None:
    with pytest.raises(Stopped) as stopped, interrupts.unwrapped():
        _wrapped()
    assert stopped.value.number == 15


def test_other_errors_stay_as_they_are_also_in_circles() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    with pytest.raises(ValueError, match="first") as raised, interrupts.unwrapped():
        raise first
    assert raised.value is first


def test_it_is_no_problem_of_the_file() -> None:
    with pytest.raises(Stopped):
        run.at_the_boundary(Loaded("model.py", b""), lambda loaded: _wrapped())


def test_it_is_no_bug_of_gradfix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gradfix.command_line.shell.check", lambda options: _wrapped())
    (tmp_path / "model.py").write_text("import torch\n")
    assert cli.run(["check", str(tmp_path)]) == 128 + 15
    assert capsys.readouterr().err.strip() == "interrupted: nothing was written"
