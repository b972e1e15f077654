"""What one call does to autograd, found by mutating each tensor after the call and running backward.

Every input is dense, contiguous and not a leaf; the write is a bump of the version counter, which is all that backward
looks at. `Saved by p` means: with `p` requiring grad, backward raises "modified by an inplace operation".
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

CONFLICT = "modified by an inplace operation"
MULTI_VIEW = "multiple views"

Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """One call: positional and keyword arguments; tensors may sit in lists."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of the result."""

    causes: frozenset[str]  # parameters whose gradient needs this output's value
    gradient: str  # "yes", "zero" (always zero), "no" (leaves the graph)
    alias: str  # "" fresh, "same" object as an input, "view" of an input
    strided_alias: str  # the same when the inputs are not contiguous
    alias_of: str  # the parameter it shares storage with
    shape: frozenset[str]  # of "scalar", "same" (as the first tensor), "broadcast": those that hold here
    rank: int  # of the first tensor argument: 0 tells nothing about shape


@dataclass(frozen=True, slots=True)
class Observation:
    """What one call showed."""

    causes: Mapping[str, frozenset[str]]  # tensor parameter -> parameters whose gradient needs its value
    silent: frozenset[str]  # parameters whose value backward uses without checking the version
    differentiable: frozenset[str]  # tensor parameters that get a gradient
    mutated: frozenset[str]  # parameters the call wrote to
    outputs: tuple[Output, ...]
    result: str  # "tensor", "tuple", "list", "number", "bool", "none", "other"
    multi_view: bool  # writing an output raises: one of several views of the same base
    conjunction: bool  # saved for a set of tracked parameters, but for none of them alone
    backward_error: str  # text of an unexpected error in backward


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor sits in a call: position or keyword, index when inside a list, and the parameter's name."""

    location: int | str
    index: int | None
    parameter: str


def observe(call: Call, sample: Sample, positional: Sequence[str]) -> Observation | None:
    """Run the call in every configuration; None when it raises with nothing tracked.

    `positional` names the parameters that the positional arguments fill.
    """
    slots = tuple(tensor_slots(sample, positional))
    plain = _Run.forward(call, sample, slots, frozenset())
    if plain is None:
        return None
    candidates = sorted({slot.parameter for slot in slots if _slot_value(sample, slot).is_floating_point()})
    reached = {name: _gradient_of(call, sample, slots, name) for name in candidates}
    tracked = [name for name in candidates if reached[name] == "yes"]
    errors = [text for text in reached.values() if text not in ("yes", "no")]
    strided = _Run.forward(call, sample, slots, frozenset(), strided=True)
    baseline = _Run.forward(call, sample, slots, frozenset(tracked))
    if baseline is None:
        tracked, baseline = [], plain
    matrix = {name: _saved_targets(call, sample, slots, frozenset({name})) for name in tracked}
    union = _saved_targets(call, sample, slots, frozenset(tracked)) if len(tracked) > 1 else set()
    found: set[Any] = set().union(*matrix.values()) if matrix else set()
    gradients, error = baseline.backward()
    return Observation(
        causes={
            name: frozenset(cause for cause in tracked if name in matrix[cause])
            for name in dict.fromkeys(slot.parameter for slot in slots)
        },
        silent=_silently_used(call, sample, slots, tracked, found, gradients),
        differentiable=frozenset(tracked),
        mutated=frozenset(plain.mutated()),
        outputs=_outputs(plain, strided, baseline, tracked, matrix, gradients),
        result=result_kind(plain.result),
        multi_view=_is_multi_view(call, sample, slots, tracked),
        conjunction=bool(union - found),
        backward_error=errors[0] if errors and not tracked else error,
    )


def tensor_slots(sample: Sample, positional: Sequence[str]) -> Iterator[Slot]:
    """Every tensor among the arguments."""
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


