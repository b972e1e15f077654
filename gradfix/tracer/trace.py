"""Runs code under observation and collects every conflict of the run.

    with Tracer() as trace:
        program()
    for conflict in trace.conflicts():
        print(conflict.save, conflict.write)

Saved-tensor hooks and one `TorchFunctionMode`: about twice the time of a plain run. Writes through `.data` and NumPy
arrays bump no version; with `contents` they are found by what they change, those of NumPy without their place. Not
seen: other threads, what happens inside of hooks of the user's own.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import torch
import torch.utils.checkpoint
from torch.overrides import TorchFunctionMode

from gradfix.tracer.conflicts import Conflict, Saves, place_of, through_of
from gradfix.tracer.cuts import Cuts
from gradfix.tracer.hooks import saving
from gradfix.tracer.spots import Mark, Marker

Function = Callable[..., Any]

_APPLY = "Function.apply"  # the one thing that saves without the mode seeing it

FORBIDDEN = (  # what torch's message contains, the kind of conflict, whether the write can be made all the same
    ("a view of a leaf Variable that requires grad", "leaf-view-written", True),
    ("a leaf Variable that requires grad", "leaf-written", True),
    ("is being modified inplace with grad mode enabled", "no-grad-view-written", True),
    ("and is being modified inplace", "multi-view-written", True),
    ("its base or another view of its base has been modified inplace", "multi-view-written", False),
    ("refer to a single memory location", "memory-overlap", False),
    ("nference tensor", "inference-tensor", False),
    ("functions with out=... arguments don't support", "out-argument", True),
    ("vmap: inplace arithmetic", "vmap-written", False),
    ("vmap: We do not support batching operators", "vmap-written", False),
)
FAILED = (  # the same of what a backward pass raises
    ("does not require grad and does not have a grad_fn", "disconnected"),
    ("appears to not have been used in the graph", "disconnected"),
    ("grad can be implicitly created only for", "non-scalar-backward"),
)


class Tracer:
    """A context in which conflicts are collected, of this thread.

    With `go_on`, a write that autograd forbids is made behind its back after it was noted, and a backward pass that
    can't be is left out, so that the run comes to the conflicts behind them: values stay right, gradients don't.
    """

    def __init__(
        self,
        *,
        roots: tuple[str, ...] = (),
        within: str | None = None,
        contents: bool = False,
        go_on: bool = False,
    ) -> None:
        """Of writes elsewhere the call in the file `within` that led to them is told, too.

        `roots` are the user's files and folders, wherever they lie; `contents` keeps copies of what is saved.
        """
        self._marker = Marker(roots, within)
        self._mode = _Mode(self._marker, contents=contents, go_on=go_on)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Tracer:
        saves = self._mode.saves
        self._stack.enter_context(bypassed_checkpoint())
        self._stack.enter_context(self._watched_passes())
        self._stack.enter_context(saving(saves.pack, saves.unpack))
        self._stack.enter_context(self._mode)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def conflicts(self) -> list[Conflict]:
        """What was found so far: what raised first, then overwritten saves in the order in which backward met them."""
        return [*self._mode.raised, *self._mode.saves.conflicts()]

    @contextlib.contextmanager
    def _watched_passes(self) -> Iterator[None]:
        """Take note of what backward itself raises, and of what cut its root off."""
        plain = torch.autograd.backward, torch.autograd.grad

        def watched(call: Function) -> Function:
            def run(roots: Any, *args: Any, **keywords: Any) -> Any:
                try:
                    return call(roots, *args, **keywords)
                except RuntimeError as error:
                    if not self._mode.passed(roots, error) or call is plain[1]:
                        raise

            return run

        torch.autograd.backward, torch.autograd.grad = map(watched, plain)
        try:
            yield
        finally:
            torch.autograd.backward, torch.autograd.grad = plain


class _Mode(TorchFunctionMode):  # type: ignore[misc]  # torch's stubs are not followed
    """Sees every call of torch that the user's code makes."""

    def __init__(self, marker: Marker, *, contents: bool, go_on: bool) -> None:
        super().__init__()
        self._marker, self._go_on = marker, go_on
        self._running = _APPLY
        self.saves = Saves(marker, lambda: self._running, contents=contents)
        self.cuts = Cuts(marker)
        self.raised: list[Conflict] = []
        self._noted: dict[tuple[Any, ...], Conflict] = {}

    def __torch_function__(
        self, function: Function, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        given = list(_flat(itertools.chain(args, keywords.values())))
        tensors = [value for value in given if isinstance(value, torch.Tensor)]
        versions = [_version(tensor) for tensor in tensors]
        name = getattr(function, "__name__", "")
        self._marker.next_call()
        self.saves.next_call()
        outer, self._running = self._running, name
        try:
            result = self._called(function, args, keywords, name)
        finally:
            self._running = outer
        written = [(t, v) for t, v in zip(tensors, versions) if _version(t) != v]
        for tensor, version in written:
            self.saves.written(tensor, version, name, self._marker.mark)
        return self.cuts.called(name, given, result, [tensor for tensor, _ in written])

    def _called(self, function: Function, args: tuple[Any, ...], keywords: dict[str, Any], name: str) -> Any:
        try:
            return function(*args, **keywords)
        except RuntimeError as error:
            known = next((row for row in FORBIDDEN if row[0] in str(error)), None)
            if known is None:
                raise
            self._note(known[1], name, self._marker.mark(), str(error))
            if not (known[2] and self._go_on):
                raise
        return self._behind_its_back(function, args, keywords)

    def _behind_its_back(self, function: Function, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Make a forbidden write through `.data`: no version is bumped, so nothing fails because of this one later."""
        target = keywords.get("out", args[0] if args else None)
        if not isinstance(target, torch.Tensor):
            with torch.no_grad():
                return function(*args, **keywords)
        hidden = target.data
        with torch.no_grad():
            result = function(
                *(hidden if value is target else value for value in args),
                **{name: hidden if value is target else value for name, value in keywords.items()},
            )
        return target if result is hidden else result

    def passed(self, roots: Any, error: RuntimeError) -> bool:
        """Take note of what a backward pass raised. True when the run may go on without that pass."""
        message = str(error)
        known = next((row[1] for row in FAILED if row[0] in message), None)
        if known == "disconnected":
            values = [roots] if isinstance(roots, torch.Tensor) else list(roots)
            cuts = self.cuts.feeding(values) or [(self._marker.mark(), "backward")]
            self.raised += [_cut(mark, name, message) for mark, name in cuts]
        elif known is not None:
            self._note(known, "backward", self._marker.mark(), message)
        return known is not None and self._go_on

    def _note(self, kind: str, name: str, mark: Mark | None, message: str) -> None:
        key = (kind, place_of(mark))
        if key in self._noted:
            self._noted[key].times += 1
            return
        spot = None if mark is None else mark.spot(whole=True)
        self._noted[key] = Conflict(kind, spot, name, message=message, through=through_of(mark))
        self.raised.append(self._noted[key])


@contextlib.contextmanager
def bypassed_checkpoint() -> Iterator[None]:
    """Call checkpointed functions directly, keep offloaded tensors where they are.

    Their own hooks on saved tensors would hide what is overwritten: around an in-place write checkpoint itself is wrong
    without a word.
    """
    module, graph = torch.utils.checkpoint, torch.autograd.graph
    plain = module.checkpoint, graph.save_on_cpu
    options = ("use_reentrant", "preserve_rng_state", "context_fn", "determinism_check", "debug", "early_stop")

    @functools.wraps(module.checkpoint)  # a name that the user's code gives it shows up in the state of its modules
    def direct(function: Function, *args: Any, **keywords: Any) -> Any:
        return function(*args, **{name: value for name, value in keywords.items() if name not in options})

    module.checkpoint = direct
    graph.save_on_cpu = lambda *args, **keywords: contextlib.nullcontext()
    try:
        yield
    finally:
        module.checkpoint, graph.save_on_cpu = plain


def _cut(mark: Mark | None, name: str, message: str = "") -> Conflict:
    return Conflict("disconnected", None if mark is None else mark.spot(), name, message=message)


def _flat(values: Any, depth: int = 2) -> Iterator[Any]:
    """What a call was given, lists of tensors opened."""
    for value in values:
        if depth and isinstance(value, (list, tuple)):
            yield from _flat(value, depth - 1)
        else:
            yield value


def _version(tensor: torch.Tensor) -> int:
    try:
        return int(tensor._version)
    except RuntimeError:  # an inference tensor has none
        return 0
