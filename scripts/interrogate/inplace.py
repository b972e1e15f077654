"""The out-of-place twin of every in-place function: one with the same values; its signature and gradients compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from interrogate import signatures
from interrogate.calls import Sample, flat_tensors, seed
from interrogate.probe import shares_storage

# Named by what they do; whether a twin exists is measured, not listed.
CATEGORIES = {
    "fill": "fill_ zero_ fill_diagonal_",
    "copy": "copy_",
    "random": "bernoulli_ cauchy_ exponential_ geometric_ log_normal_ normal_ random_ uniform_ dropout_ alpha_dropout_ "
    "feature_dropout_ feature_alpha_dropout_ rrelu_",
    "python": "apply_ map_ map2_",
    "storage": "resize_ resize_as_ set_ share_memory_ resize_as_sparse_ sparse_resize_ sparse_resize_and_clear_",
    "graph": "requires_grad_ detach_",
}
BY_NAME = {name: category for category, names in CATEGORIES.items() for name in names.split()}


@dataclass(frozen=True, slots=True)
class _Comparison:
    equal: bool
    gradients: bool
    view: bool
    dtype: str


@dataclass(frozen=True, slots=True)
class _Outcome:
    result: torch.Tensor
    shares: bool  # with the tensor that was given
    gradients: list[torch.Tensor | None] | None  # None: backward raised


def row(name: str, function: Callable[..., Any], calls: Sequence[Sample]) -> dict[str, Any]:
    """Twin of `Tensor.exp_`, `torch.relu_`: its name, how its dtype relates to the target's, whether it is a view."""
    entry: dict[str, Any] = {"category": BY_NAME.get(name.rpartition(".")[2], "")}
    twin_name = name[:-1]
    twin = _resolve(twin_name)
    if twin is not None:
        verdict = _compare(function, twin, [call for call in calls if isinstance(call.args[0], torch.Tensor)])
        if verdict is None:
            entry["unmeasured"] = twin_name
        elif verdict.equal:
            own, other = signatures.signatures(name, function), signatures.signatures(twin_name, twin)
            entry |= {"twin": twin_name, "view": verdict.view, "dtype": verdict.dtype, "signature": _covers(other, own)}
            entry["gradients"] = "" if verdict.gradients else "differ"
    return {key: value for key, value in entry.items() if value}


def _resolve(name: str) -> Callable[..., Any] | None:
    target: Any = torch.Tensor if name.startswith("Tensor.") else torch
    for part in name.split(".")[1:]:
        target = getattr(target, part, None)
    return target if callable(target) else None


def _covers(twin: signatures.Overloads, own: signatures.Overloads) -> bool:
    """Every call of the in-place form is a call of the twin with the same arguments, the written one by position."""
    offered, wanted = ([_beside_target(overload) for overload in overloads] for overloads in (twin, own))
    return bool(wanted) and all(any(names == other[: len(names)] for other in offered) for names in wanted)


def _beside_target(overload: tuple[signatures.Parameter, ...]) -> list[str]:
    names = [parameter.name for parameter in overload]
    target = next((name for name in names if name in ("self", "input")), names[0] if names else "")
    return [name for name in names if name not in (target, "inplace")]


def _compare(function: Callable[..., Any], twin: Callable[..., Any], calls: Sequence[Sample]) -> _Comparison | None:
    """Over all calls the in-place form takes; None when there is none."""
    pairs = []
    for sample in (variant for call in calls for variant in _variants(call)):
        written = _run(function, sample)
        if written is None or not isinstance(written.result, torch.Tensor):
            continue
        made = _run(twin, sample)
        if made is None:
            return _Comparison(False, False, False, "")
        pairs.append((written, made))
    if not pairs:
        return None
    dtypes = {(written.result.dtype, made.result.dtype) for written, made in pairs}
    kept = all(own == other for own, other in dtypes)
    boolean = all(other is torch.bool for _, other in dtypes)
    return _Comparison(
        equal=all(_equal(written.result, made.result) for written, made in pairs),
        gradients=all(_same_gradients(written, made) for written, made in pairs),
        view=any(made.shares for _, made in pairs),
        dtype="same" if kept else "bool" if boolean else "promote",
    )


def _variants(sample: Sample) -> Iterator[Sample]:
    """As given, and with a target narrower than the rest, where what is computed fits into it."""
    yield sample
    others = flat_tensors([*sample.args[1:], *sample.kwargs.values()])
    if others and sample.args[0].is_floating_point() and all(map(_is_moderate, (sample.args[0], *others))):
        yield Sample((sample.args[0].float(), *sample.args[1:]), sample.kwargs)


def _is_moderate(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or not bool((tensor.abs() > 1e30).any())


def _run(function: Callable[..., Any], sample: Sample) -> _Outcome | None:
    given = _fresh(sample, tracked=False)
    seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function(*given.args, **given.kwargs)
    except Exception:  # torch rejects calls with any kind of error
        return None
    if not isinstance(result, torch.Tensor):
        return None
    return _Outcome(result, shares_storage(result, given.args[0]), _gradients(function, sample))


def _gradients(function: Callable[..., Any], sample: Sample) -> list[torch.Tensor | None] | None:
    leaves = _fresh(sample, tracked=True)
    tracked = [tensor for tensor in flat_tensors([*leaves.args, *leaves.kwargs.values()]) if tensor.is_floating_point()]
    seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function(leaves.args[0].clone(), *leaves.args[1:], **leaves.kwargs)
            if not result.requires_grad:
                return [None for _ in tracked]
            return list(torch.autograd.grad(result.sum(), tracked, allow_unused=True))
    except Exception:
        return None


def _fresh(sample: Sample, *, tracked: bool) -> Sample:
    def copy(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.detach().clone().requires_grad_(tracked and value.is_floating_point())
        if isinstance(value, (list, tuple)) and flat_tensors(value):
            return type(value)(copy(item) for item in value)
        return value

    return Sample(tuple(map(copy, sample.args)), {name: copy(value) for name, value in sample.kwargs.items()})


def _equal(written: torch.Tensor, made: torch.Tensor) -> bool:
    """Equal values after a cast to the target's dtype."""
    other = made.to(written.dtype)
    return written.shape == other.shape and bool(torch.equal(_without_nan(written), _without_nan(other)))


def _same_gradients(written: _Outcome, made: _Outcome) -> bool:
    """Equal where both forms have them: `asinh_` and `floor_divide` have no derivative on one side or both."""
    if written.gradients is None or made.gradients is None:
        return True
    return all(_close(one, two) for one, two in zip(written.gradients, made.gradients, strict=True))


def _without_nan(tensor: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(tensor, nan=12345.0) if tensor.is_floating_point() else tensor


def _close(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """A missing gradient equals a zero one: `eq_` gives zeros where `eq` leaves the graph."""
    if one is None or other is None:
        return all(found is None or not found.any() for found in (one, other))
    return bool(torch.allclose(one, other, equal_nan=True))
