"""The directory a run works in: what the user's directory shows, without a way to write it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

_MOST_ENTRIES = 2_000
_COPIED_FILE = 64 * 1024  # bytes; larger files are linked, and so are directories
_COPIED_ALL = 2 * 1024 * 1024


def furnish(place: str, *folders: str) -> None:
    """Make `place` home, temporary and working directory of this process, showing the entries of `folders`.

    Small files are copied, so that the program may also write them; the rest are links, which the walls keep read-only.
    """
    os.umask(0o077)
    work, home, temporary = (os.path.join(place, name) for name in ("work", "home", "tmp"))
    for folder in (work, home, temporary):
        os.makedirs(folder)
    budget = _COPIED_ALL
    for folder in dict.fromkeys(folders):
        budget = _show(folder, work, budget)
    os.environ.update(HOME=home, TMPDIR=temporary)
    tempfile.tempdir = None
    os.chdir(work)


def replace_copy(path: str, text: str) -> str:
    """Give the copy of a file in the working directory, where there is one, another text. Returns where it would be.

    A program that looks for its modules in the working directory finds that one.
    """
    copy = os.path.abspath(os.path.basename(path))
    with contextlib.suppress(OSError):
        if os.path.lexists(copy):
            os.unlink(copy)
            with open(copy, "w", encoding="utf-8", newline="") as handle:
                handle.write(text)
    return copy


def _show(folder: str, work: str, budget: int) -> int:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_ENTRIES:
                break
            target = os.path.join(work, entry.name)
            if os.path.lexists(target):
                continue
            with contextlib.suppress(OSError):
                size = entry.stat().st_size if entry.is_file() else _COPIED_FILE + 1
                if size <= min(_COPIED_FILE, budget):
                    shutil.copyfile(entry.path, target)
                    budget -= size
                else:
                    os.symlink(os.path.abspath(entry.path), target)
    return budget