def result_kind(result: Any) -> str:
    """The kind of a returned value, in words of the table."""
    if isinstance(result, torch.Tensor):
        return "tensor"
    if result is None:
        return "none"
    if isinstance(result, bool):
        return "bool"
    if isinstance(result, (int, float, complex)):
        return "number"
    if isinstance(result, (tuple, list)) and result and all(isinstance(item, torch.Tensor) for item in result):
        return "list" if isinstance(result, list) else "tuple"
    return "other"


def flat_tensors(result: Any) -> list[torch.Tensor]:
    """The tensors of a result, in order."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [tensor for item in result for tensor in flat_tensors(item)]
    return []


@dataclass(slots=True)
class _Run:
    inputs: dict[Slot, torch.Tensor]
    leaves: dict[Slot, torch.Tensor]
    versions: dict[Slot, int]
    result: Any

    @classmethod
    def forward(
        cls,
        call: Call,
        sample: Sample,
        slots: Sequence[Slot],
        tracked: frozenset[str],
        *,
        strided: bool = False,
    ) -> _Run | None:
        leaves: dict[Slot, torch.Tensor] = {}
        inputs: dict[Slot, torch.Tensor] = {}
        for slot in slots:
            leaf = _slot_value(sample, slot).detach().clone(memory_format=torch.contiguous_format)
            if slot.parameter in tracked and leaf.is_floating_point():
                leaves[slot] = leaf.requires_grad_()
            inputs[slot] = _strided(leaf) if strided else leaf.clone()
        versions = {slot: tensor._version for slot, tensor in inputs.items()}
        torch.manual_seed(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = _invoke(call, sample, inputs)
        except Exception:
            return None
        return cls(inputs, leaves, versions, result)

    def mutated(self) -> Iterator[str]:
        return (slot.parameter for slot, tensor in self.inputs.items() if tensor._version != self.versions[slot])

    def backward(self) -> tuple[dict[Slot, torch.Tensor | None], str]:
        """Gradients of the leaves for a cotangent of ones, or the error's text."""
        outputs = [tensor for tensor in flat_tensors(self.result) if tensor.requires_grad]
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


def _slot_value(sample: Sample, slot: Slot) -> torch.Tensor:
    value = sample.args[slot.location] if isinstance(slot.location, int) else sample.kwargs[slot.location]
    tensor: torch.Tensor = value if slot.index is None else value[slot.index]
    return tensor


def _invoke(call: Call, sample: Sample, inputs: Mapping[Slot, torch.Tensor]) -> Any:
    places: dict[int | str, Any] = dict(enumerate(sample.args)) | dict(sample.kwargs)
    for slot, tensor in inputs.items():
        if slot.index is None:
            places[slot.location] = tensor
        else:
            items = list(places[slot.location])
            items[slot.index] = tensor
            places[slot.location] = type(places[slot.location])(items)
    return call(*(places[at] for at in range(len(sample.args))), **{name: places[name] for name in sample.kwargs})


def _gradient_of(call: Call, sample: Sample, slots: Sequence[Slot], name: str) -> str:
    """With `name` alone tracked: "yes" it gets a gradient, "no", or the text of the error that backward raises."""
    run = _Run.forward(call, sample, slots, frozenset({name}))
    if run is None or not any(tensor.requires_grad for tensor in flat_tensors(run.result)):
        return "no"
    gradients, error = run.backward()
    if error:
        return error
    return "yes" if any(gradient is not None for gradient in gradients.values()) else "no"


def _saved_targets(call: Call, sample: Sample, slots: Sequence[Slot], tracked: frozenset[str]) -> set[str | int]:
    """Names of parameters, and indices of outputs, whose bump makes backward raise."""
    first = _Run.forward(call, sample, slots, tracked)
    if first is None:
        return set()
    saved: set[str | int] = set()
    targets: list[Slot | int] = [*slots, *range(len(flat_tensors(first.result)))]
    for target in targets:
        run = _Run.forward(call, sample, slots, tracked)
        if run is None:
            continue
        tensor = run.inputs[target] if isinstance(target, Slot) else flat_tensors(run.result)[target]
        torch.autograd.graph.increment_version(tensor)
        if CONFLICT in run.backward()[1]:
            saved.add(target.parameter if isinstance(target, Slot) else target)
    return saved


