"""The user's own command on a copy of the project in which one file has another text.

Sources and small files are copied, so that the command may write them; the rest are links, which the walls keep
read-only. A `sitecustomize` of ours, in every Python that the command starts, notes which of the asked lines ran and
gives imports of the original file, as from an editable installation, the text of the copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from gradfix.backward.worker.messages import SILENT, EndedMessage
from gradfix.backward.worker.requests import Request

_SKIPPED = {".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox", ".mypy_cache"}
_COPIED_FILE = 256 * 1024  # bytes; larger files are linked
_COPIED_ALL = 64 * 1024 * 1024
_MOST_FILES = 20_000
_NOTES = "gradfix-lines"
_CUSTOMIZE = """\
import builtins, importlib.machinery, importlib.util, os, sys, threading

_here = os.path.dirname(os.path.abspath(__file__))
_file, _copy, _notes, _asked = os.environ["GRADFIX_FILES"].split(os.pathsep)
_asked = {int(number) for number in _asked.split(",") if number}
_plain = importlib.machinery.SourceFileLoader.get_code
_noted = set()


def _get_code(self, fullname):
    if os.path.realpath(self.path) == os.path.realpath(_file):
        with open(_copy, "rb") as handle:
            return compile(handle.read(), _copy, "exec", dont_inherit=True)
    return _plain(self, fullname)


def _step(frame, event, arg):
    line = frame.f_lineno
    if event == "line" and line in _asked and line not in _noted:
        _noted.add(line)
        with open(_notes, "a") as handle:
            handle.write(f"{line}\\n")
    return _step


def _enter(frame, event, arg):
    return _step if frame.f_code.co_filename in _names else None


# Traced is only what comes behind the first code of the file, and no import of others: tracing makes those slow.
def _watch(event, args):
    if event == "exec" and _asked:
        name = getattr(args[0], "co_filename", "")
        if name == _copy or os.path.realpath(name) == os.path.realpath(_copy):
            _names.update((name, _copy))
            threading.settrace(_enter)
            sys.settrace(_enter)


def _import(*args, **keywords):
    if sys.gettrace() is not _enter:
        return _plain_import(*args, **keywords)
    sys.settrace(None)
    try:
        return _plain_import(*args, **keywords)
    finally:
        sys.settrace(_enter)


_names = set()
_plain_import, builtins.__import__ = builtins.__import__, _import
importlib.machinery.SourceFileLoader.get_code = _get_code
open(_notes, "a").close()
sys.addaudithook(_watch)
sys.path[:] = [folder for folder in sys.path if folder != _here]
_spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
if _spec is not None and _spec.loader is not None:
    _spec.loader.exec_module(importlib.util.module_from_spec(_spec))
"""


def execute(request: Request, command: str, root: str, place: str) -> EndedMessage:
    """Run the command on a copy of `root`. Tells its exit code, or minus the signal, and the asked lines that ran."""
    project, ours, home, temporary = (os.path.join(place, name) for name in ("project", "start", "home", "tmp"))
    for folder in (ours, home, temporary):
        os.makedirs(folder)
    copy_project(root, project)
    copy = os.path.join(project, os.path.relpath(request.path, root))
    if os.path.lexists(copy):
        os.unlink(copy)
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    with open(copy, "w", encoding="utf-8", newline="") as handle:
        handle.write(request.text)
    with open(os.path.join(ours, "sitecustomize.py"), "w", encoding="utf-8") as handle:
        handle.write(_CUSTOMIZE)
    notes = os.path.join(place, _NOTES)
    files = os.pathsep.join((request.path, copy, notes, ",".join(map(str, request.lines))))
    found = [ours, project, os.path.join(project, "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "HOME": home,
        "TMPDIR": temporary,
        "PATH": os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath))),
        "PYTHONPATH": os.pathsep.join(found),
        "GRADFIX_FILES": files,
    }
    inside = os.path.relpath(request.cwd, root)
    folder = os.path.normpath(os.path.join(project, inside)) if not inside.startswith("..") else project
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=False)
    watched = list(request.lines) if os.path.exists(notes) else []  # else no Python of ours started
    return {**SILENT, "code": done.returncode, "executed": _noted(notes), "executable": watched}


def copy_project(root: str, target: str) -> None:
    """A copy of the folder `root`: sources and small files as files of its own, large ones as links to the original."""
    budget, number = _COPIED_ALL, 0
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        below = os.path.join(target, os.path.relpath(folder, root))
        os.makedirs(below, exist_ok=True)
        for name in files:
            number += 1
            source = os.path.join(folder, name)
            try:
                size = os.stat(source).st_size
                if size <= min(_COPIED_FILE, budget) and number <= _MOST_FILES and os.path.isfile(source):
                    shutil.copyfile(source, os.path.join(below, name))
                    budget -= size
                else:
                    os.symlink(source, os.path.join(below, name))
            except OSError:
                continue


def _noted(notes: str) -> list[int]:
    try:
        with open(notes, encoding="ascii") as handle:
            return sorted({int(line) for line in handle})
    except (OSError, ValueError):
        return []
