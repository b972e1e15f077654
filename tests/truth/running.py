"""Runs one program for real, in this process: what it did, what its names held, what its leaves got.

Five ways: plainly; traced (who wrote what backward asked for); as the clone-packing oracle, where every saved value is
a copy and leaves are fed as `leaf * 1`, so that the gradients of a program that raises are known; forward alone,
without a graph that could stop it; and the same in float64, as a number that its leaves give, for central differences.
"""

from __future__ import annotations

import ast
import contextlib
import random
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

FILE = "<random program>"
SECONDS = 5  # that a run may take; shrunk programs loop for ever
SYMPTOMS = {
    "saved-then-written": r"modified by an inplace operation",
    "leaf-view-written": r"a view of a leaf Variable that requires grad is being used",
    "leaf-written": r"a leaf Variable that requires grad is being used",
    "no-grad-view-written": r"created in no_grad mode",
    "multi-view-written": r"returns multiple views|its base or another view of its base has been modified",
    "out-argument": r"don't support automatic differentiation",
    "inference": r"[Ii]nference tensor",
    "overlap": r"more than one element of the written-to",
    "second-backward": r"backward through the graph a second time",
    "disconnected": r"element 0 of tensors does not require grad",
    "non-scalar-backward": r"grad can be implicitly created only for scalar",
}
WRITTEN = frozenset(list(SYMPTOMS)[:8])  # the kinds that a write causes
FAILING = WRITTEN | {"second-backward"}  # and those that are told by the line where torch raises them

Tensors = dict[str, torch.Tensor]


@dataclass(slots=True)
class Run:
    """What one run did."""

    kind: str | None = None  # of the error: a key of `SYMPTOMS`, "other", or None when it ran to its end
    message: str = ""
    lines: tuple[int, ...] = ()  # of the program on the traceback, outermost first
    executed: frozenset[int] = frozenset()
    raised: frozenset[int] = frozenset()  # lines where torch raised, whether the program handled that or not
    names: Tensors = field(default_factory=dict)  # what the module-level names hold at the end
    grads: dict[str, torch.Tensor | None] = field(default_factory=dict)  # of the leaves
    readable: dict[str, torch.Tensor | None] = field(default_factory=dict)  # `.grad` through the name, where it is read
    rebound: frozenset[str] = frozenset()  # leaves whose name means something else at the end
    printed: tuple[Any, ...] = ()
    rng: tuple[Any, ...] = ()
    culprits: tuple[tuple[int, ...], ...] = ()  # per conflict of a traced run: the lines that overwrote, in order

    @property
    def ran(self) -> bool:
        return self.kind is None


class _Leaves:
    """Stands between a program and its leaves."""

    def __init__(self, way: str, shift: Tensors | None, fed: Feed) -> None:
        self.way = way
        self.fed = fed
        self.shift = shift
        self.found: Tensors = {}
        self.fed_to: dict[str, Any] = {}

    def __call__(self, name: str, thing: Any) -> Any:
        if isinstance(thing, torch.nn.Module):
            return self._module(name, thing)
        self.fed_to[name] = self._tensor(name, thing) if isinstance(thing, torch.Tensor) else thing
        return self.fed_to[name]

    def _module(self, name: str, module: torch.nn.Module) -> torch.nn.Module:
        module.train(not self.fed.evaluating)
        for path, parameter in list(module.named_parameters()):
            fed = self._tensor(f"{name}.{path}", parameter)
            if fed is not parameter:
                owner, _, last = path.rpartition(".")
                holder = module.get_submodule(owner)
                del holder._parameters[last]
                object.__setattr__(holder, last, fed)
        return module

    def _tensor(self, name: str, leaf: torch.Tensor) -> torch.Tensor:
        self.found[name] = leaf
        if self.fed.sign:
            leaf.data = self.fed.sign * (leaf.data.abs() + 0.5)
        if self.way == "oracle":
            return leaf * 1
        if self.way in ("forward", "number"):
            return leaf.detach() + self.shift[name] if self.shift and name in self.shift else leaf.detach().clone()
        return leaf


class _Reached(Exception):
    """Backward was called, in a run that only wants the loss."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What a run is fed: the seed of all random numbers, and whether leaves are of one sign (1, -1) or of any (0)."""

    seed: int
    sign: int = 0
    tracked: bool = False  # data at module level requires grad too, as another caller's may
    evaluating: bool = False  # modules are in eval mode