def _silently_used(
    call: Call,
    sample: Sample,
    slots: Sequence[Slot],
    tracked: Sequence[str],
    found: set[Any],
    gradients: Mapping[Slot, torch.Tensor | None],
) -> frozenset[str]:
    """Parameters that backward reads without having guarded them: a write changes the gradient and nothing raises."""
    silent = set()
    for slot in slots:
        if slot.parameter in found or not gradients or not _slot_value(sample, slot).is_floating_point():
            continue
        run = _Run.forward(call, sample, slots, frozenset(tracked))
        if run is None:
            continue
        with torch.no_grad():
            run.inputs[slot].add_(1)
        after, error = run.backward()
        if not error and any(not _same(gradients[key], after.get(key)) for key in gradients):
            silent.add(slot.parameter)
    return frozenset(silent)


def _same(before: torch.Tensor | None, after: torch.Tensor | None) -> bool:
    if before is None or after is None:
        return before is after
    return torch.allclose(before, after, equal_nan=True)


def _outputs(
    plain: _Run,
    strided: _Run | None,
    baseline: _Run,
    tracked: Sequence[str],
    matrix: Mapping[str, set[str | int]],
    gradients: Mapping[Slot, torch.Tensor | None],
) -> tuple[Output, ...]:
    found = []
    moved = flat_tensors(strided.result) if strided else []
    zero = bool(gradients) and all(gradient is None or not gradient.any() for gradient in gradients.values())
    for index, (tensor, connected) in enumerate(
        zip(flat_tensors(plain.result), flat_tensors(baseline.result), strict=True)
    ):
        alias, alias_of = _alias(tensor, plain.inputs)
        gradient = ("zero" if zero else "yes") if connected.requires_grad else "no"
        found.append(
            Output(
                causes=frozenset(name for name in tracked if index in matrix[name]),
                gradient=gradient,
                alias=alias,
                strided_alias=_alias(moved[index], strided.inputs)[0] if strided and index < len(moved) else alias,
                alias_of=alias_of,
                shape=_shapes(tensor, list(plain.inputs.values())),
                rank=max((given.dim() for given in plain.inputs.values()), default=0),
            )
        )
    return tuple(found)


def _alias(tensor: torch.Tensor, inputs: Mapping[Slot, torch.Tensor]) -> tuple[str, str]:
    for slot, given in inputs.items():
        if tensor is given:
            return "same", slot.parameter
    if tensor.layout is not torch.strided or tensor.numel() == 0:
        return "", ""
    for slot, given in inputs.items():
        if (
            given.layout is torch.strided
            and given.numel()
            and tensor.untyped_storage()._cdata == given.untyped_storage()._cdata
        ):
            return "view", slot.parameter
    return "", ""


def _shapes(tensor: torch.Tensor, inputs: Sequence[torch.Tensor]) -> frozenset[str]:
    holding = set()
    if tensor.dim() == 0:
        holding.add("scalar")
    if inputs and tensor.shape == inputs[0].shape:
        holding.add("same")
    try:
        if inputs and tensor.shape == torch.broadcast_shapes(*(given.shape for given in inputs)):
            holding.add("broadcast")
    except RuntimeError:
        pass
    return frozenset(holding)


def _is_multi_view(call: Call, sample: Sample, slots: Sequence[Slot], tracked: Sequence[str]) -> bool:
    run = _Run.forward(call, sample, slots, frozenset(tracked))
    if run is None or not tracked or not isinstance(run.result, (tuple, list)):
        return False
    try:
        flat_tensors(run.result)[0].mul_(2)
    except (RuntimeError, IndexError) as error:
        return MULTI_VIEW in str(error)
    return False
