"""Which files the imports of a file mean: told from paths alone, nothing is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

Exists = Callable[[str], bool]
INSTALLED = ("site-packages", "dist-packages")


def root_of(path: str) -> str:
    """The folder from which a file's imports start."""
    folder = os.path.dirname(path)
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder = os.path.dirname(folder)
    return folder


def name_of(path: str, root: str) -> tuple[str, bool]:
    """The dotted name of the file `path` below `root`, and whether it is the `__init__` of a package."""
    parts = os.path.relpath(os.path.splitext(path)[0], root).split(os.sep)
    is_package = parts[-1] == "__init__" and len(parts) > 1
    return ".".join(parts[:-1] if is_package else parts), is_package


def folder_of(path: str, level: int) -> str:
    """The folder that a relative import of `level` dots starts from."""
    folder = os.path.dirname(path)
    for _ in range(level - 1):
        folder = os.path.dirname(folder)
    return folder


def file_of(base: str, name: str, exists: Exists) -> str | None:
    """The file of the module `name` below `base`."""
    stem = os.path.join(base, *name.split("."))
    return next((file for file in (os.path.join(stem, "__init__.py"), f"{stem}.py") if exists(file)), None)


def files_run(bases: Sequence[str], name: str, exists: Exists) -> Iterator[str]:
    """The files that importing the dotted `name` runs; the last part may be a name inside the one before."""
    parts = name.split(".")
    for base in bases:
        names = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
        found = [file for one in names if (file := file_of(base, one, exists)) is not None]
        if found:
            yield from found
            return


def stands_in(name: str, text: str) -> bool:
    """Whether a text has a name in it that isn't part of a longer one: what `\\b` around a pattern asks, far faster."""
    at = text.find(name)
    while at >= 0:
        if _is_edge(text, at) and _is_edge(text, at + len(name)):
            return True
        at = text.find(name, at + 1)
    return False


def _is_edge(text: str, at: int) -> bool:
    return _is_letter(text[at - 1 : at]) is not _is_letter(text[at : at + 1])


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"
