"""Ignore patterns against the oracle there is: what git itself leaves out."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradfix.project.files import discover
from gradfix.project.ignores import Ignores

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
modest = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

GLOBS = (
    *("a", "b", "c", "x", ".py", "*", "?", "[ab]", "[!a]", "[^b]", "[a-c]", "[c-a]", "[]a]", "[]", "[!]", "[a", "[a-]"),
    *(
        "[\\]]",
        "[[:alpha:]]",
        "[[:digit:]a]",
        "[[:none:]]",
        "/**/",
        "**/",
        "/**",
        "/",
        "!",
        " ",
        "\\",
        "\\*",
        "#",
        "-",
        "$",
    ),
    *("(", "|", "{", "^", "+"),
)
ODD_NAMES = ("a", "b", "ab", "c", "a b", "a*", "x]", "!a", "#a", "a-", "(", "-", "a$", "1", "^", "{", "|", "b.", "[a")
LINES = (
    *("*.py", "!keep.py", "a/", "/b", "b/x.py", "**/y.py", "a/**", "!a/", "build", "/*", "!/b/", "*", "!*/", "x.*"),
    *("[xy].py", "?.py", "\\!x.py", "# c", "a/*/x.py", "!x.py", "keep.py", "y.py ", "/a/b/", "!b", "*/b/x.py"),
    *("build/*", "!build/keep.py", ""),
)
FOLDERS = ("", "a", "b", "a/b", "b/a", "build", "a/build/b", "c/b")


@pytest.fixture(scope="module")
def odd_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("odd")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    for name in ODD_NAMES:
        for folder in ("", "a", "ab", "f/a", f"{name}x"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / f"{name}.py").touch()
    return root


def kept_by_git(root: Path) -> set[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return {path for path in listing.split("\0") if path.endswith(".py")}


def kept_by_us(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix() for path in discover([root], root=root, exclude=()) if isinstance(path, Path)
    }


@needs_git
@modest
@given(st.lists(st.lists(st.sampled_from(GLOBS), min_size=1, max_size=4).map("".join), min_size=1, max_size=3))
def test_odd_patterns_mean_what_they_mean_to_git(odd_tree: Path, lines: Sequence[str]) -> None:
    (odd_tree / ".gitignore").write_text("\n".join(lines) + "\n")
    assert kept_by_us(odd_tree) == kept_by_git(odd_tree)


@needs_git
@pytest.mark.parametrize(
    "line",
    [
        "/a[!b]a.py",
        "/a?a.py",
        "/a*a.py",
        "f**/a.py",
        "f/**/a.py",
        "**a.py",
        "a/**",
        "/**/a.py",
        "***/b.py",
        "[]-a].py",
        "[\\]-a].py",
        "\\#a.py",
        "a.py\\",
        "a \\b.py",
        "a\\ b.py  ",
        "a/ ",
        "//a.py",
        "/",
        "[[:alpha:][:space:]]*",
        "[[:none:]]",
        "[!",
        "{a,b}.py",
    ],
)
def test_each_odd_pattern_means_what_it_means_to_git(odd_tree: Path, line: str) -> None:
    (odd_tree / ".gitignore").write_text(f"{line}\n")
    assert kept_by_us(odd_tree) == kept_by_git(odd_tree)


@pytest.fixture(scope="module")
def nested_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nested")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in ("x.py", "y.py", "keep.py"):
            (root / folder / name).touch()
    return root


@needs_git
@modest
@given(
    st.dictionaries(st.sampled_from(FOLDERS), st.lists(st.sampled_from(LINES), min_size=1, max_size=3), max_size=4),
    st.lists(st.sampled_from(LINES), max_size=2),
)
def test_nested_ignore_files_leave_out_what_git_leaves_out(
    nested_tree: Path, files: dict[str, list[str]], info: list[str]
) -> None:
    for folder in FOLDERS:
        (nested_tree / folder / ".gitignore").unlink(missing_ok=True)
    for folder, lines in files.items():
        (nested_tree / folder / ".gitignore").write_text("\n".join(lines) + "\n")
    (nested_tree / ".git/info/exclude").write_text("\n".join(info))
    assert kept_by_us(nested_tree) == kept_by_git(nested_tree)


def test_a_pattern_is_about_the_path_itself() -> None:
    ignores = Ignores.of(["build"])
    assert ignores.says("a/build", folder=True) is True
    assert ignores.says("build/x.py", folder=False) is None


def test_the_last_pattern_that_matches_counts() -> None:
    ignores = Ignores.of(["*.py", "!x.py", "a/x.py"])
    answers = [ignores.says(path, folder=False) for path in ("y.py", "x.py", "b/x.py", "a/x.py", "x.txt")]
    assert answers == [True, False, False, True, None]


def test_patterns_that_match_a_folder_asked_for_by_name_fall_away_beneath_it() -> None:
    ignores = Ignores.of(["build/", "*.pyc", "/a", "!build/keep", "__pycache__"])
    assert ignores.beneath("a/build").lines == ("*.pyc", "!build/keep", "__pycache__")
    assert ignores.beneath("src") is ignores
