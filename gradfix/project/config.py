"""Configuration: `[tool.gradfix]` in pyproject.toml, gradfix.toml or .gradfix.toml, read into one frozen value.

The file nearest to what is checked counts, alone. Paths in it are relative to its folder. Reading executes nothing.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from gradfix.errors import ConfigError
from gradfix.nearest import nearest

DEFAULT_INCLUDE = ("*.py",)
DEFAULT_EXCLUDE = (
    ".bzr",
    ".direnv",
    ".eggs",
    ".git",
    ".git-rewrite",
    ".gradfix_cache",
    ".hg",
    ".hypothesis",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".nox",
    ".pants.d",
    ".pyenv",
    ".pytest_cache",
    ".pytype",
    ".ruff_cache",
    ".svn",
    ".tox",
    ".venv",
    ".vscode",
    "__pycache__",
    "__pypackages__",
    "_build",
    "buck-out",
    "build",
    "dist",
    "node_modules",
    "site-packages",
    "venv",
)  # ruff's, and the caches of the tools used here


@dataclass(frozen=True, slots=True)
class DeclaredCall:
    """What the user gives the backward check to run for a file: one `[[tool.gradfix.verify]]` table."""

    file: str  # a path or pattern relative to `Config.root`
    call: str | None = None  # Python text of one call, e.g. "f(x=randn(4, 3))"; parsed, never run here
    seed: int | None = None
    program: Path | None = None  # instead of a call: a program that imports the file


@dataclass(frozen=True, slots=True)
class Config:
    """What the user configured, defaults filled in. Keys in the file are these names with `-` for `_`."""

    root: Path  # the folder of the file; without a file, the folder asked for
    path: Path | None = None  # the file
    select: tuple[str, ...] | None = None  # codes, prefixes of codes, or names; none: all
    ignore: tuple[str, ...] = ()
    severity: str = "warning"  # the lowest that is reported and fixed: info, warning or error
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    extend_exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = DEFAULT_INCLUDE
    respect_gitignore: bool = True
    python: str | None = None  # the interpreter the check runs; a path, or a name to look up
    torch_version: str | None = None  # what the code runs on, "2.4"; else the release in that interpreter counts
    unsafe_fixes: bool = False
    form: str = "functional"  # or clone: which of the forms of a fix is preferred
    codemods: tuple[Path, ...] = ()  # folders of the user's own codemods; not loaded here
    verify_budget: float = 60.0  # seconds, for all checks of one run
    verify: tuple[DeclaredCall, ...] = ()


def load(start: Path) -> Config:
    """The configuration for `start`, a file or folder: that of the nearest folder upwards that has one.

    In one folder `.gradfix.toml` wins over `gradfix.toml`, and that over `pyproject.toml`, which counts when it has a
    `[tool.gradfix]` table. Raises `ConfigError` for a file that can't be read, unknown keys and wrong types.
    """
    return loader()(start)


def loader() -> Callable[[Path], Config]:
    """A `load` that remembers the folders it looked into: for the many files of one run."""
    known: dict[Path, Config | None] = {}

    def nearest(start: Path) -> Config:
        folder = _folder(start)
        passed: list[Path] = []
        found = None
        for candidate in (folder, *folder.parents):
            if candidate in known:
                found = known[candidate]
                break
            passed.append(candidate)
            if found := _configured(candidate):
                break
        known.update(dict.fromkeys(passed, found))
        return found or Config(folder)

    return nearest


def read(path: Path) -> Config:
    """The configuration in `path`: in a pyproject.toml its `[tool.gradfix]`, in any other file the whole.

    Raises `ConfigError`.
    """
    document = _toml(path, _bytes(path))
    return from_table(document if path.name != "pyproject.toml" else _ours(path, document) or {}, path)


def from_table(table: Mapping[str, object], path: Path) -> Config:
    """The configuration that `table` holds. `path` is the file it is from. Raises `ConfigError`."""
    where = f"{path}: " if path.name != "pyproject.toml" else f"{path}: [tool.gradfix] "
    root = path.absolute().parent
    values: dict[str, object] = {}
    for key, value in table.items():
        read_value = _READERS.get(key)
        if read_value is None:
            raise ConfigError(f"{where}unknown key `{key}`{_suggestion(key, _READERS)}")
        try:
            values[key.replace("-", "_")] = read_value(value, root)
        except _WrongValueError as wrong:
            raise ConfigError(f"{where}`{key}` {wrong}") from None
    return Config(root, path, **values)  # type: ignore[arg-type]  # each reader gives its field's type


class _WrongValueError(Exception):
    """A value of the wrong type; the text goes on after the key: "must be a list of strings"."""


def _folder(start: Path) -> Path:
    absolute = start.absolute()
    return absolute if absolute.is_dir() else absolute.parent


def _configured(folder: Path) -> Config | None:
    for name in (".gradfix.toml", "gradfix.toml"):
        if (path := folder / name).is_file():
            return read(path)
    path = folder / "pyproject.toml"
    if not path.is_file() or b"gradfix" not in (data := _bytes(path)):  # the files of others aren't parsed
        return None
    table = _ours(path, _toml(path, data))
    return None if table is None else from_table(table, path)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def _toml(path: Path, data: bytes) -> dict[str, object]:
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        document: dict[str, object] = toml.loads(data.decode())
    except ValueError as error:  # what both modules raise, and what `decode` does
        raise ConfigError(f"{path}: {error}") from None
    return document


def _ours(path: Path, document: Mapping[str, object]) -> Mapping[str, object] | None:
    tool = document.get("tool")
    table = tool.get("gradfix") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{path}: `tool.gradfix` must be a table")
    return table


def _strings(value: object, root: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _WrongValueError("must be a list of strings")
    return tuple(value)


def _folders(value: object, root: Path) -> tuple[Path, ...]:
    return tuple(root / folder for folder in _strings(value, root))


def _flag(value: object, root: Path) -> bool:
    if not isinstance(value, bool):
        raise _WrongValueError("must be true or false")
    return value


def _program(value: object, root: Path) -> str:
    """A path is relative to the file; a bare name is left to be looked up."""
    if not isinstance(value, str) or not value:
        raise _WrongValueError("must be the path or name of an interpreter")
    return value if Path(value).name == value else str(root / value)


def _release(value: object, root: Path) -> str:
    if not isinstance(value, str) or not re.match(r"\d+\.\d+(\.|$)", value):
        raise _WrongValueError('must be a release of torch, such as "2.4"')
    return value


def _seconds(value: object, root: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise _WrongValueError("must be a number of seconds")
    return float(value)


def _one_of(*choices: str) -> Callable[[object, Path], str]:
    def read_choice(value: object, root: Path) -> str:
        if not isinstance(value, str) or value not in choices:
            raise _WrongValueError(f"must be one of {', '.join(map(repr, choices))}")
        return value

    return read_choice


def _calls(value: object, root: Path) -> tuple[DeclaredCall, ...]:
    if not isinstance(value, list):
        raise _WrongValueError("must be an array of tables")
    return tuple(_call(table, root) for table in value)


def _call(table: object, root: Path) -> DeclaredCall:
    if not isinstance(table, dict):
        raise _WrongValueError("must be an array of tables")
    keys = ("file", "call", "seed", "program")
    for key in table:
        if key not in keys:
            raise _WrongValueError(f"has an unknown key `{key}`{_suggestion(key, keys)}")
    file, call, seed, program = (table.get(key) for key in keys)
    if not isinstance(file, str) or [type(call), type(program)].count(str) != 1:
        raise _WrongValueError("needs the string `file`, and one of the strings `call` and `program`")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise _WrongValueError("must have an integer as `seed`")
    if isinstance(program, str):
        return DeclaredCall(file, program=root / program)
    if not isinstance(call, str) or not _is_call(call):
        raise _WrongValueError(f"must have one Python call as `call`, not {call!r}")
    return DeclaredCall(file, call, seed)


def _is_call(text: str) -> bool:
    try:
        return isinstance(ast.parse(text, mode="eval").body, ast.Call)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


_READERS: Mapping[str, Callable[[object, Path], object]] = {
    "select": _strings,
    "ignore": _strings,
    "severity": _one_of("info", "warning", "error"),
    "exclude": _strings,
    "extend-exclude": _strings,
    "include": _strings,
    "respect-gitignore": _flag,
    "python": _program,
    "torch-version": _release,
    "unsafe-fixes": _flag,
    "form": _one_of("functional", "clone"),
    "codemods": _folders,
    "verify-budget": _seconds,
    "verify": _calls,
}


def _suggestion(word: str, choices: Iterable[str]) -> str:
    meant = nearest(word, choices)
    return "" if meant is None else f"; did you mean `{meant}`?"
