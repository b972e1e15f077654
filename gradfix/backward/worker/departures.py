"""Everything that makes a run differ from the plain one, and what it needs; all undone when it is over."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gradfix.backward.worker.gradient_copies import copied_gradients
from gradfix.backward.worker.held import Constants, Holding
from gradfix.backward.worker.messages import GRAPH
from gradfix.backward.worker.parameters import FedParameters
from gradfix.backward.worker.requests import Request
from gradfix.backward.worker.tensors import digest
from gradfix.backward.worker.transforms import by_autograd
from gradfix.backward.worker.updates import Updates
from gradfix.backward.worker.vary import Departure, Leaves, has_graph
from gradfix.tracer.hooks import saving
from gradfix.tracer.trace import bypassed_checkpoint

_EXPANDING = (torch.Tensor.expand, torch.Tensor.expand_as, torch.Tensor.broadcast_to, torch.broadcast_to)


def seed(number: int) -> None:
    """Seed every generator."""
    random.seed(number)
    torch.default_generator.manual_seed(number)  # no run has another device, and to look for one takes long
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(number)


@contextlib.contextmanager
def departures(request: Request, leaves: Leaves, constants: Constants) -> Iterator[None]:
    """Make this run what the request says. Nothing is entered for the plain one."""
    with contextlib.ExitStack() as stack:
        if request.seed:
            stack.enter_context(_shifted_seeds(10_007 * request.seed))
        if request.hooks or request.unchecked:
            stack.enter_context(bypassed_checkpoint())
        if request.plainly:
            stack.enter_context(by_autograd(leaves))
        if request.copies:
            stack.enter_context(copied_gradients())
        if leaves.plan.double:
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float64)
            stack.enter_context(_noted_custom_functions(leaves))
            hook = torch.nn.modules.module.register_module_forward_pre_hook(_follow_parameters(leaves))
            stack.callback(hook.remove)
        if request.departs:
            stack.enter_context(_in_each_thread(lambda: _in_this_thread(request, leaves)))
            stack.enter_context(_in_this_thread(request, leaves))
        if leaves.plan.held:
            stack.enter_context(Holding(constants, leaves, request.path, request.cuts))
        yield


@contextlib.contextmanager
def _in_this_thread(request: Request, leaves: Leaves) -> Iterator[None]:
    """What of it autograd keeps for each thread: hooks, modes, whether gradients are on."""
    plan = leaves.plan
    with contextlib.ExitStack() as stack:
        if request.hooks:
            stack.enter_context(saving(lambda t: t.clone(), lambda t: t))
        if request.apart:
            stack.enter_context(_Apart())
        if request.unchecked:
            stack.enter_context(saving(lambda t: t, lambda t: t))
        if plan.direction is not None and not plan.held:
            stack.callback(torch._C._set_grad_enabled, True)
            torch._C._set_grad_enabled(False)
        if plan.fresh_leaves:
            stack.enter_context(FedParameters(leaves))  # below `Departure`, which looks at who calls
        if request.updates:
            stack.enter_context(Updates())
        if plan.departs:
            stack.enter_context(Departure(leaves))
        if request.graphs:
            stack.enter_context(_Graphs(request.path, frozenset(request.lines), leaves))
        if request.leaves:
            stack.enter_context(_MadeLeaves(request.leaves))
        yield


@contextlib.contextmanager
def _in_each_thread(entered: Callable[[], contextlib.AbstractContextManager[None]]) -> Iterator[None]:
    """Have the threads that are started meanwhile run inside of what `entered` gives each."""
    plain = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]

    def bootstrap(thread: threading.Thread) -> None:
        with entered():
            plain(thread)

    threading.Thread._bootstrap_inner = bootstrap  # type: ignore[attr-defined]
    try:
        yield
    finally:
        threading.Thread._bootstrap_inner = plain  # type: ignore[attr-defined]


class _Apart(TorchFunctionMode):  # type: ignore[misc]  # torch's stubs are not followed
    """Gives every element of an expanded tensor a memory cell of its own."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        return result.clone() if function in _EXPANDING else result


class _Graphs(TorchFunctionMode):  # type: ignore[misc]  # torch's stubs are not followed
    """Notes that in one of some lines a function of torch was given something with a graph, or gave it."""

    def __init__(self, path: str, lines: frozenset[int], leaves: Leaves) -> None:
        super().__init__()
        self._path, self._lines, self._leaves = path, lines, leaves

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if has_graph([*args, *(kwargs or {}).values(), result]):
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and frame.f_code.co_filename != self._path:
                frame = frame.f_back
            if frame is not None and frame.f_lineno in self._lines:
                self._leaves.stops.add(GRAPH)
        return result


class _MadeLeaves(TorchFunctionMode):  # type: ignore[misc]  # torch's stubs are not followed
    """Hands out as leaves what is computed with a given content, each content as often as it is given."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__()
        self._wanted = list(keys)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not self._wanted or not isinstance(result, torch.Tensor) or result.grad_fn is None:
            return result
        with torch._C.DisableTorchFunction():
            key = digest(result)
            if key not in self._wanted:
                return result
            self._wanted.remove(key)
            return result.detach().requires_grad_()


@contextlib.contextmanager
def _shifted_seeds(shift: int) -> Iterator[None]:
    """Shift the seeds that the program itself sets, so that other seeds are other runs."""
    own = torch.manual_seed

    def shifted(value: int) -> torch.Generator:
        return own(int(value) + shift)

    torch.manual_seed = torch.random.manual_seed = shifted
    try:
        yield
    finally:
        torch.manual_seed = torch.random.manual_seed = own


@contextlib.contextmanager
def _noted_custom_functions(leaves: Leaves) -> Iterator[None]:
    """A custom Function may say anything about its gradient: note that one ran. Those of checkpoint change none."""
    own = torch.autograd.Function.__dict__["apply"]

    def apply(cls: type, *args: Any, **keywords: Any) -> Any:
        if cls.__module__ != "torch.utils.checkpoint":
            leaves.stops.add("custom Function")
        return own.__func__(cls, *args, **keywords)

    torch.autograd.Function.apply = classmethod(apply)
    try:
        yield
    finally:
        torch.autograd.Function.apply = own


def _follow_parameters(leaves: Leaves) -> Callable[[torch.nn.Module, Any], None]:
    """A module's parameters count as leaves from its first call on: what initialises them has run by then."""

    def before_call(module: torch.nn.Module, args: Any) -> None:
        for parameter in module.parameters():
            if parameter.requires_grad and not leaves.is_tracked(parameter):
                leaves.follow_parameter(parameter)

    return before_call
