"""One try of a call: how far it came, which lines it ran, and what its backward said."""

from __future__ import annotations

import contextlib
import io
import random
import signal
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import CodeType, FrameType, TracebackType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gradfix.backward.worker.call import drive, left_behind
from gradfix.backward.worker.inputs import as_inputs, prepared
from gradfix.backward.worker.requests import Plan
from gradfix.backward.worker.results import consumed, tensors_of
from gradfix.backward.worker.vary import Leaves, has_graph

SECONDS = 1.0  # of the processor, for one try
# How far a call came: its results are constants, or have a graph; the last shows the symptom of the hazard.
RAISED, RAN, CONSTANT, DIFFERENTIABLE, AKIN, FAILED = range(6)


@dataclass(frozen=True)
class Outcome:
    """What one try has shown."""

    level: int
    executed: frozenset[int]  # lines of the file
    error: BaseException | None
    finite: bool = True
    result: Any = None
    passes: int = 0  # backward passes that the call makes itself
    again: int = 0  # times that lines ran once more
    tracked: bool = True  # something that needs gradients took part; only looked at when asked
    seconds: float = 0.0  # of the processor
    leaves_data: bool = False  # it gives tensors that can't have a graph, or leaves such behind
    graphs: frozenset[int] = frozenset()  # lines where something that needs gradients takes part; when asked

    @property
    def progress(self) -> float:
        """Larger for a call that came further."""
        lines = min(len(self.executed), 900) + min(self.again, 20)
        return self.level * 1000.0 + lines - 400.0 * (not self.finite)


class Trials:
    """Makes tries in this process, one after the other."""

    def __init__(self, module: types.ModuleType, path: str, stems: tuple[str, ...], akin: tuple[str, ...]) -> None:
        """`stems` are in the messages of the errors that are looked for, `akin` in those of others that writes make."""
        self.module = module
        self._path, self._stems, self._akin = path, stems, akin
        self.made = 0

    @property
    def expects(self) -> bool:
        """Whether an error is looked for."""
        return bool(self._stems)

    def looked_into(self, text: str) -> Outcome:
        """Run it, and see whether anything that needs gradients takes part."""
        with _Graphs(self._path) as graphs:
            outcome = self.run(text)
        return replace(outcome, tracked=graphs.met, graphs=frozenset(graphs.lines))

    def run(self, text: str) -> Outcome:
        """Make the call and drive backward over what it returns."""
        self.made += 1
        started = time.process_time()
        lines: Counter[int] = Counter()
        state: list[Any] = [RAISED, None, True, 0, False]
        error = self._raised(text, state, lines)
        shown = RAISED if error is None else self._shown(str(error))
        if shown:
            hidden = self._hidden(text, lines) if state[0] == RAISED and not state[3] else None
            error = hidden or error
            state[0] = RAISED if hidden else shown
        torch.set_grad_enabled(True)
        again = sum(lines.values()) - len(lines)
        seconds = time.process_time() - started
        level, result, finite, passes, leaves_data = state
        ran = frozenset(lines)
        return Outcome(level, ran, error, finite, result, passes, again, seconds=seconds, leaves_data=leaves_data)

    def _shown(self, message: str) -> int:
        if any(stem in message for stem in self._stems):
            return FAILED
        return AKIN if any(stem in message for stem in self._akin) else RAISED

    def _hidden(self, text: str, lines: Counter[int]) -> BaseException | None:
        """What a call that autograd stops half-way would raise after that: without a graph it goes on."""
        state: list[Any] = [RAISED, None, True, 0, False]
        with torch.no_grad():
            error = self._raised(text, state, lines)
        return error if state[0] == RAISED and not state[3] else None

    def _raised(self, text: str, state: list[Any], lines: Counter[int]) -> BaseException | None:
        torch.manual_seed(0)
        random.seed(0)
        with _bounded(), _traced(self._path, lines), contextlib.redirect_stdout(io.StringIO()):
            try:
                self._call(text, state)
            except (Exception, SystemExit, _TooLong) as raised:
                return raised
        return None

    def knows(self, name: str) -> bool:
        """Whether a name of ours means in a call what we mean by it."""
        return not hasattr(self.module, name)

    def _call(self, text: str, state: list[Any]) -> None:
        leaves = Leaves(Plan())
        function, args, keywords = prepared(text, self.module, leaves)
        given = as_inputs(args, keywords, leaves)
        held = _data_of(getattr(function, "__self__", None))
        with self._counted() as passes:
            try:
                result = consumed(function(*args, **keywords))
            finally:
                state[3] = len(passes)
        state[0], state[1] = RAN, result
        outputs = tensors_of(result) or ([] if passes else left_behind(function, given))
        state[2] = all(bool(torch.isfinite(t).all()) for t in outputs if t.is_floating_point())
        floating = [t for t in outputs if t.requires_grad or t.is_floating_point()]
        if floating and not any(t.requires_grad for t in floating):
            state[0] = CONSTANT
        if floating and (not passes or any(t.requires_grad for t in floating)):
            drive(floating, leaves)
        if floating or passes:
            state[0] = DIFFERENTIABLE
        else:
            met = {(id(tensor), version) for tensor, version in held}
            left = [*_data_of(getattr(function, "__self__", function)), *_data_of(result)]
            state[4] = bool(outputs) or any((id(tensor), version) not in met for tensor, version in left)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[list[int]]:
        """The backward passes that the call itself makes."""
        passes: list[int] = []
        own, own_grad = torch.autograd.backward, torch.autograd.grad

        def backward(*args: Any, **keywords: Any) -> Any:
            passes.append(1)
            return own(*args, **keywords)

        def grad(*args: Any, **keywords: Any) -> Any:
            passes.append(1)
            return own_grad(*args, **keywords)

        torch.autograd.backward, torch.autograd.grad = backward, grad
        try:
            yield passes
        finally:
            torch.autograd.backward, torch.autograd.grad = own, own_grad


