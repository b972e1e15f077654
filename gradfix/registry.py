"""Which codemods there are, and which of them are meant.

Built-in codemods are the modules of `gradfix.codemods` that hold a `Codemod`; installed packages add theirs through the
entry-point group `gradfix.codemods`; a folder of the user's adds its `*.py` files, each run under a private module name
(the folder never comes onto `sys.path`). Loading a folder runs its code: callers ask for consent first.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from gradfix.codemod import Codemod
from gradfix.errors import CodemodError, UsageError
from gradfix.nearest import nearest

GROUP = "gradfix.codemods"


def load(folders: Iterable[Path] = ()) -> tuple[Codemod, ...]:
    """Every built-in and installed codemod and those of `folders`, by code.

    Raises `CodemodError` for a module that can't be imported, and for a code or name that two codemods share.
    """
    found = [*builtin(), *installed()]
    for folder in folders:
        found += from_folder(folder)
    ordered = sorted(found, key=lambda codemod: codemod.code)
    _refuse_doubles(ordered)
    return tuple(ordered)


def builtin() -> tuple[Codemod, ...]:
    """The codemods that gradfix brings along, by module name."""
    package = importlib.import_module(GROUP)
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_"))
    return tuple(mod for name in names for mod in _codemods_of(importlib.import_module(f"{GROUP}.{name}")))


def installed() -> tuple[Codemod, ...]:
    """The codemods of installed packages. Raises `CodemodError` when an entry point can't be loaded."""
    found: list[Codemod] = []
    for point in entry_points(group=GROUP):
        try:
            value = point.load()
        except Exception as error:
            raise CodemodError(f"entry point {point.name} = {point.value}: {_said(error)}") from error
        codemods = [value] if isinstance(value, Codemod) else list(_codemods_of(value))
        if not codemods:
            raise CodemodError(f"entry point {point.name} = {point.value} holds no codemod")
        found += codemods
    return tuple(found)


def from_folder(folder: Path) -> tuple[Codemod, ...]:
    """The codemods of the `*.py` files of `folder`, whose code is run. Names starting with `_` are left out.

    Raises `CodemodError` for a folder that isn't there or holds none, and for a file that raises.
    """
    if not folder.is_dir():
        raise CodemodError(f"{folder}: no such folder of codemods")
    files = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    found = tuple(mod for index, path in enumerate(files) for mod in _codemods_of(_private_module(path, index)))
    if not found:
        raise CodemodError(f"{folder}: holds no codemod")
    return found


def select(codemods: Sequence[Codemod], selected: Sequence[str], ignored: Sequence[str]) -> tuple[Codemod, ...]:
    """Those chosen by code, prefix of a code, name or `ALL`; the longer selector wins, `ignored` wins a tie.

    Raises `UsageError` for a selector that fits none, with the nearest there is.
    """
    for selector in (*selected, *ignored):
        if not any(_reach(selector, codemod) for codemod in codemods):
            raise UsageError(f"no codemod is called {selector!r}{_suggestion(codemods, selector)}")
    return tuple(
        codemod
        for codemod in codemods
        if max((_reach(s, codemod) for s in selected), default=0)
        > max((_reach(s, codemod) for s in ignored), default=0)
    )


def find(codemods: Sequence[Codemod], wanted: str) -> Codemod:
    """The codemod of that code or name, whatever its case. Raises `UsageError` with the nearest there is."""
    for codemod in codemods:
        if wanted.lower() in (codemod.code.lower(), codemod.name):
            return codemod
    raise UsageError(f"no codemod is called {wanted!r}{_suggestion(codemods, wanted)}")


def _reach(selector: str, codemod: Codemod) -> int:
    """How closely `selector` names `codemod`: 0 not at all, more for a longer prefix, most for the whole name."""
    if selector.upper() == "ALL":
        return 1
    if selector.lower() == codemod.name:
        return 1000
    if selector and codemod.code.lower().startswith(selector.lower()):
        return 1 + len(selector) if len(selector) < len(codemod.code) else 1000
    return 0


def _codemods_of(module: object) -> Iterator[Codemod]:
    yield from (value for value in vars(module).values() if isinstance(value, Codemod))


def _private_module(path: Path, index: int) -> ModuleType:
    name = f"gradfix._user_codemods.{index}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CodemodError(f"{path}: can't be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise CodemodError(f"{path}: {_said(error)}") from error
    return module


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _refuse_doubles(ordered: Sequence[Codemod]) -> None:
    seen: dict[str, Codemod] = {}
    for codemod in ordered:
        for key in (codemod.code, codemod.name):
            if key in seen:
                raise CodemodError(f"two codemods are called {key}: {_origin(seen[key])} and {_origin(codemod)}")
            seen[key] = codemod


def _origin(codemod: Codemod) -> str:
    return (
        f"{codemod.name} in {codemod.find.__code__.co_filename}" if hasattr(codemod.find, "__code__") else codemod.name
    )


def _suggestion(codemods: Sequence[Codemod], wanted: str) -> str:
    meant = nearest(wanted, [key for codemod in codemods for key in (codemod.code, codemod.name)])
    if meant is not None:
        return f"; did you mean {meant}?"
    return f"; there are {', '.join(codemod.code for codemod in codemods)}" if codemods else ""
