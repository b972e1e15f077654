"""Configuration: which file counts, what may be in it, and what is said of what may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradfix.errors import ConfigError
from gradfix.project import config
from gradfix.project.config import Config, DeclaredCall, load, loader

FULL = """
select = ["GF1", "masked-assignment"]
ignore = ["GF102"]
severity = "info"
exclude = ["old"]
extend-exclude = ["new/*.py"]
include = ["*.py", "*.pyw"]
respect-gitignore = false
python = ".venv/bin/python"
torch-version = "2.4"
unsafe-fixes = true
form = "clone"
codemods = ["tools/codemods"]
verify-budget = 5

[[verify]]
file = "src/*.py"
call = "f(x=randn(4, 3))"
seed = 3

[[verify]]
file = "src/a.py"
call = "Net(4)(randn(2, 4))"
"""


def test_every_key(tmp_path: Path) -> None:
    (tmp_path / "gradfix.toml").write_text(FULL)
    assert load(tmp_path) == Config(
        root=tmp_path,
        path=tmp_path / "gradfix.toml",
        select=("GF1", "masked-assignment"),
        ignore=("GF102",),
        severity="info",
        exclude=("old",),
        extend_exclude=("new/*.py",),
        include=("*.py", "*.pyw"),
        respect_gitignore=False,
        python=str(tmp_path / ".venv/bin/python"),
        torch_version="2.4",
        unsafe_fixes=True,
        form="clone",
        codemods=(tmp_path / "tools/codemods",),
        verify_budget=5.0,
        verify=(DeclaredCall("src/*.py", "f(x=randn(4, 3))", 3), DeclaredCall("src/a.py", "Net(4)(randn(2, 4))")),
    )


def test_pyproject_holds_the_same_under_tool_gradfix(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/gradfix.toml").write_text(FULL)
    (tmp_path / "pyproject.toml").write_text("[tool.gradfix]" + FULL.replace("[[verify]]", "[[tool.gradfix.verify]]"))
    of_project, alone = load(tmp_path), config.read(tmp_path / "a/gradfix.toml")
    assert of_project.verify == alone.verify
    assert (of_project.select, of_project.codemods) == (alone.select, (tmp_path / "tools/codemods",))


def test_the_fields_and_the_keys_are_the_same() -> None:
    keys = {key.replace("-", "_") for key in config._READERS}
    assert keys == {field for field in Config.__slots__ if field not in ("root", "path")}


def test_without_a_file_all_is_default(tmp_path: Path) -> None:
    (tmp_path / "x.py").touch()
    assert load(tmp_path / "x.py") == load(tmp_path) == Config(tmp_path)


def test_the_nearest_file_upwards_counts_alone(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "gradfix.toml").write_text('ignore = ["GF1"]')
    (tmp_path / "a/b/pyproject.toml").write_text('[tool.gradfix]\nselect = ["GF2"]')
    (tmp_path / "a/b/c/pyproject.toml").write_text('[tool.ruff]\nselect = ["E"]')
    (tmp_path / "a/b/c/x.py").touch()
    for ask in (load, loader()):
        assert ask(tmp_path / "a/b/c/x.py").root == tmp_path / "a/b"
        assert ask(tmp_path / "a/b/c/not_there.py").select == ("GF2",)
        assert ask(tmp_path / "a/b/c").ignore == ()
        assert ask(tmp_path / "a").ignore == ("GF1",)


def test_in_one_folder_the_hidden_file_wins_then_our_own_then_the_projects(tmp_path: Path) -> None:
    for name, ask in (("pyproject.toml", "P"), ("gradfix.toml", "G"), (".gradfix.toml", "H")):
        (tmp_path / name).write_text(f'{"[tool.gradfix]" if ask == "P" else ""}\nselect = ["{ask}"]')
        assert load(tmp_path).select == (ask,)


def test_an_empty_file_counts_too(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "gradfix.toml").write_text('ignore = ["GF1"]')
    (tmp_path / "a/gradfix.toml").write_text("")
    assert load(tmp_path / "a") == Config(tmp_path / "a", tmp_path / "a/gradfix.toml")
    (tmp_path / "a/gradfix.toml").unlink()
    (tmp_path / "a/pyproject.toml").write_text("[tool.gradfix]")
    assert load(tmp_path / "a").ignore == ()


def test_projects_of_others_are_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nthis is no TOML")
    assert load(tmp_path) == Config(tmp_path)


def test_a_loader_reads_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "gradfix.toml").write_text('ignore = ["GF1"]')
    reads = []
    real = config.read
    monkeypatch.setattr(config, "read", lambda path: reads.append(path) or real(path))
    ask = loader()
    for name in ("a/b/x.py", "a/b/y.py", "a/z.py", "."):
        assert ask(tmp_path / name).ignore == ("GF1",)
    assert reads == [tmp_path / "gradfix.toml"]


def test_a_relative_start_is_found_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gradfix.toml").write_text('codemods = ["c"]')
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert load(Path("x.py")).codemods == (tmp_path / "c",)
    assert config.read(Path("../gradfix.toml")).root.is_absolute()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('selct = ["GF1"]', "unknown key `selct`; did you mean `select`?"),
        ("unsafe_fixes = true", "unknown key `unsafe_fixes`; did you mean `unsafe-fixes`?"),
        ("respect-git-ignore = true", "unknown key `respect-git-ignore`; did you mean `respect-gitignore`?"),
        ("budget = 3", "unknown key `budget`"),
        ("verify-b = 3", "unknown key `verify-b`; did you mean `verify-budget`?"),
        ('"" = 3', "unknown key ``"),
        ('select = "GF1"', "`select` must be a list of strings"),
        ("ignore = [1]", "`ignore` must be a list of strings"),
        ("codemods = [1]", "`codemods` must be a list of strings"),
        ('severity = "fatal"', "`severity` must be one of 'info', 'warning', 'error'"),
        ("form = 1", "`form` must be one of 'functional', 'clone'"),
        ("unsafe-fixes = 1", "`unsafe-fixes` must be true or false"),
        ("python = 3.11", "`python` must be the path or name of an interpreter"),
        ("torch-version = 2.4", '`torch-version` must be a release of torch, such as "2.4"'),
        ('torch-version = "2"', '`torch-version` must be a release of torch, such as "2.4"'),
        ("verify-budget = true", "`verify-budget` must be a number of seconds"),
        ("verify-budget = -1", "`verify-budget` must be a number of seconds"),
        ("verify-budget = nan", "`verify-budget` must be a number of seconds"),
        ("verify = 3", "`verify` must be an array of tables"),
        ("verify = [3]", "`verify` must be an array of tables"),
        ('[[verify]]\nfile = "a.py"', "`verify` needs the string `file`, and one of the strings `call` and `program`"),
        ('[[verify]]\nfile = "a.py"\ncal = "f()"', "`verify` has an unknown key `cal`; did you mean `call`?"),
        ('[[verify]]\nfile = "a.py"\ncall = "f("', "`verify` must have one Python call as `call`, not 'f('"),
        ('[[verify]]\nfile = "a.py"\ncall = "f"', "`verify` must have one Python call as `call`, not 'f'"),
        ('[[verify]]\nfile = "a.py"\ncall = "f()"\nseed = true', "`verify` must have an integer as `seed`"),
        ('[[verify]]\nfile = "a.py"\ncall = "f()"\nseed = "1"', "`verify` must have an integer as `seed`"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "gradfix.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'gradfix.toml'}: {message}"


def test_in_a_pyproject_the_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.gradfix]\nselct = []")
    with pytest.raises(
        ConfigError, match=r"pyproject\.toml: \[tool\.gradfix\] unknown key `selct`; did you mean `select`"
    ):
        load(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool]\ngradfix = 3")
    with pytest.raises(ConfigError, match=r"`tool\.gradfix` must be a table"):
        load(tmp_path)


@pytest.mark.parametrize("data", [b"select = [", b"a = 1\na = 2", b"select = ['\xff']"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "gradfix.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"gradfix\.toml: "):
        load(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: No such file"):
        config.read(tmp_path / "no.toml")


def test_interpreters_are_paths_or_names(tmp_path: Path) -> None:
    for written, read in (("python3.12", "python3.12"), ("env/bin/python", str(tmp_path / "env/bin/python"))):
        (tmp_path / "gradfix.toml").write_text(f'python = "{written}"')
        assert load(tmp_path).python == read


@given(st.text(max_size=30), st.sampled_from(sorted(config._READERS)))
def test_suggestions_are_made_for_any_key(word: str, key: str) -> None:
    assert config._suggestion(key + "x", config._READERS) == f"; did you mean `{key}`?"
    assert config._suggestion(word, config._READERS) in ("", *(f"; did you mean `{key}`?" for key in config._READERS))


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert {key for key in config._READERS if f"`{key}`" not in page and f"tool.gradfix.{key}]" not in page} == set()
