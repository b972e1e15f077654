"""Observes every backward pass of a run: what went in, which leaves it reached, what each received, what it raised.

`torch.autograd.backward` and `torch.autograd.grad` are replaced by observers that call the originals
(`Tensor.backward` goes through the first). Gradients are read by a hook on the node that accumulates them, so `.grad`
and its history stay the user's. No saved-tensor hooks: they would switch the version check off.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Any

import torch

from gradfix.backward.worker import tensors as wire
from gradfix.backward.worker.limits import peak, resident
from gradfix.backward.worker.messages import ErrorMessage, EventMessage, LeafMessage, OutcomeMessage, Said
from gradfix.backward.worker.results import answers_itself
from gradfix.backward.worker.turns import Turns
from gradfix.backward.worker.vary import Leaves

_MOST_NODES = 500_000
_MOST_NAMES = 5_000
_MOST_ERRORS = 64  # told of those that came by
_backward, _grad = torch.autograd.backward, torch.autograd.grad
_TORCH_FOLDER = os.path.dirname(torch.__file__) + os.sep


class Clock:
    """Time and memory of the user's code from the last `start` on."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """What has been done so far doesn't count."""
        self._resident, self._started, self._used = resident(), time.perf_counter(), time.process_time()

    def busy(self) -> float:
        """Seconds, but for those in which the process slept or had no processor."""
        return min(time.perf_counter() - self._started, time.process_time() - self._used)

    def read(self) -> tuple[float, int]:
        """Seconds, and bytes at the peak beyond those at the start."""
        seconds = time.perf_counter() - self._started
        return seconds, max(0, peak() - self._resident)


class Observer:
    """Replaces torch's two entry points and reports each outermost call of them."""

    def __init__(self, report: Callable[[Said], None], leaves: Leaves, *, subject: str, file: str, most: int) -> None:
        """Passes are told with lines of `subject`, the program, errors with those of the `file` that is judged."""
        self.wire = wire.Wire()
        self.events = 0
        self.directions = 0  # > 0: report derivatives along so many directions
        self.forward_only = False  # report the objective of the first pass and stop
        self.skipped = 0  # passes still to come that aren't carried out
        self.ones = False  # a cotangent of ones where torch would ask for one
        self.kept = False  # every pass keeps its graph
        self.quiet = False  # look at nothing: the run is measured
        self.clock = Clock()
        self.executed: set[int] = set()  # of the watched lines; filled by the line tracer
        self.outcome: OutcomeMessage | None = None  # of a call, once it returned
        self.finish: Callable[[], None] = lambda: None  # ends the run from inside
        self._report, self._leaves, self._subject, self._most = report, leaves, subject, most
        self._file = file
        self._inside = False
        self._pass: _Pass | None = None  # that is under way
        self._met: BaseException | None = None  # the last error that came by, or that a pass raised
        self._errors = 0

    def install(self) -> None:
        """From now on every backward pass of this process is observed."""
        turns = Turns()
        torch.autograd.backward = turns.taken(self._observed_backward)
        torch.autograd.grad = turns.taken(self._observed_grad)

    def meet(self, error: BaseException, frame: FrameType) -> None:
        """Tell an error that comes by in a frame of the user's code, once, and not if a pass raised it."""
        if self._inside or error is self._met or not isinstance(error, (RuntimeError, ValueError)):
            return
        self._met, self._errors = error, self._errors + 1
        if self._errors <= _MOST_ERRORS:
            line = frame.f_lineno if frame.f_code.co_filename == self._file else None
            self._report({"caught": {**wire.error(error, self._file), "line": line}})

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Passes that are made meanwhile aren't observed, and lines that run don't count."""
        inside, self._inside = self._inside, True
        ran = set(self.executed)
        try:
            yield
        finally:
            self._inside = inside
            self.executed.intersection_update(ran)

    def gradients(self, roots: list[torch.Tensor], cotangents: list[torch.Tensor]) -> list[LeafMessage] | ErrorMessage:
        """What the leaves behind `roots` would receive, or what the pass raises. Nothing is accumulated."""
        found = [node.variable for node in accumulators(roots) if id(node.variable) not in self._leaves.ignored]
        with self.paused():
            try:
                given = _grad(roots, found, cotangents, retain_graph=True, allow_unused=True) if found else ()
            except Exception as error:
                return wire.error(error, self._subject)
        return self._leaf_messages([(leaf, wire.digest(leaf), received) for leaf, received in zip(found, given)], None)

    def _observed_backward(
        self, tensors: Any, grad_tensors: Any = None, *args: Any, inputs: Any = None, **keywords: Any
    ) -> Any:
        if len(args) > 3:  # (retain_graph, create_graph, grad_variables, inputs)
            inputs, args = args[3], args[:3]
        if inputs is not None:
            keywords["inputs"] = inputs
        args, keywords = self._keeping(args, keywords)
        tensors, grad_tensors = _once(tensors), _once(grad_tensors)
        if self._inside:
            self._meet_nested(tensors, sys._getframe(2))  # behind the one that took its turn
            return _backward(tensors, grad_tensors, *args, **keywords)
        if self._skips():
            self._leaves.fill_gradients()
            return None
        roots, cotangents = _pair(tensors, grad_tensors)

        def call(given: Sequence[torch.Tensor | None]) -> None:
            _backward(tensors, grad_tensors if not self.ones else tuple(given), *args, **keywords)

        return self._observe("backward", roots, cotangents, call, ())

    def _skips(self) -> bool:
        """Whether the pass that is due is one of those that aren't carried out."""
        self.skipped -= 1
        return self.skipped >= 0

    def _keeping(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments from `retain_graph` on, as this run has them."""
        if not self.kept:
            return args, keywords
        return ((True, *args[1:]), keywords) if args else (args, {**keywords, "retain_graph": True})

    def _observed_grad(self, outputs: Any, inputs: Any, grad_outputs: Any = None, *args: Any, **keywords: Any) -> Any:
        args, keywords = self._keeping(args, keywords)
        outputs, inputs, grad_outputs = _once(outputs), _once(inputs), _once(grad_outputs)
        if self._inside or any(wire.plain(root) is None for root in _pair(outputs, None)[0]):
            return _grad(outputs, inputs, grad_outputs, *args, **keywords)
        if self._skips():  # what it gives is needed
            return _grad(outputs, inputs, grad_outputs, *args, **keywords)
        roots, cotangents = _pair(outputs, grad_outputs)

        def call(given: Sequence[torch.Tensor | None]) -> Any:
            return _grad(outputs, inputs, grad_outputs if not self.ones else tuple(given), *args, **keywords)

        asked = inputs.values() if isinstance(inputs, dict) else inputs
        wanted = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(asked)
        return self._observe("grad", roots, cotangents, call, wanted)

    def _observe(
        self,
        kind: str,
        roots: list[torch.Tensor],
        cotangents: list[torch.Tensor | None],
        call: Callable[[Sequence[torch.Tensor | None]], Any],
        wanted: tuple[torch.Tensor, ...],
    ) -> Any:
        if self.quiet:
            return self._measured(call, roots, cotangents)
        self._inside = True
        try:
            given = [
                torch.ones_like(root) if cotangent is None and root.numel() != 1 else cotangent
                for root, cotangent in zip(roots, cotangents)
            ]
            self._leaves.note_roots(roots)
            event: EventMessage = {"kind": kind, "line": self._line(), "rng": wire.rng_state()}
            event["roots"] = [self.wire.tensor(root) for root in roots]
            if self.forward_only:
                event["objective"] = _objective(roots, given)
                self._send(event, [], None)
                self.finish()
            result, raised, received = self._run(event, roots, given, call, wanted)
            self._send(event, received, raised)
            if self.events >= self._most:
                self.finish()
            if raised is not None:
                self._met = raised
                raise raised
            return result
        finally:
            self._inside = False
            self._leaves.after_pass()

    def _meet_nested(self, tensors: Any, caller: FrameType) -> None:
        """Leaves that only a pass inside of the one under way reaches, as those of a reentrant checkpoint.

        What the caller holds in its variables was detached to end that pass there.
        """
        if self._pass is None:
            return
        held = [item for value in caller.f_locals.values() for item in (value if type(value) is tuple else [value])]
        ends = {id(item) for item in held if isinstance(item, torch.Tensor)} | self._leaves.ignored.keys()
        roots = [root for root in _pair(tensors, None)[0] if isinstance(root, torch.Tensor)]
        self._pass.meet(node for node in accumulators(roots) if id(node.variable) not in ends)

    def _measured(
        self, call: Callable[[Sequence[torch.Tensor | None]], Any], roots: list[torch.Tensor], given: list[Any]
    ) -> Any:
        """The real pass and nothing else, but for where the run ends."""
        self.events += 1
        if self.forward_only:
            self.finish()
        result = call([torch.ones_like(r) if g is None else g for r, g in zip(roots, given)])
        if self.events >= self._most:
            self.finish()
        return result

    def _run(
        self,
        event: EventMessage,
        roots: list[torch.Tensor],
        given: list[torch.Tensor | None],
        call: Callable[[Sequence[torch.Tensor | None]], Any],
        wanted: tuple[torch.Tensor, ...],
    ) -> tuple[Any, BaseException | None, list[tuple[torch.Tensor, str, torch.Tensor | None]]]:
        """The real pass. Returns its result, what it raised, and (leaf, its key before, what it received)."""
        own = _Pass()
        keys, gradients = own.keys, own.gradients
        if wanted:
            keys += [(leaf, wire.digest(leaf)) for leaf in wanted]
        else:
            own.meet(node for node in accumulators(roots) if id(node.variable) not in self._leaves.ignored)
            self._pass = own
        result, raised = None, None
        try:
            result = call(given)
        except Exception as error:
            raised = error
        finally:
            self._pass = None
            own.end()
        if wanted and result is not None:
            found = result.values() if isinstance(result, dict) else result
            gradients = {id(leaf): g for leaf, g in zip(wanted, found) if isinstance(g, torch.Tensor)}
        if self.directions:
            event["objective"] = _objective(roots, given)
            event["derivatives"] = [self._leaves.derivative(number, gradients) for number in range(self.directions)]
            moved = self._leaves.is_tracked
            event["unmoved"] = sum(1 for leaf, _ in keys if not moved(leaf) and id(leaf) in gradients)
        return result, raised, [(leaf, key, gradients.get(id(leaf))) for leaf, key in keys]

    def _send(
        self,
        event: EventMessage,
        received: list[tuple[torch.Tensor, str, torch.Tensor | None]],
        raised: BaseException | None,
    ) -> None:
        event["leaves"] = self._leaf_messages(received, sys._getframe(3) if received else None)
        error = None if raised is None else wire.error(raised, self._subject)
        event["error"] = error and {**error, "line": error["line"] or event["line"]}
        event["executed"] = sorted(self.executed)
        event["stops"] = sorted(self._leaves.stops)
        self.events += 1
        self._report({"event": event})

    def _leaf_messages(
        self, received: list[tuple[torch.Tensor, str, torch.Tensor | None]], frame: FrameType | None
    ) -> list[LeafMessage]:
        """Leaves, named as in the frames from this one outwards, with what each received."""
        named = names(frame, self._leaves)
        return [
            {
                "names": named.get(id(leaf), []),
                "key": key,
                "gradient": None if gradient is None else self.wire.tensor(gradient),
            }
            for leaf, key, gradient in received
        ]

    def _line(self) -> int | None:
        frame: FrameType | None = sys._getframe(3)
        while frame is not None and frame.f_code.co_filename != self._subject:
            frame = frame.f_back
        return None if frame is None else frame.f_lineno


def _once(given: Any) -> Any:
    """What can be gone through again and again: `model.parameters()` can't."""
    return tuple(given) if isinstance(given, Iterator) else given


def _pair(tensors: Any, cotangents: Any) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
    """Roots and their cotangents as lists of equal length, whatever form the user gave them in."""
    roots = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
    given = [cotangents] if cotangents is None or isinstance(cotangents, torch.Tensor) else list(cotangents)
    return roots, [*given, *[None] * len(roots)][: len(roots)]


class _Pass:
    """What leaves receive in one pass."""

    def __init__(self) -> None:
        self.keys: list[tuple[torch.Tensor, str]] = []  # the leaves and their keys before
        self.gradients: dict[int, torch.Tensor] = {}  # by id of the leaf
        self._handles: list[Any] = []

    def meet(self, nodes: Iterable[Any]) -> None:
        """Collect what these nodes accumulate, too."""
        known = {id(leaf) for leaf, _ in self.keys}
        for node in nodes:
            leaf = node.variable
            if id(leaf) not in known:
                self.keys.append((leaf, wire.digest(leaf)))
                self._handles.append(node.register_prehook(_collector(self.gradients, id(leaf))))

    def end(self) -> None:
        """Collect nothing more."""
        for handle in self._handles:
            handle.remove()


def _collector(gradients: dict[int, torch.Tensor], leaf: int) -> Callable[[Any], None]:
    def collect(received: Any) -> None:
        if received[0] is not None:
            previous = gradients.get(leaf)
            now = received[0].detach()
            gradients[leaf] = now.clone() if previous is None else previous + now

    return collect


def accumulators(roots: Sequence[torch.Tensor]) -> Iterator[Any]:
    """The nodes that accumulate into leaves, each once, in the order of a walk from the roots."""
    todo: list[Any] = []
    for root in roots:
        if root.requires_grad:
            todo.append(root.grad_fn or torch.autograd.graph.get_gradient_edge(root).node)
    seen: set[Any] = set()
    while todo and len(seen) < _MOST_NODES:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "torch::autograd::AccumulateGrad":
            yield node
        todo += [following for following, _ in node.next_functions]


def _objective(roots: list[torch.Tensor], given: list[torch.Tensor | None]) -> float:
    """The number whose gradient the pass would compute."""
    with torch._C.DisableTorchFunction(), torch.no_grad():
        parts = [
            (root.double() * (1.0 if cotangent is None else cotangent.double())).sum()
            for root, cotangent in zip(roots, given)
        ]
        return float(sum(parts))


def names(frame: FrameType | None, leaves: Leaves) -> dict[int, list[str]]:
    """What the user calls each leaf, by its id: variables of the calling frames, parameters of modules in them."""
    found = {leaf: [label] for leaf, label in leaves.labels.items()}
    hidden = leaves.hidden()
    while frame is not None and len(found) < _MOST_NAMES:
        code = frame.f_code.co_filename
        ours = str(frame.f_globals.get("__name__")).startswith("gradfix.backward.")
        if not ours and not code.startswith(_TORCH_FOLDER):
            for name, value in list(frame.f_locals.items()):
                if not name.startswith("__") and not answers_itself(value):
                    with contextlib.suppress(Exception):  # what an object says it is may be anything, or raise
                        _name(name, value, hidden, found, depth=2)
        frame = frame.f_back
    return found


def _name(name: str, value: Any, hidden: dict[int, torch.Tensor], found: dict[int, list[str]], *, depth: int) -> None:
    if isinstance(value, torch.Tensor):
        leaf = hidden.get(id(value), value)
        known = found.setdefault(id(leaf), [])
        if name not in known and len(known) < 4:
            known.append(name)
    elif isinstance(value, torch.nn.Module):
        for path, parameter in value.named_parameters():
            _name(f"{name}.{path}", parameter, hidden, found, depth=0)
    elif depth and type(value) in (list, tuple) and len(value) <= 200:
        for index, item in enumerate(value):
            _name(f"{name}[{index}]", item, hidden, found, depth=depth - 1)
    elif depth and type(value) is dict and len(value) <= 200:
        for key, item in list(value.items()):
            _name(f"{name}[{key!r}]", item, hidden, found, depth=depth - 1)
    elif depth and name == "self" and hasattr(value, "__dict__"):
        for attribute, item in list(vars(value).items()):
            _name(f"{name}.{attribute}", item, hidden, found, depth=depth - 1)
