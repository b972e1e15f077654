"""The out-of-place twin of every in-place function: same signature, same values, same gradients, or none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from interrogate import signatures
from interrogate.probe import Sample, flat_tensors

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


def row(name: str, function: Callable[..., Any], calls: Sequence[Sample]) -> dict[str, Any]:
    """Twin of `Tensor.exp_`, `torch.relu_`: its name, how its dtype relates to the target's, whether it is a view."""
    entry: dict[str, Any] = {"category": BY_NAME.get(name.rpartition(".")[2], "")}
    twin_name = name[:-1]
    twin = _resolve(twin_name)
    if twin is not None:
        verdict = _compare(function, twin, [call for call in calls if isinstance(call.args[0], torch.Tensor)])
        if verdict and verdict["equal"]:
            entry |= {
                "twin": twin_name,
                "view": verdict["view"],
                "dtype": verdict["dtype"],
                "signature": _covers(signatures.signatures(twin_name, twin), signatures.signatures(name, function)),
            }
        elif verdict is None:
            entry["unmeasured"] = twin_name
    return {key: value for key, value in entry.items() if value}


def _resolve(name: str) -> Callable[..., Any] | None:
    target: Any = torch.Tensor if name.startswith("Tensor.") else torch
    for part in name.split(".")[1:]:
        target = getattr(target, part, None)
    return target if callable(target) else None


def _covers(twin: Sequence[tuple[signatures.Parameter, ...]], own: Sequence[tuple[signatures.Parameter, ...]]) -> bool:
    """Every overload of the in-place form can be written as a call of the twin without changing an argument."""
    offered = [[parameter.name for parameter in overload] for overload in twin]
    wanted = [[parameter.name for parameter in overload] for overload in own]
    return bool(wanted) and all(any(names == other[: len(names)] for other in offered) for names in wanted)


def _compare(function: Callable[..., Any], twin: Callable[..., Any], calls: Sequence[Sample]) -> dict[str, Any] | None:
    """Over all calls the in-place form takes; None when there is none."""
    dtypes, equal, view, compared = set(), True, False, 0
    for sample in (variant for call in calls for variant in _variants(call)):
        outcome = _run(function, sample)
        if outcome is None:
            continue
        target, gradients = outcome
        other = _run(twin, sample)
        if other is None:
            equal = False
            continue
        compared += 1
        result, twin_gradients = other
        view |= result.untyped_storage()._cdata == flat_tensors(sample.args[0])[0].untyped_storage()._cdata
        dtypes.add((target.dtype, result.dtype))
        equal &= torch.equal(_clean(target), _clean(result.to(target.dtype)))
        equal &= all(_close(a, b) for a, b in zip(gradients, twin_gradients, strict=True))
    if not compared and equal:
        return None
    kept = all(own == other for own, other in dtypes)
    boolean = all(other is torch.bool for _, other in dtypes)
    return {"equal": equal, "view": view, "dtype": "same" if kept else "bool" if boolean else "promote"}


def _variants(sample: Sample) -> Iterator[Sample]:
    """As given, and with a target narrower than the rest."""
    yield sample
    if flat_tensors([*sample.args[1:], *sample.kwargs.values()]) and sample.args[0].is_floating_point():
        yield Sample((sample.args[0].float(), *sample.args[1:]), sample.kwargs)


def _run(function: Callable[..., Any], sample: Sample) -> tuple[torch.Tensor, list[torch.Tensor | None]] | None:
    leaf = sample.args[0].detach().clone()
    if leaf.is_floating_point():
        leaf.requires_grad_()
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function(leaf.clone(), *sample.args[1:], **sample.kwargs)
            if not isinstance(result, torch.Tensor):
                return None
            gradients = list(torch.autograd.grad(result.sum(), [leaf])) if result.requires_grad else [None]
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None
    return result.detach(), gradients


def _clean(tensor: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(tensor, nan=12345.0) if tensor.is_floating_point() else tensor


def _close(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return True  # comparisons: the twin leaves the graph, in place it has a zero gradient
    return torch.allclose(one, other, equal_nan=True)
