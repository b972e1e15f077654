"""Spellings worth asking about, and calls to ask with: torch's own sample inputs joined with hand-written recipes."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch

from interrogate import recipes
from interrogate.calls import Sample, flat_tensors, kind, seed

NAMESPACES = {
    "torch": torch,
    "torch.nn.functional": torch.nn.functional,
    "torch.linalg": torch.linalg,
    "torch.special": torch.special,
    "torch.fft": torch.fft,
}
ATTRIBUTES = ("T", "mT", "H", "mH", "real", "imag", "data")
MOST_ELEMENTS = 20_000
MOST_SAMPLES = 16


def spellings() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public callable that may be an operator: (`Tensor.exp`, callable), (`torch.exp`, callable), ..."""
    for name in dir(torch.Tensor):
        member = getattr(torch.Tensor, name, None)
        if not name.startswith("_") and callable(member) and not isinstance(member, type):
            yield f"Tensor.{name}", member
    for prefix, namespace in NAMESPACES.items():
        for name in dir(namespace):
            member = getattr(namespace, name)
            if not name.startswith("_") and callable(member) and not isinstance(member, type):
                yield f"{prefix}.{name}", member


@cache
def torch_samples() -> dict[str, list[Sample]]:
    """Sample inputs of `torch.testing`, by the names of its operator list (`exp`, `nn.functional.relu`, `linalg.inv`).

    Needs the package `expecttest`, which `torch.testing._internal` imports.
    """
    from torch.testing._internal.common_methods_invocations import op_db

    found: dict[str, list[Sample]] = defaultdict(list)
    for info in op_db:
        seed(7)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inputs = list(info.sample_inputs("cpu", torch.float64, requires_grad=False))
        usable = [sample for sample in (_plain(given) for given in inputs) if sample is not None]
        usable = [sample for sample in usable if not _is_degenerate(info.name, sample)]
        for name in (info.name, *(alias.name for alias in info.aliases)):
            found[name] += usable
    return dict(found)


def _plain(given: Any) -> Sample | None:
    args = (given.input, *given.args)
    kwargs = {name: value for name, value in given.kwargs.items() if name != "out"}
    sample = Sample(args, kwargs)
    return sample if is_usable(sample) else None


def is_usable(sample: Sample) -> bool:
    """Dense tensors, none of them empty or big."""
    return all(
        tensor.layout is torch.strided and 0 < tensor.numel() <= MOST_ELEMENTS
        for tensor in flat_tensors([*sample.args, *sample.kwargs.values()])
    )


def _is_degenerate(name: str, sample: Sample) -> bool:
    """The 0-norm, which has no gradient, and the smooth loss without its smooth part.

    As numbers they can't be told from the arguments people use.
    """
    if "norm" in name or "dist" in name:
        at = 2 if "dist" in name else 1
        chosen = (*sample.args[at : at + 1], sample.kwargs.get("p"), sample.kwargs.get("ord"))
    else:
        chosen = (sample.kwargs.get("beta"),) if name.endswith("smooth_l1_loss") else ()
    return any(kind(value) == "number" and value == 0 for value in chosen)


def samples_for(name: str, torchs_own: dict[str, list[Sample]], handwritten: dict[str, list[str]]) -> list[Sample]:
    """Calls of `name`: recipes first, then torch's own for the name itself and for its namesakes."""
    path, _, short = name.rpartition(".")
    short = short[:-1] if short.endswith("_") and short not in handwritten else short
    chosen = recipes.build(handwritten.get(short, []))
    keys = [f"{path.removeprefix('torch.')}.{short}", short, f"nn.functional.{short}"]
    if path in ("torch.linalg", "torch.fft"):
        keys = keys[:1]
    for key in dict.fromkeys(keys):
        chosen += _diverse(torchs_own.get(key, []))
    return chosen


def _diverse(samples: Sequence[Sample]) -> list[Sample]:
    """A few of each shape of call, `MOST_SAMPLES` at most."""
    kinds: dict[tuple[Any, ...], list[Sample]] = defaultdict(list)
    for sample in samples:
        key = (*map(kind, sample.args), *((name, kind(value)) for name, value in sorted(sample.kwargs.items())))
        kinds[key].append(sample)
    rounds = max((len(group) for group in kinds.values()), default=0)
    order = [group[turn] for turn in range(rounds) for group in kinds.values() if turn < len(group)]
    return order[:MOST_SAMPLES]
