"""What one call does to autograd, found by writing to each tensor after the call and running backward.

Inputs are dense, contiguous and not leaves; a write is a bump of the version counter, which is all that backward looks
at. `Saved because of p`: with `p` requiring grad, backward raises "modified by an inplace operation".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from interrogate.calls import Call, Run, Sample, Slot, Subject, tensor_slots

CONFLICT = "modified by an inplace operation"
MULTI_VIEW = "multiple views"
ACROSS = "~"  # behind a cause: another element of the same list, not the element itself


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of the result."""

    causes: frozenset[str]  # parameters whose gradient needs this output's value
    gradient: str  # "yes", "zero" (always zero), "no" (leaves the graph), "raises" (not implemented), "mixed" (unclear)
    alias: str  # "" fresh, "same" object as an input, "view" of an input, "?" it has no elements to tell by
    strided_alias: str  # the same when the inputs are not contiguous
    alias_of: str  # the parameter it shares storage with
    shape: frozenset[str]  # of "scalar", "same" (as the first tensor), "broadcast": those that hold here
    rank: int  # the highest among the tensor arguments: with 0 the shape tells nothing
    uniform: bool  # several tensor arguments, all of one shape: whose shape it is can't be told


@dataclass(frozen=True, slots=True)
class Observation:
    """What one call showed."""

    causes: Mapping[str, frozenset[str]]  # tensor parameter -> parameters whose gradient needs its value
    silent: frozenset[str]  # parameters whose value backward uses without checking the version
    alone: frozenset[str]  # tensor lists of one element
    escaping: frozenset[str]  # saved parameters of which a copy is saved instead when they are not contiguous
    uneven: bool  # tensors of different batch shapes: the smaller may be expanded by a copy
    floating: frozenset[str]  # tensor parameters that could get a gradient
    differentiable: frozenset[str]  # those that do
    mutated: frozenset[str]  # parameters the call wrote to
    outputs: tuple[Output, ...]
    result: str  # "tensor", "tuple", "list", "number", "bool", "none", "other"
    multi_view: bool  # writing an output raises: one of several views of the same base
    conjunction: bool  # saved for a set of tracked parameters, but for none of them alone


@dataclass(frozen=True, slots=True)
class _Saves:
    """What is saved when one parameter is tracked."""

    slots: frozenset[Slot]
    outputs: frozenset[int]


def observe(call: Call, sample: Sample, positional: Sequence[str], whole: Collection[str] = ()) -> Observation | None:
    """Run the call in every configuration; None when it raises with nothing tracked.

    `positional` names the parameters that the positional arguments fill. Of a list in `whole` (the weights of a module)
    all elements are written together: it counts as saved when any of them is.
    """
    subject = Subject(call, sample, tuple(tensor_slots(sample, positional)), frozenset(whole))
    plain = subject.run(())
    if plain is None:
        return None
    groups = _floating(subject)
    reached = {name: _gradient_of(subject, group) for name, group in groups.items()}
    tracked = {name: group for name, group in groups.items() if reached[name] == "yes"}
    everything = [slot for group in tracked.values() for slot in group]
    together = subject.run(everything)
    if together is None:
        tracked, everything, together = {}, [], plain
    connected = subject.run([slot for name, group in groups.items() if reached[name] != "no" for slot in group])
    saves = {name: _saved(subject, group) for name, group in tracked.items()}
    all_saves = _saved(subject, everything) if len(tracked) != 1 else next(iter(saves.values()))
    single = frozenset[Slot]().union(*(found.slots for found in saves.values()))
    gradients, error = together.backward()
    blocked = "" if tracked else "".join(text for text in reached.values() if text not in ("yes", "no"))
    return Observation(
        causes=_causes(subject, tracked, saves),
        silent=_silently_used(subject, everything, single, gradients),
        alone=frozenset(name for name, group in groups.items() if _is_alone(group, positional)),
        escaping=_escaping(subject, everything, all_saves),
        uneven=_is_uneven(subject),
        floating=frozenset(groups),
        differentiable=frozenset(tracked),
        mutated=frozenset(plain.mutated()),
        outputs=_outputs(subject, plain, connected or together, saves, _strength(gradients, error or blocked)),
        result=result_kind(plain.result),
        multi_view=_is_multi_view(subject, everything),
        conjunction=bool(all_saves.slots - single),
    )


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


def _floating(subject: Subject) -> dict[str, list[Slot]]:
    groups: dict[str, list[Slot]] = {}
    for slot in subject.slots:
        if is_differentiable(slot.value(subject.sample)):
            groups.setdefault(slot.parameter, []).append(slot)
    return groups


def is_differentiable(tensor: torch.Tensor) -> bool:
    """A tensor that can require grad."""
    return bool(tensor.is_floating_point() or tensor.is_complex())


def _gradient_of(subject: Subject, group: Sequence[Slot]) -> str:
    """With this parameter alone tracked: "yes" it gets a gradient, "no", or the text of the error backward raises."""
    run = subject.run(group)
    if run is None or not any(tensor.requires_grad for tensor in run.outputs):
        return "no"
    gradients, error = run.backward()
    if error:
        return error
    return "yes" if any(gradient is not None for gradient in gradients.values()) else "no"