def run(text: str, leaves: tuple[str, ...], fed: Feed, way: str = "plain", shift: Tensors | None = None) -> Run:
    """Run a program `way`: "plain", "traced", "oracle", "forward" or "number" (its leaves moved by `shift`).

    The last two end where backward is called.

    Never raises for what the program does.
    """
    feed, said, result = _Leaves(way, shift, fed), [], Run()  # type: _Leaves, list[Any], Run
    space = {
        "__name__": FILE,
        "__leaf__": feed,
        "__data__": lambda made: made.requires_grad_() if fed.tracked else made,
        "print": lambda *args, **_: said.append(_kept(args)),
    }
    trace = _Trace() if way == "traced" else None
    torch.default_generator.manual_seed(fed.seed)
    random.seed(fed.seed)
    executed: set[int] = set()
    raised: set[int] = set()
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        if trace is not None:
            stack.enter_context(trace)
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(trace.pack, trace.unpack))
        if way == "oracle":
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t))
        if way in ("forward", "number"):
            stack.enter_context(_counting(torch.get_default_dtype() if way == "forward" else torch.float64))
        if way == "plain":
            stack.enter_context(_watched(executed, raised))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(limited(SECONDS))
        try:
            exec(_code(text, leaves), space)
        except _Reached:
            pass
        except Exception as error:
            _blame(result, error)
        result.readable = {name: _copy(_grad_through(space, name)) for name in feed.found if f"{name}.grad" in text}
    result.rebound = frozenset(name for name, thing in feed.fed_to.items() if space.get(name) is not thing)
    result.executed, result.raised = frozenset(executed), frozenset(raised)
    result.names = _tensors(space)
    result.grads = {name: _copy(leaf.grad) for name, leaf in feed.found.items()}
    result.printed = tuple(said)
    result.rng = (torch.get_rng_state(), random.getstate())
    result.culprits = trace.culprits() if trace is not None else ()
    return result


def loss_of(result: Run) -> torch.Tensor | None:
    return result.names.get("loss")


# -- the program --------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _code(text: str, leaves: tuple[str, ...]) -> CodeType:
    """The program compiled, with leaves passed through `__leaf__`, data through `__data__`."""
    tree = ast.parse(text)
    wanted = set(leaves)
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        name = node.targets[0].id
        if name in wanted:
            wanted.discard(name)
            call = ast.Call(ast.Name("__leaf__", ast.Load()), [ast.Constant(name), node.value], [])
        elif isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "torch.randn":
            call = ast.Call(ast.Name("__data__", ast.Load()), [node.value], [])
        else:
            continue
        node.value = ast.copy_location(call, node.value)
    return compile(ast.fix_missing_locations(tree), FILE, "exec")


def _blame(result: Run, error: Exception) -> None:
    message = f"{type(error).__name__}: {error}"
    result.message = message.splitlines()[0]
    result.kind = next((kind for kind, pattern in SYMPTOMS.items() if re.search(pattern, message)), "other")
    lines, step = [], error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == FILE:
            lines.append(step.tb_lineno)
        step = step.tb_next
    result.lines = tuple(lines)


