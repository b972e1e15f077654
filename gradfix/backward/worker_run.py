"""One run of the user's text, in a process of its own: scratch directory, departures, observation, report."""

from __future__ import annotations

import contextlib
import gc
import importlib
import linecache
import os
import random
import re
import sys
import tokenize
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

from gradfix.backward import worker_call, worker_command, worker_search, worker_tensors
from gradfix.backward.worker_lines import Lines
from gradfix.backward.worker_modules import run_program, shadow
from gradfix.backward.worker_observe import Observer
from gradfix.backward.worker_scratch import furnish, replace_copy
from gradfix.backward.worker_vary import Departure, Leaves, Plan
from gradfix.tracer.trace import Tracer, bypassed_checkpoint

Message = dict[str, Any]
Report = Callable[[Message], None]


def warm() -> None:
    """Do once, before any run, what every run would pay for. One thread, chosen before torch's first operation."""
    torch.set_num_threads(1)
    leaf = torch.ones(2, requires_grad=True)
    torch.autograd.grad((leaf * leaf).sum(), leaf)
    (leaf * leaf).sum().backward()
    with Departure(Leaves(Plan())):
        torch.nn.Linear(2, 2)(torch.randn(1, 2))
    _seed(0)
    worker_tensors.rng_state()
    _show_an_error(leaf)
    gc.collect()
    gc.freeze()


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


_SILENT: Message = {
    "error": None,
    "stopped": False,
    "executed": [],
    "executable": [],
    "rng": "",
    "stops": [],
    "conflicts": [],
    "arguments": [],
    "results": [],
    "scalars": "",
    "seconds": 0.0,
    "memory": 0,
    "used": [],
}  # what a command has to say besides


def prepare(request: Message, used: set[str]) -> None:
    """Import in the server what this run will make torch import, or what an earlier one did: once, not run by run."""
    called = request["call"] or request["search"]
    for part, hint in _LATE_PARTS.items():
        wanted = part in used or hint.search(request["text"]) or (called and part.startswith("torch.fx"))
        if wanted and part not in sys.modules:
            importlib.import_module(part)
            gc.collect()
            gc.freeze()


def run(request: Message, report: Report) -> None:
    """Run `request["text"]` as the file `request["path"]` and report events, then how it ended."""
    if request["command"] is not None:
        report({"ended": {**_SILENT, **worker_command.execute(request)}})
        return
    if request["search"] is not None:
        _search(request, report)
        return
    plan = Plan(**request["plan"])
    leaves = Leaves(plan)
    observer = Observer(report, leaves, subject=request["entry"] or request["path"], most=request["backwards"])
    observer.directions = request["directions"]
    observer.forward_only = plan.direction is not None
    observer.ones = request["ones"]
    observer.quiet = request["measure"]
    lines = Lines(request["path"], frozenset(request["lines"]))
    tracer = Tracer(roots=(request["path"],), go_on=True) if request["trace"] else None
    ended: list[bool] = []

    def end(error: BaseException | None, *, stopped: bool) -> None:
        """The last message, once; then this process is over, whatever the user's code still has in mind."""
        if ended:
            os._exit(0)
        ended.append(True)
        seconds, memory = observer.clock.read()
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        report(
            {
                "ended": {
                    "error": None if error is None else worker_tensors.error(error, request["path"]),
                    "stopped": stopped,
                    "executed": sorted(lines.executed),
                    "executable": sorted(lines.executable),
                    "rng": worker_tensors.rng_state(),
                    "stops": sorted(leaves.stops),
                    "conflicts": [] if tracer is None else [one.as_message() for one in tracer.conflicts()],
                    **observer.outcome,
                    "seconds": seconds,
                    "memory": memory,
                    "used": [part for part in _LATE_PARTS if part in sys.modules],
                }
            }
        )
        os._exit(0)

    observer.executed = lines.executed
    observer.finish = lambda: end(None, stopped=True)
    path, entry = request["path"], request["entry"] or request["path"]
    furnish(request["place"], request["cwd"], os.path.dirname(entry), os.path.dirname(path))
    code = _compiled(request, end)
    shadow(path, code, replace_copy(path, request["text"]))
    lines.learn(code)
    _seed(request["seed"])
    observer.install()
    error: BaseException | None = None
    try:
        with _departures(request, leaves), contextlib.nullcontext() if tracer is None else tracer:
            lines.start()
            observer.clock.start()
            _execute(request, code, leaves, observer)
    except SystemExit as leaving:
        error = None if leaving.code in (None, 0) else leaving
    except BaseException as raised:
        error = raised
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    lines.stop()
    end(error, stopped=False)


