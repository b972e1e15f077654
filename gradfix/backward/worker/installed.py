"""Installed packages: what a run imports of them, its server imports before the next one, once and not run by run.

Installed is what lies beside torch or in the environment. The package that holds the file which is run is never taken,
and one that goes by the name of something of the user's is left to the run.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import os
import sys
from collections.abc import Iterable
from site import getsitepackages
from types import ModuleType

import torch

from gradfix.backward.worker.modules import package_of

_PLACES = tuple(folder + os.sep for folder in (os.path.dirname(os.path.dirname(torch.__file__)), *getsitepackages()))
_OF_PYTHON = (os.path.dirname(os.__file__) + os.sep,)
_MOST = 3_000  # modules told of one run
_tried: set[str] = set()
_learned: set[str] = set()  # packages, by their first names


def met(path: str, known: int) -> list[str]:
    """Installed modules that were imported since there were `known` of all kinds; `path` is the file that was run.

    None where a thread is left: whoever imports what starts one can't be forked any more.
    """
    new = list(itertools.islice(reversed(sys.modules), max(0, len(sys.modules) - known)))
    if not new or _threads() > 1:
        return []
    own = _first(package_of(path)[1])
    others = [name for name in reversed(new) if _first(name) != own and name not in _tried]
    files = ((name, getattr(sys.modules[name], "__file__", None)) for name in others)
    return [name for name, file in files if isinstance(file, str) and file.startswith(_PLACES)][:_MOST]


def is_installed(file: str) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    return file.startswith(_PLACES + _OF_PYTHON)


def learn(names: Iterable[str]) -> bool:
    """Import modules that runs have met, in the server. Whether there was something to import."""
    new = [name for name in names if name not in sys.modules and name not in _tried]
    for name in new:
        _tried.add(name)
        with contextlib.suppress(BaseException):
            if _is_installed(_first(name)):
                importlib.import_module(name)
                _learned.add(_first(name))
    return bool(new)


def leave(path: str, *folders: str) -> None:
    """Forget, in a run, what the user's own files in `folders` or the package of `path` go by the name of.

    What lies in one of the folders itself stays: some of it, as NumPy, can't be imported twice.
    """
    own = _first(package_of(path)[1])
    for first in _learned - {"torch"}:
        places = [os.path.join(folder, first) for folder in folders]
        others = [place for place in (*places, *(f"{place}.py" for place in places)) if os.path.exists(place)]
        if first == own or not all(_holds(place, sys.modules.get(first)) for place in others):
            for name in [name for name in sys.modules if _first(name) == first]:
                del sys.modules[name]


def _holds(place: str, module: ModuleType | None) -> bool:
    """Whether the module was imported from that file or folder."""
    file = os.path.realpath(getattr(module, "__file__", None) or "")
    place = os.path.realpath(place)
    return file == place or file.startswith(place + os.sep)


def _first(name: str) -> str:
    return name.partition(".")[0]


def _is_installed(first: str) -> bool:
    spec = importlib.util.find_spec(first)
    return spec is not None and spec.origin is not None and spec.origin.startswith(_PLACES)


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 2  # nobody can tell
