"""Runs one call with some of its arguments tracked, so that its tensors can be written to before backward."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """One call: positional and keyword arguments; tensors may sit in lists."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor sits in a call: position or keyword, index when inside a list, and the parameter's name."""

    location: int | str
    index: int | None
    parameter: str

    def value(self, sample: Sample) -> torch.Tensor:
        """The tensor there."""
        held = sample.args[self.location] if isinstance(self.location, int) else sample.kwargs[self.location]
        tensor: torch.Tensor = held if self.index is None else held[self.index]
        return tensor


def tensor_slots(sample: Sample, positional: Sequence[str]) -> Iterator[Slot]:
    """Every tensor among the arguments; `positional` names the parameters that positional arguments fill."""
    places: list[tuple[int | str, str, Any]] = [
        (at, name, value) for at, (name, value) in enumerate(zip(positional, sample.args, strict=True))
    ]
    places += [(name, name, value) for name, value in sample.kwargs.items()]
    for location, name, value in places:
        if isinstance(value, torch.Tensor):
            yield Slot(location, None, name)
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                if isinstance(item, torch.Tensor):
                    yield Slot(location, index, name)


def seed(value: int) -> None:
    """Seed the CPU's generator: torch.manual_seed looks for other devices each time, which takes half a millisecond."""
    torch.default_generator.manual_seed(value)


def flat_tensors(result: Any) -> list[torch.Tensor]:
    """The tensors of a value, in order."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [tensor for item in result for tensor in flat_tensors(item)]
    return []


def kind(value: Any) -> str:
    """The kind of an argument, in words of the table: what source code can often tell without running."""
    if value is None:
        return "none"
    if isinstance(value, torch.Tensor):
        return "tensor"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float, complex)):
        return "number"
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, torch.dtype):
        return "dtype"
    if isinstance(value, (list, tuple)):
        return "tensors" if flat_tensors(value) else "list"
    return "other"


@dataclass(frozen=True, slots=True)
class Subject:
    """A call to be run again and again."""

    call: Call
    sample: Sample
    slots: tuple[Slot, ...]
    whole: frozenset[str] = frozenset()  # list parameters whose elements are written together

    def targets(self) -> list[list[Slot]]:
        """The slots to write to, one write at a time."""
        groups: dict[Slot | str, list[Slot]] = {}
        for slot in self.slots:
            groups.setdefault(slot.parameter if slot.parameter in self.whole else slot, []).append(slot)
        return list(groups.values())

    def run(self, tracked: Collection[Slot], *, strided: bool = False) -> Run | None:
        """Call with fresh inputs, none of them a leaf; None when it raises. `strided`: no input is contiguous.

        What is one tensor in the sample stays one: `attention(x, x, x)`.
        """
        sources = {slot: slot.value(self.sample) for slot in self.slots}
        wanted = {id(sources[slot]) for slot in tracked}
        made: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for source in sources.values():
            if id(source) not in made:
                leaf = source.detach().clone(memory_format=torch.contiguous_format).requires_grad_(id(source) in wanted)
                made[id(source)] = leaf, _strided(leaf) if strided else leaf.clone()
        leaves = {slot: made[id(sources[slot])][0] for slot in tracked}
        inputs = {slot: made[id(source)][1] for slot, source in sources.items()}
        versions = {slot: tensor._version for slot, tensor in inputs.items()}
        seed(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = self.call(*self._args(inputs), **self._kwargs(inputs))
        except Exception:  # torch rejects calls with any kind of error
            return None
        return Run(inputs, leaves, versions, result)

    def _args(self, inputs: Mapping[Slot, torch.Tensor]) -> list[Any]:
        return [self._filled(at, value, inputs) for at, value in enumerate(self.sample.args)]

    def _kwargs(self, inputs: Mapping[Slot, torch.Tensor]) -> dict[str, Any]:
        return {name: self._filled(name, value, inputs) for name, value in self.sample.kwargs.items()}

    def _filled(self, location: int | str, value: Any, inputs: Mapping[Slot, torch.Tensor]) -> Any:
        here = {slot.index: tensor for slot, tensor in inputs.items() if slot.location == location}
        if None in here:
            return here[None]
        return type(value)(here.get(at, item) for at, item in enumerate(value)) if here else value


@dataclass(frozen=True, slots=True)
class Run:
    """A call that returned, with the tensors it was given."""

    inputs: Mapping[Slot, torch.Tensor]
    leaves: Mapping[Slot, torch.Tensor]
    versions: Mapping[Slot, int]
    result: Any

    @property
    def outputs(self) -> list[torch.Tensor]:
        """The tensors of the result."""
        return flat_tensors(self.result)

    def mutated(self) -> set[str]:
        """Parameters whose tensor was written to."""
        return {slot.parameter for slot, tensor in self.inputs.items() if tensor._version != self.versions[slot]}

    def backward(self) -> tuple[dict[Slot, torch.Tensor | None], str]:
        """Gradients of the leaves for a cotangent of ones, or the error's text."""
        outputs = [tensor for tensor in self.outputs if tensor.requires_grad]
        if not outputs:
            return {}, ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = torch.autograd.grad(
                    outputs, list(self.leaves.values()), [torch.ones_like(out) for out in outputs], allow_unused=True
                )
        except RuntimeError as error:
            return {}, str(error)
        return {slot: _dense(gradient) for slot, gradient in zip(self.leaves, found, strict=True)}, ""


def _dense(gradient: torch.Tensor | None) -> torch.Tensor | None:
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient


def _strided(tensor: torch.Tensor) -> torch.Tensor:
    """The same values, laid out so that no two dimensions can be merged."""
    if tensor.dim() < 2:
        return torch.stack((tensor, tensor), -1).select(-1, 0)
    order = tuple(reversed(range(tensor.dim())))
    return tensor.permute(order).clone(memory_format=torch.contiguous_format).permute(order)
