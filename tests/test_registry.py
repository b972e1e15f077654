"""Where codemods come from and how they are chosen."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from fakes import replacing

from gradfix import registry
from gradfix.errors import CodemodError, UsageError

ROOT = Path(__file__).resolve().parent.parent
SOURCE = '''"""A codemod of the user's.

## What it does
Nothing.
"""
from gradfix.codemod import codemod
from gradfix.findings import Applicability


@codemod("{code}", "{name}", since="0.1", applicability=Applicability.SAFE, symptom="x", needles=("x",))
def {function}(source, facts):
    return iter(())
'''


def _write(folder: Path, code: str, name: str) -> None:
    text = SOURCE.format(code=code, name=name, function=name.replace("-", "_"))
    (folder / f"{name.replace('-', '_')}.py").write_text(text)


def test_every_module_of_the_codemods_folder_is_found() -> None:
    modules = {path.stem for path in (ROOT / "codemods").glob("[!_]*.py")}
    assert {codemod.name.replace("-", "_") for codemod in registry.builtin()} == modules
    assert "codemods" not in sys.modules


def test_a_folder_is_loaded_without_touching_the_import_path(tmp_path: Path) -> None:
    _write(tmp_path, "MY101", "my-own")
    (tmp_path / "_helper.py").write_text("raise RuntimeError('helpers are not codemods')\n")
    before = list(sys.path)
    assert [codemod.code for codemod in registry.from_folder(tmp_path)] == ["MY101"]
    assert sys.path == before
    assert "my_own" not in sys.modules
    assert "MY101" in [codemod.code for codemod in registry.load([tmp_path])]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [("boom.py", "1 / 0\n", r"boom\.py: ZeroDivisionError"), ("none.py", "x = 1\n", "holds no codemod")],
)
def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CodemodError, match=says):
        registry.from_folder(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CodemodError, match="no such folder"):
        registry.from_folder(tmp_path / "gone")


def test_two_codemods_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _write(tmp_path / "a", "MY101", "one")
    _write(tmp_path / "b", "MY102", "one")
    with pytest.raises(CodemodError, match=r"two codemods are called one: .*one\.py and .*one\.py"):
        registry.load([tmp_path / "a", tmp_path / "b"])


def test_installed_packages_bring_codemods(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _write(tmp_path, "PL101", "plugged")
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint("plugged", "plugged:plugged", registry.GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert [codemod.code for codemod in registry.installed()] == ["PL101"]
    points[:] = [EntryPoint("module", "plugged", registry.GROUP)]
    assert [codemod.code for codemod in registry.installed()] == ["PL101"]
    points[:] = [EntryPoint("gone", "no_such_module_here", registry.GROUP)]
    with pytest.raises(CodemodError, match="gone = no_such_module_here: ModuleNotFoundError"):
        registry.installed()


KNOWN = [
    replacing("x", "y", code="GF101", name="index-assignment"),
    replacing("x", "y", code="GF102", name="augmented-assignment"),
    replacing("x", "y", code="GF401", name="non-scalar-backward"),
]


@pytest.mark.parametrize(
    ("selected", "ignored", "kept"),
    [
        (["ALL"], [], ["GF101", "GF102", "GF401"]),
        (["GF1"], [], ["GF101", "GF102"]),
        (["gf102"], [], ["GF102"]),
        (["non-scalar-backward"], [], ["GF401"]),
        (["ALL"], ["GF1"], ["GF401"]),
        (["ALL", "GF102"], ["GF1"], ["GF102", "GF401"]),
        (["GF101"], ["GF101"], []),
        (["GF101"], ["index-assignment"], []),
        (["GF"], ["ALL"], ["GF101", "GF102", "GF401"]),
        ([], [], []),
    ],
)
def test_the_closer_selector_wins(selected: list[str], ignored: list[str], kept: list[str]) -> None:
    assert [codemod.code for codemod in registry.select(KNOWN, selected, ignored)] == kept


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("GF141", "did you mean GF101"),
        ("index-asignment", "did you mean index-assignment"),
        ("E501xyz", "there are GF101, GF102, GF401"),
    ],
)
def test_an_unknown_name_brings_the_nearest(wanted: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        registry.find(KNOWN, wanted)
    with pytest.raises(UsageError, match=says):
        registry.select(KNOWN, [wanted], [])


def test_a_codemod_is_found_by_code_or_name_in_any_case() -> None:
    assert registry.find(KNOWN, "gf401") is registry.find(KNOWN, "Non-Scalar-Backward") is KNOWN[2]