def _saved(subject: Subject, tracked: Sequence[Slot], *, strided: bool = False) -> _Saves:
    """The inputs and outputs whose bump makes backward raise."""
    first = subject.run(tracked, strided=strided)
    if first is None or not tracked:
        return _Saves(frozenset(), frozenset())
    slots: set[Slot] = set()
    for target in subject.targets():
        run = subject.run(tracked, strided=strided)
        if run is not None and _breaks(run, [run.inputs[slot] for slot in target]):
            slots.update(target)
    outputs = set()
    for index in range(len(first.outputs)):
        run = subject.run(tracked, strided=strided)
        if run is not None and _breaks(run, [run.outputs[index]]):
            outputs.add(index)
    return _Saves(frozenset(slots), frozenset(outputs))


def _breaks(run: Run, tensors: Iterable[torch.Tensor]) -> bool:
    for tensor in tensors:
        torch.autograd.graph.increment_version(tensor)
    return CONFLICT in run.backward()[1]


def _causes(
    subject: Subject, tracked: Mapping[str, list[Slot]], saves: Mapping[str, _Saves]
) -> dict[str, frozenset[str]]:
    causes: dict[str, set[str]] = {slot.parameter: set() for slot in subject.slots}
    for cause, group in tracked.items():
        for parameter in {slot.parameter for slot in saves[cause].slots}:
            splits = parameter == cause and len(group) > 1 and parameter not in subject.whole
            across = splits and _only_across(subject, group)
            causes[parameter].add(cause + ACROSS if across else cause)
    return {name: frozenset(found) for name, found in causes.items()}


def _only_across(subject: Subject, group: Sequence[Slot]) -> bool:
    """No element of the list is saved for its own gradient."""
    return all(slot not in _saved(subject, [slot]).slots for slot in group)


def _silently_used(
    subject: Subject,
    tracked: Sequence[Slot],
    guarded: Iterable[Slot],
    gradients: Mapping[Slot, torch.Tensor | None],
) -> frozenset[str]:
    """Parameters that backward reads unguarded: a write changes the gradient and nothing raises."""
    silent = set()
    for slot in set(subject.slots) - set(guarded):
        if slot.parameter in subject.whole:
            continue
        run = subject.run(tracked) if gradients and is_differentiable(slot.value(subject.sample)) else None
        if run is None:
            continue
        with torch.no_grad():
            run.inputs[slot].add_(1)
        after, error = run.backward()
        if not error and any(not _same(gradients[key], after.get(key)) for key in gradients):
            silent.add(slot.parameter)
    return frozenset(silent)


def _escaping(subject: Subject, tracked: Sequence[Slot], dense: _Saves) -> frozenset[str]:
    if not dense.slots or subject.run(tracked, strided=True) is None:
        return frozenset()
    strided = _saved(subject, tracked, strided=True)
    return frozenset(slot.parameter for slot in dense.slots - strided.slots)


def _is_alone(group: Sequence[Slot], positional: Sequence[str]) -> bool:
    """The only tensor of a list, or of `*args`."""
    return len(group) == 1 and (group[0].index is not None or positional.count(group[0].parameter) > 1)


def _is_uneven(subject: Subject) -> bool:
    """The dimensions before the last two differ among the tensors."""
    return len({slot.value(subject.sample).shape[:-2] for slot in subject.slots}) > 1


def _same(before: torch.Tensor | None, after: torch.Tensor | None) -> bool:
    if before is None or after is None:
        return before is after
    return bool(torch.allclose(before, after, equal_nan=True))


def _strength(gradients: Mapping[Slot, torch.Tensor | None], error: str) -> str:
    """What gradient a connected output passes on."""
    if error:
        return "raises" if "not implemented" in error else "mixed"  # other errors depend on values (linalg.eig)
    zero = gradients and all(gradient is None or not gradient.any() for gradient in gradients.values())
    return "zero" if zero else "yes"


def _outputs(
    subject: Subject, plain: Run, connected: Run, saves: Mapping[str, _Saves], gradient: str
) -> tuple[Output, ...]:
    strided = subject.run((), strided=True)
    moved = strided.outputs if strided else []
    found = []
    for index, (tensor, live) in enumerate(zip(plain.outputs, connected.outputs, strict=True)):
        alias, alias_of = _alias(tensor, plain.inputs)
        found.append(
            Output(
                causes=frozenset(name for name, saved in saves.items() if index in saved.outputs),
                gradient=gradient if live.requires_grad else "no",
                alias=alias,
                strided_alias=_alias(moved[index], strided.inputs)[0] if strided and index < len(moved) else alias,
                alias_of=alias_of,
                shape=_shapes(tensor, list(plain.inputs.values())),
                rank=max((given.dim() for given in plain.inputs.values()), default=0),
                uniform=len(plain.inputs) > 1 and len({given.shape for given in plain.inputs.values()}) == 1,
            )
        )
    return tuple(found)


def _alias(tensor: torch.Tensor, inputs: Mapping[Slot, torch.Tensor]) -> tuple[str, str]:
    for slot, given in inputs.items():
        if tensor is given:
            return "same", slot.parameter
    if not tensor.numel():
        return "?", ""
    for slot, given in inputs.items():
        if shares_storage(tensor, given):
            return "view", slot.parameter
    return "", ""


def shares_storage(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Both are dense and live in the same memory."""
    if torch.strided not in (one.layout, other.layout) or one.layout != other.layout or not one.numel():
        return False
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)


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


def _is_multi_view(subject: Subject, tracked: Sequence[Slot]) -> bool:
    run = subject.run(tracked) if tracked else None
    if run is None or not isinstance(run.result, (tuple, list)) or not run.outputs:
        return False
    try:
        run.outputs[0].mul_(2)
    except RuntimeError as error:
        return MULTI_VIEW in str(error)
    return False
