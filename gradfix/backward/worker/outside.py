"""What a run leaves outside of its objects: files in its directory, the environment, filters of warnings."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import torch

from gradfix.backward.worker.messages import ENVIRONMENT, FILE, FILTERS

_MOST_FILES = 500  # looked at
_MOST_BYTES = 8 * 1024 * 1024  # read of all that are new
_MOST_TEXT = 20_000  # characters of one that are told
_ZIP, _NUMPY = b"PK\x03\x04", b"\x93NUMPY"
Stamp = tuple[int, int]
Root = tuple[str, Any]


class Outside:
    """Knows how it was when the run began."""

    def __init__(self) -> None:
        self._folder = os.getcwd()
        self._files = dict(self._found())
        self._variables = dict(os.environ)
        self._filters = list(map(repr, warnings.filters))

    def is_changed(self) -> bool:
        """Whether there are other files than in the beginning."""
        return dict(self._found()) != self._files

    def restore(self) -> None:
        """Put the environment back."""
        os.environ.clear()
        os.environ.update(self._variables)

    def told(self) -> dict[str, str]:
        """What is new or different in the environment and among the filters, and which files and folders are gone."""
        now = dict(os.environ)
        names = [name for name in {**self._variables, **now} if self._variables.get(name) != now.get(name)]
        found = {f"{ENVIRONMENT}[{name!r}]": now.get(name, "gone") for name in names}
        filters = list(map(repr, warnings.filters))
        if filters != self._filters:
            found[FILTERS] = "; ".join(one for one in filters if one not in self._filters) or "fewer"
        left = dict(self._found())
        found.update({FILE + path: "gone" for path in self._files if path not in left})
        return found

    def files(self) -> Iterator[Root]:
        """What is in each file that is new or different, by its name: values, a text, or how long it is."""
        budget = _MOST_BYTES
        for path, stamp in self._found():
            if self._files.get(path) == stamp:
                continue
            if path.endswith(os.sep):
                yield FILE + path, "a folder"
                continue
            data = b""
            with contextlib.suppress(OSError), open(os.path.join(self._folder, path), "rb") as handle:
                data = handle.read(budget)
            budget -= len(data)
            yield FILE + path, _content(data, stamp[1])

    def _found(self) -> Iterator[tuple[str, Stamp]]:
        """Files and folders by their path, with when and how long; what is linked to isn't the run's own."""
        seen = 0
        for folder, folders, files in os.walk(self._folder):
            folders[:] = sorted(name for name in folders if not os.path.islink(os.path.join(folder, name)))
            for name in (*sorted(files), *(name + os.sep for name in folders)):
                seen += 1
                if seen > _MOST_FILES:
                    return
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    about = os.lstat(path)
                    if stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode):  # a pipe would never end
                        stamp = (0, 0) if name.endswith(os.sep) else (about.st_mtime_ns, about.st_size)
                        yield os.path.relpath(path, self._folder) + os.sep * name.endswith(os.sep), stamp


def _content(data: bytes, size: int) -> Any:
    with contextlib.suppress(Exception):
        if data.startswith((_ZIP, _NUMPY)):
            return _loaded(data)
    with contextlib.suppress(UnicodeDecodeError):
        text = data.decode("utf-8")
        if "\0" not in text:
            return text[:_MOST_TEXT] + (f" … {zlib.crc32(data):x}" if len(text) > _MOST_TEXT else "")
    return f"{size} bytes"


def _loaded(data: bytes) -> Any:
    """What torch or NumPy has saved. Raises where something else has, or it isn't plain data."""
    if data.startswith(_ZIP):
        with contextlib.suppress(Exception), torch._C.DisableTorchFunction():
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    held = sys.modules["numpy"].load(io.BytesIO(data), allow_pickle=False)
    return dict(held) if data.startswith(_ZIP) else held