@contextlib.contextmanager
def _counting(default: torch.dtype) -> Iterator[None]:
    """Numbers of this dtype where no other is named, without a graph; backward ends the run."""

    def reached(*_: object, **__: object) -> None:
        raise _Reached

    kept = torch.Tensor.backward, torch.autograd.backward
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(default)
    torch.Tensor.backward, torch.autograd.backward = reached, reached
    try:
        with torch.no_grad():
            yield
    finally:
        torch.Tensor.backward, torch.autograd.backward = kept
        torch.set_default_dtype(dtype)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    def over(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _watched(executed: set[int], raised: set[int]) -> Iterator[None]:
    def local(frame: FrameType, event: str, given: Any) -> Any:
        if event == "line":
            executed.add(frame.f_lineno)
        elif event == "exception" and issubclass(given[0], RuntimeError):
            raised.add(frame.f_lineno)
        return local

    def world(frame: FrameType, event: str, _: object) -> Any:
        return local if frame.f_code.co_filename == FILE else None

    before = sys.gettrace()
    sys.settrace(world)
    try:
        yield
    finally:
        sys.settrace(before)


# -- what it held -------------------------------------------------------------------------------------------


def _tensors(space: dict[str, Any]) -> Tensors:
    found: Tensors = {}
    for name, thing in space.items():
        if not name.startswith("__"):
            _collect(name, thing, found)
    return found


def _collect(name: str, thing: Any, found: Tensors) -> None:
    if isinstance(thing, torch.Tensor) and thing.is_nested:
        _collect(name, thing.detach().unbind(), found)
    elif isinstance(thing, torch.Tensor):
        found[name] = thing.detach().clone()
    elif isinstance(thing, list | tuple):
        for place, item in enumerate(thing):
            _collect(f"{name}[{place}]", item, found)
    elif isinstance(thing, dict):
        for key, item in thing.items():
            _collect(f"{name}[{key!r}]", item, found)
    elif isinstance(thing, torch.nn.Module):
        for path, tensor in (*thing.named_parameters(), *thing.named_buffers()):
            found[f"{name}.{path}"] = tensor.detach().clone()
    elif type(thing).__module__ == FILE and hasattr(thing, "__dict__"):
        for key, item in vars(thing).items():
            _collect(f"{name}.{key}", item, found)


def _copy(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _kept(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.detach().clone() if isinstance(value, torch.Tensor) else value for value in values)


def _grad_through(space: dict[str, Any], name: str) -> torch.Tensor | None:
    first, *rest = name.split(".")
    thing = space.get(first)
    for part in rest:
        thing = getattr(thing, part, None)
    return thing.grad if isinstance(thing, torch.Tensor) else None


# -- who wrote ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Saved:
    """A value kept for backward, and the lines that wrote to it since."""

    tensor: torch.Tensor
    version: int
    seen: int  # the version after the last write noted
    lines: list[int] = field(default_factory=list)
    asked: tuple[int, ...] = ()  # those before backward asked for the value


class _Trace(TorchFunctionMode):
    """Notes every saved value and every write to it. Under hooks torch checks no versions, so all conflicts show."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: dict[int, list[_Saved]] = {}
        self.views: list[_Saved] = []  # made so far, as if saved when they were made
        self.stale: tuple[int, ...] = ()  # the lines that wrote under a view that an operation then refused

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        versions = [_version(t) for t in tensors]
        try:
            result = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if isinstance(tensor, torch.Tensor) and tensor._is_view():
                    self.views.append(self.watch(tensor))
            return result
        except RuntimeError:
            refused = {id(tensor) for tensor in tensors}
            self.stale = next((tuple(v.lines) for v in self.views if id(v.tensor) in refused and v.lines), ())
            raise
        finally:
            for tensor, version in zip(tensors, versions, strict=True):
                if _version(tensor) != version:
                    self._note(tensor)

    def pack(self, tensor: torch.Tensor) -> _Saved:
        return self.watch(tensor)

    def watch(self, tensor: torch.Tensor) -> _Saved:
        saved = _Saved(tensor, _version(tensor), _version(tensor))
        self.saved.setdefault(_memory(tensor), []).append(saved)
        return saved

    def unpack(self, saved: _Saved) -> torch.Tensor:
        saved.asked = saved.asked or tuple(saved.lines)
        return saved.tensor

    def culprits(self) -> tuple[tuple[int, ...], ...]:
        every = (saved for group in self.saved.values() for saved in group)
        return tuple(dict.fromkeys((*(s.asked for s in every if s.asked), *([self.stale] if self.stale else []))))

    def _note(self, tensor: torch.Tensor) -> None:
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename != FILE:
            frame = frame.f_back  # type: ignore[assignment]
        for saved in self.saved.get(_memory(tensor), ()):
            if _version(saved.tensor) != saved.seen:
                saved.seen = _version(saved.tensor)
                saved.lines.append(frame.f_lineno if frame is not None else 0)


def _version(tensor: torch.Tensor) -> int:
    """Tensors made in inference mode count no writes."""
    return 0 if tensor.is_inference() else tensor._version


def _memory(tensor: torch.Tensor) -> int:
    """What tells apart memory that isn't shared; sparse tensors have no storage of their own."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)
