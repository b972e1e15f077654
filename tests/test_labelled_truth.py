"""Runs every file of `fixtures/labelled/` and holds its labels against what torch does.

No part of gradfix is imported: this is the truth the analysis is measured by. A plain run decides whether autograd
raises; a second run under saved-tensor hooks (which switch torch's own version check off) finds the very lines
that saved and overwrote; gradients of code that is fine are compared with central differences in float64.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from labelled_corpus import FAILING, LabelledFile, load

torch = pytest.importorskip("torch")
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

STALE_MULTI_VIEW = "is a view and its base or another view of its base has been modified inplace"
STEMS = {
    "saved-then-written": [
        "one of the variables needed for gradient computation has been modified by an inplace operation",
        STALE_MULTI_VIEW,  # when the value saved was a view made by unbind, split or chunk
    ],
    "leaf-written": ["a leaf Variable that requires grad is being used in an in-place operation"],
    "leaf-view-written": ["a view of a leaf Variable that requires grad is being used in an in-place operation"],
    "multi-view-written": [
        "This view is the output of a function that returns multiple views",
        STALE_MULTI_VIEW,
    ],
    "no-grad-view-written": [
        "is a view of a view which was created in no_grad mode",
        "A view was created in no_grad mode and is being modified inplace with grad mode enabled",
    ],
    "disconnected": ["element 0 of tensors does not require grad and does not have a grad_fn"],
    "non-scalar-backward": ["grad can be implicitly created only for scalar outputs"],
}
FILES = load()


@dataclass(frozen=True, slots=True)
class Observed:
    """What one run did."""

    error: str | None  # first line, None when it ran to its end
    error_line: int | None  # the file's innermost line of the traceback
    writes: frozenset[int] = frozenset()  # lines that wrote, with grad mode on, to a tracked non-leaf
    overwriting: frozenset[int] = frozenset()  # lines that overwrote what backward asked for
    saving: frozenset[int] = frozenset()  # lines that had saved it
    cuts: frozenset[int] = frozenset()  # lines that gave something without a graph for a tensor with one

    @property
    def lines(self) -> frozenset[int]:
        return self.overwriting or frozenset([self.error_line] if self.error_line else [])


# -- running ------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def _load(file: LabelledFile, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name], before = module, sys.modules.get(name)
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
    return module


def _case(file: LabelledFile) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
    """A fresh callable with every tuple of arguments it is to be called with."""
    torch.default_generator.manual_seed(11)
    if file.is_program:
        return lambda: _load(file, "__main__"), [()]
    function, inputs = _load(file, f"labelled_{file.name}").case()
    return function, inputs if isinstance(inputs, list) else [inputs]


def _scalar(result: Any) -> torch.Tensor | None:
    """Contract every tracked tensor of a result with a fixed random cotangent."""
    generator = torch.Generator().manual_seed(5)
    tracked = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor) and t.requires_grad]
    parts = [(t * torch.randn(t.shape, generator=generator, dtype=t.dtype)).sum() for t in tracked]
    return torch.stack(parts).sum() if parts else None


def _leaves(function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[torch.Tensor]:
    owner = getattr(function, "__self__", function)
    owners = [*tree_leaves(arguments), owner]
    modules = [thing for thing in owners if isinstance(thing, torch.nn.Module)]
    tensors = [thing for thing in owners if isinstance(thing, torch.Tensor)]
    tensors += [parameter for module in modules for parameter in module.parameters()]
    unique = {id(tensor): tensor for tensor in tensors}
    return [tensor for tensor in unique.values() if tensor.requires_grad and tensor.is_leaf]


def _run(file: LabelledFile, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Call it and go backward through what it returns; a loss without graph is an error where leaves went in."""
    torch.default_generator.manual_seed(7)
    wants_graph = bool(_leaves(function, arguments)) and file.gradient_unchecked is None
    result = function(*arguments)
    if isinstance(result, torch.Tensor) and wants_graph and not result.requires_grad:
        result.sum().backward()
    loss = _scalar(result)
    if loss is not None:
        loss.backward()


def _observe(file: LabelledFile, which: int) -> Observed:
    """One plain run for the error, one traced run for the lines."""
    function, inputs = _case(file)
    error, line = None, None
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            _run(file, function, inputs[which])
        except RuntimeError as exception:
            error = str(exception).splitlines()[0]
            frames = [f.lineno for f in traceback.extract_tb(exception.__traceback__) if f.filename == str(file.path)]
            line = frames[-1] if frames else None
        trace = _Trace(str(file.path))
        function, inputs = _case(file)
        with contextlib.suppress(RuntimeError), trace, trace.hooks():
            _run(file, function, inputs[which])
    tracked = frozenset(w.line for w in trace.writes if w.tracked)
    overwriting, saving = trace.conflict_lines()
    return Observed(error, line, tracked, overwriting, saving, frozenset(trace.cuts))


# -- tracing ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Write:
    storage: int
    before: int  # the version it found
    line: int
    tracked: bool


