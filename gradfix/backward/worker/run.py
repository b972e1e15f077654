"""What a process of a run does: furnish its directory, put the text in the place of its file, run it or search."""

from __future__ import annotations

import gc
import linecache
import os
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterable
from os import _exit  # the user's code may replace what `os` holds

import torch

from gradfix.backward.worker import command as worker_command
from gradfix.backward.worker import installed as worker_installed
from gradfix.backward.worker import tensors as worker_tensors
from gradfix.backward.worker.departures import seed
from gradfix.backward.worker.held import Constants
from gradfix.backward.worker.messages import BETWEEN, SILENT, Said
from gradfix.backward.worker.modules import forget, package_of, shadow
from gradfix.backward.worker.once import Once
from gradfix.backward.worker.pages import gather
from gradfix.backward.worker.requests import Plan, Request, Search
from gradfix.backward.worker.scratch import furnish, replace_copy
from gradfix.backward.worker.synthesis import search as worker_search
from gradfix.backward.worker.vary import Departure, Leaves
from gradfix.backward.worker.ways import compiled

Report = Callable[[Said], None]


def warm() -> None:
    """Do once, before any run, what every run would pay for. One thread, chosen before torch's first operation."""
    torch.set_num_threads(1)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_renew_engine)
    leaf = torch.ones(2, requires_grad=True)
    torch.autograd.grad((leaf * leaf).sum(), leaf)
    (leaf * leaf).sum().backward()
    with Departure(Leaves(Plan())):
        torch.nn.Linear(2, 2)(torch.randn(1, 2))
    seed(0)
    worker_tensors.rng_state()
    _show_an_error(leaf)
    _settle()


def _renew_engine() -> None:
    """Let torch make its engine anew, as it does at the first use in a fork: two threads that come to that both die."""
    torch.autograd._is_checkpoint_valid()


def _settle() -> None:
    """Make the memory of this process cheap to fork: what is here to stay is never collected nor copied."""
    gc.collect()
    gc.freeze()
    gather()


def _show_an_error(leaf: torch.Tensor) -> None:
    """Let Python read the sources that a traceback of autograd's commonest error quotes."""
    value = leaf.exp()
    with torch.no_grad():
        value[0] = 1.0
    try:
        value.sum().backward()
    except RuntimeError:
        traceback.format_exc()


# Parts of torch that it imports when first used, at a second or less; what in a text says that it will use them.
_LATE_PARTS = {
    "torch._dynamo": re.compile(r"\boptim\b|\bcompile\b|Optimizer"),
    "torch.fx.experimental.symbolic_shapes": re.compile(r"backward\(\s*[^)\s]|grad_outputs|gradient="),
}


def prepare(request: Request, used: Iterable[str]) -> None:
    """Import in the server what this run will make torch import, or what an earlier one did."""
    called = request.call or request.search
    parts = [part for part, hint in _LATE_PARTS.items() if hint.search(request.text) or (called and "torch.fx" in part)]
    if worker_installed.learn([*parts, *used]):
        _settle()


def run(request: Request, place: str, report: Report) -> None:
    """Run `request.text` as the file `request.path`, in the directory `place`; report events, then how it ended."""
    if request.command is not None:
        assert request.root is not None
        report({"ended": worker_command.execute(request, request.command, request.root, place)})
        return
    if request.search is not None:
        _search(request, request.search, place, report)
        return
    path, entry = request.path, request.entry or request.path
    known = _begin(request)
    requests = [request, *request.further]
    constants = Constants()
    runs = [Once(one, report, constants, known=known, last=one is requests[-1]) for one in requests]
    folders = request.cwd, os.path.dirname(entry), os.path.dirname(path)
    furnish(place, *folders)
    code = _compiled(request, runs[0])
    shadow(path, code, replace_copy(path, request.text))
    runs[0].make(code)
    for number, (one, previous) in enumerate(zip(runs[1:], runs)):
        for stream in (1, 2):
            os.write(stream, BETWEEN.encode())
        forget(path, known)
        if previous.left_files:
            furnish(f"{place}/{number}", *folders)
            shadow(path, code, replace_copy(path, request.text))
        one.make(code)


def _search(request: Request, about: Search, place: str, report: Report) -> None:
    """Look for calls; what kept the file from being imported is the error of the run."""
    path, folder = request.path, os.path.dirname(request.path)
    known = _begin(request)
    furnish(place, request.cwd, folder, folder)
    error: BaseException | None = None
    try:
        code = compile(request.text, path, "exec", dont_inherit=True)
        linecache.cache[path] = (len(request.text), None, request.text.splitlines(keepends=True), path)
        shadow(path, code, replace_copy(path, request.text))
        report({"found": worker_search.execute(request, about, code, report)})
    except BaseException as raised:
        error = raised
        traceback.print_exc()
    told = None if error is None else worker_tensors.error(error, path)
    report({"ended": {**SILENT, "error": told, "used": worker_installed.met(path, known)}})


def _begin(request: Request) -> int:
    """Let the user's own packages come before what the server has imported; how many modules there are now."""
    path, cwd = request.path, request.cwd
    roots = (os.path.dirname(request.entry or path), os.path.dirname(path), package_of(path)[0])
    worker_installed.leave(path, *roots, cwd, os.path.join(cwd, "src"))
    return len(sys.modules)


def _compiled(request: Request, once: Once) -> types.CodeType:
    text, path = request.text, request.path
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    try:
        return compiled(text, path, request.ways)
    except (SyntaxError, ValueError) as error:
        once.end(error, stopped=False)
        _exit(0)