class _Graphs(TorchFunctionMode):  # type: ignore[misc]  # torch's stubs are not followed
    """Sees whether a tensor that needs gradients goes into a function of torch, or comes out of one."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.met = False
        self.lines: set[int] = set()  # of the file at the path
        self._path = path

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if has_graph([*args, *(kwargs or {}).values(), result]):
            self.met = True
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and frame.f_code.co_filename != self._path:
                frame = frame.f_back
            self.lines.update(() if frame is None else (frame.f_lineno,))
        return result


def _data_of(value: Any) -> list[tuple[torch.Tensor, int]]:
    """The tensors of an object that can't have a graph, and their versions."""
    own = tensors_of(list(vars(value).values())) if hasattr(value, "__dict__") and not isinstance(value, type) else []
    buffers = value.buffers() if isinstance(value, torch.nn.Module) else ()
    return [(tensor, tensor._version) for tensor in (*own, *buffers) if not tensor.requires_grad]


class _TooLong(BaseException):
    """The bound of one try."""

    def __str__(self) -> str:
        return f"it takes more than {SECONDS:g} s"


_CLOCKS = (("PROF", "SIGPROF", SECONDS), ("REAL", "SIGALRM", 4 * SECONDS))


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """By the processor's time, and less tightly by the clock: a busy machine isn't the call's fault.

    Windows has no such clocks.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    clocks = [(getattr(signal, f"ITIMER_{c}"), getattr(signal, n), s) for c, n, s in _CLOCKS if hasattr(signal, n)]
    previous = [(number, signal.signal(number, stop)) for _, number, _ in clocks]
    for clock, _, seconds in clocks:
        signal.setitimer(clock, seconds)
    try:
        yield
    except _TooLong:
        pass  # it rang between two statements of ours
    finally:
        for clock, _, _ in clocks:
            signal.setitimer(clock, 0)
        for number, handler in previous:
            signal.signal(number, handler)


@contextlib.contextmanager
def _traced(path: str, lines: Counter[int]) -> Iterator[None]:
    def enter(frame: FrameType, event: str, arg: Any) -> Any:
        return step if frame.f_code.co_filename == path else None

    def step(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            lines[frame.f_lineno] += 1
        return step

    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(None)


def where(error: BaseException, path: str) -> tuple[CodeType, int] | None:
    """The outermost function of the file that an error went through, and the line there."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == path and code.co_name != "<module>":
            return code, trace.tb_lineno
        trace = trace.tb_next
    return None