@dataclass(slots=True)
class _Trace(TorchFunctionMode):
    """Notes who saves and who writes; lines are those of `path`, the innermost frame of it on the stack."""

    path: str
    writes: list[_Write] = field(default_factory=list)
    conflicts: list[tuple[int, int, int]] = field(default_factory=list)  # storage, version saved, line
    cuts: set[int] = field(default_factory=set)
    kept: list[Any] = field(default_factory=list)  # storages stay alive, so that addresses aren't reused

    def __post_init__(self) -> None:
        TorchFunctionMode.__init__(self)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and not t.is_inference()]
        versions = [t._version for t in tensors]
        result = func(*args, **(kwargs or {}))
        for tensor, version in zip(tensors, versions, strict=True):
            if tensor._version != version:
                tracked = tensor.requires_grad and not tensor.is_leaf and torch.is_grad_enabled()
                self.writes.append(_Write(self._storage(tensor), version, self._line(), tracked))
        if any(t.requires_grad for t in tensors) and not (isinstance(result, torch.Tensor) and result.requires_grad):
            self.cuts.add(self._line())
        return result

    def hooks(self) -> Any:
        return torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def conflict_lines(self) -> tuple[frozenset[int], frozenset[int]]:
        """Lines that overwrote something backward asked for, and lines that had saved it."""
        overwriting = {
            write.line
            for storage, version, _ in self.conflicts
            for write in self.writes
            if write.storage == storage and write.before >= version
        }
        return frozenset(overwriting), frozenset(line for _, _, line in self.conflicts)

    def _pack(self, tensor: torch.Tensor) -> tuple[torch.Tensor, int, int]:
        return tensor, tensor._version, self._line()

    def _unpack(self, packed: tuple[torch.Tensor, int, int]) -> torch.Tensor:
        tensor, version, line = packed
        if tensor._version != version:
            self.conflicts.append((self._storage(tensor), version, line))
        return tensor

    def _storage(self, tensor: torch.Tensor) -> int:
        storage = tensor.untyped_storage()
        self.kept.append(storage)
        return int(storage._cdata)

    def _line(self) -> int:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != self.path:
            frame = frame.f_back
        return frame.f_lineno if frame else 0


# -- gradients ----------------------------------------------------------------------------------------------


def _loss_at(
    file: LabelledFile, which: int, seed: int, step: float
) -> tuple[torch.Tensor | None, list[Any], list[Any]]:
    """The loss with every leaf moved by `step` along a random direction; all state is made anew."""
    function, inputs = _case(file)
    leaves = _leaves(function, inputs[which])
    generator = torch.Generator().manual_seed(seed)
    directions = [torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype) for leaf in leaves]
    with torch.no_grad():
        for leaf, direction in zip(leaves, directions, strict=True):
            leaf.copy_(leaf + step * direction)
    torch.default_generator.manual_seed(7)
    return _scalar(function(*inputs[which])), leaves, directions


def _assert_gradients_right(file: LabelledFile, which: int, step: float = 1e-6) -> None:
    for seed in (1, 2):
        loss, leaves, directions = _loss_at(file, which, seed, 0.0)
        if loss is None or not leaves:
            return
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        assert all(g is None or bool(torch.isfinite(g).all()) for g in gradients)
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)
        high, low = (_loss_at(file, which, seed, sign * step)[0] for sign in (1, -1))
        assert high is not None
        assert low is not None
        assert slope == pytest.approx((high - low).item() / (2 * step), rel=1e-4, abs=1e-6)


# -- the tests ----------------------------------------------------------------------------------------------


def _assert_failing(file: LabelledFile, runs: list[Observed]) -> None:
    labels = [label for label in file.labels if label.expect in FAILING]
    marked = {label.line for label in labels}
    failed = [run for run in runs if run.error is not None]
    stems = [stem for label in labels for stem in STEMS[str(label.hazard)]]
    assert failed, "nothing raised"
    assert all(any(stem in str(run.error) for stem in stems) for run in failed), failed
    if {label.hazard for label in labels} == {"disconnected"}:
        assert all(file.cut_lines <= run.cuts for run in failed)
        connected = [run for run in runs if run.error is None]
        assert all(marked & run.writes for run in connected)
        return
    blamed = frozenset[int]().union(*(run.lines for run in failed))
    assert blamed <= marked, f"torch blames lines {sorted(blamed)}, marked are {sorted(marked)}"
    if any(run.overwriting for run in failed):
        assert blamed == marked
    saving = frozenset[int]().union(*(run.saving for run in failed))
    assert file.saved_lines <= saving, f"saved at {sorted(saving)}, marked are {sorted(file.saved_lines)}"
    if "saved-then-written" in {label.hazard for label in labels}:
        assert file.saved_lines, "a saved-then-written file marks where the value was saved"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_label_is_true(file: LabelledFile) -> None:
    count = len(_case(file)[1]) if not file.is_program else 1
    runs = [_observe(file, which) for which in range(count)]
    harmless = {label.line for label in file.labels if label.expect == "harmless"}
    written = frozenset[int]().union(*(run.writes for run in runs))
    labelled = {label.line for label in file.labels}
    assert harmless <= written, f"tracked writes at {sorted(written)}, harmless are marked {sorted(harmless)}"
    assert written <= labelled, f"tracked writes without label at {sorted(written - labelled)}"
    if file.expect in FAILING:
        _assert_failing(file, runs)
        if file.expect == "error":
            assert all(run.error for run in runs)
        else:
            assert len(runs) > 1, "a warning needs inputs that fail and inputs that don't"
            assert not all(run.error for run in runs)
        return
    assert [run.error for run in runs] == [None] * count
    assert not any(run.overwriting for run in runs)
    if file.gradient_unchecked is None and not file.is_program:
        for which in range(count):
            _assert_gradients_right(file, which)


def test_corpus_is_balanced() -> None:
    """Half of it fails, half of it only looks as if it did, and the two halves of the pair are both there."""
    failing = [file for file in FILES if file.expect in FAILING]
    assert len(failing) >= 60
    assert len(FILES) - len(failing) >= 60
    assert sum(file.name.startswith("pair_fresh_") for file in FILES) >= 10
    assert sum(file.name.startswith("pair_residual_") for file in FILES) >= 10


def test_paths_are_plain() -> None:
    assert all(Path(file.path).read_text().isascii() for file in FILES)