def _search(request: Message, report: Report) -> None:
    """Look for calls; what kept the file from being imported is the error of the run."""
    path, folder = request["path"], os.path.dirname(request["path"])
    furnish(request["place"], request["cwd"], folder, folder)
    error: BaseException | None = None
    try:
        code = compile(request["text"], path, "exec", dont_inherit=True)
        linecache.cache[path] = (len(request["text"]), None, request["text"].splitlines(keepends=True), path)
        shadow(path, code, replace_copy(path, request["text"]))
        report({"found": worker_search.execute(request, code, report)})
    except BaseException as raised:
        error = raised
        traceback.print_exc()
    told = None if error is None else worker_tensors.error(error, path)
    report({"ended": {**_SILENT, "error": told, "used": [part for part in _LATE_PARTS if part in sys.modules]}})


def _compiled(request: Message, end: Callable[..., None]) -> types.CodeType:
    text, path = request["text"], request["path"]
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    try:
        return compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        end(error, stopped=False)
        raise


def _execute(request: Message, code: types.CodeType, leaves: Leaves, observer: Observer) -> None:
    if request["call"] is not None:
        worker_call.execute(request, code, leaves, observer)
        return
    entry, text = request["entry"], request["text"]
    if entry is not None:
        with tokenize.open(entry) as handle:
            text = handle.read()
        code = compile(text, entry, "exec", dont_inherit=True)
    run_program(entry or request["path"], text, code, request["cwd"])


def _seed(seed: int) -> None:
    """Seed every generator, and shift the seeds the program itself sets, so that other seeds are other runs."""
    random.seed(seed)
    own = torch.manual_seed
    torch.default_generator.manual_seed(seed)  # no run has another device, and to look for one takes long
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)
    if seed:

        def shifted(value: int) -> torch.Generator:
            return own(int(value) + 10_007 * seed)

        torch.manual_seed = torch.random.manual_seed = shifted


@contextlib.contextmanager
def _departures(request: Message, leaves: Leaves) -> Iterator[None]:
    """Everything that makes this run differ from the plain one. Nothing is entered for the plain one."""
    with contextlib.ExitStack() as stack:
        if request["hooks"]:
            stack.enter_context(bypassed_checkpoint())
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t))
        if request["unchecked"]:
            stack.enter_context(bypassed_checkpoint())
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t))
        if leaves.plan.double:
            torch.set_default_dtype(torch.float64)
            _note_custom_functions(leaves)
            torch.nn.modules.module.register_module_forward_pre_hook(_follow_parameters(leaves))
        if leaves.plan.direction is not None:
            torch._C._set_grad_enabled(False)
        if leaves.plan.departs:
            stack.enter_context(Departure(leaves))
        yield


def _note_custom_functions(leaves: Leaves) -> None:
    """A custom Function may say anything about its gradient: note that one ran. Those of checkpoint change none."""
    own = torch.autograd.Function.apply.__func__

    def apply(cls: type, *args: Any, **keywords: Any) -> Any:
        if cls.__module__ != "torch.utils.checkpoint":
            leaves.stops.add("custom Function")
        return own(cls, *args, **keywords)

    torch.autograd.Function.apply = classmethod(apply)


def _follow_parameters(leaves: Leaves) -> Callable[[torch.nn.Module, Any], None]:
    """A module's parameters count as leaves from its first call on: what initialises them has run by then."""

    def before_call(module: torch.nn.Module, args: Any) -> None:
        for parameter in module.parameters():
            if parameter.requires_grad and not leaves.is_tracked(parameter):
                leaves.follow_parameter(parameter)

    return before_call
