"""Functions that make tensors: keywords they take, dtype they give, whether the graph of a tensor argument is kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy
import torch

from interrogate import recipes
from interrogate.calls import Sample, flat_tensors

# name: call | call ...   each makes a tensor; the calls are those people write
CALLS: Mapping[str, str] = {
    "torch.zeros": "3, 4 | (3, 4)",
    "torch.ones": "3, 4 | (3, 4)",
    "torch.empty": "3, 4 | (3, 4)",
    "torch.full": "(3, 4), 2.0 | (3, 4), 2",
    "torch.rand": "3, 4 | (3, 4)",
    "torch.randn": "3, 4 | (3, 4)",
    "torch.randint": "5, (3, 4) | 1, 5, (3, 4)",
    "torch.randperm": "5",
    "torch.arange": "5 | 1, 5 | 0.0, 1.0, 0.5 | 5.0",
    "torch.range": "1, 5",
    "torch.linspace": "0, 1, 5",
    "torch.logspace": "0, 1, 5",
    "torch.eye": "3 | 3, 4",
    "torch.tril_indices": "3, 3",
    "torch.triu_indices": "3, 3",
    "torch.empty_strided": "(3, 4), (4, 1)",
    "torch.empty_permuted": "(3, 4), (0, 1)",
    "torch.hann_window": "5",
    "torch.hamming_window": "5",
    "torch.blackman_window": "5",
    "torch.bartlett_window": "5",
    "torch.kaiser_window": "5",
    "torch.fft.fftfreq": "5",
    "torch.fft.rfftfreq": "5",
    "torch.tensor": "1.5 | [1.0, 2.0] | [1, 2] | True | x | x.numpy()",
    "torch.as_tensor": "1.5 | [1.0, 2.0] | [1, 2] | x | x.numpy()",
    "torch.asarray": "1.5 | [1.0, 2.0] | [1, 2] | x | x.numpy()",
    "torch.scalar_tensor": "1.5",
    "torch.Tensor": "3, 4 | [1.0, 2.0] | [x[0, 0], x[0, 1]]",
    "torch.FloatTensor": "3, 4 | [1.0, 2.0]",
    "torch.DoubleTensor": "3, 4 | [1.0, 2.0]",
    "torch.LongTensor": "3, 4 | [1, 2]",
    "torch.IntTensor": "3, 4 | [1, 2]",
    "torch.BoolTensor": "3, 4 | [True]",
    "torch.nn.Parameter": "x",
    "torch.zeros_like": "x",
    "torch.ones_like": "x",
    "torch.empty_like": "x",
    "torch.full_like": "x, 2.0",
    "torch.rand_like": "x",
    "torch.randn_like": "x",
    "torch.randint_like": "x, 5",
    "torch.normal": "0.0, 1.0, (3, 4)",
    "torch.from_numpy": "x.numpy()",
    "torch.frombuffer": "bytearray(16), dtype=torch.float32",
    "torch.complex": "x, x",
    "torch.polar": "x, x",
    "torch.nn.functional.one_hot": "i",
    "Tensor.new_zeros": "x, 3 | x, (3, 4)",
    "Tensor.new_ones": "x, 3 | x, (3, 4)",
    "Tensor.new_empty": "x, 3 | x, (3, 4)",
    "Tensor.new_full": "x, (3,), 2.0",
    "Tensor.new_tensor": "x, [1.0] | x, x",
    "Tensor.new_empty_strided": "x, (3, 4), (4, 1)",
    "Tensor.new": "x, 3, 4",
}


def rows() -> Iterator[tuple[str, Any]]:
    """`factory torch.zeros` -> keywords it takes, dtype of each call, whether it keeps the graph of its argument."""
    for name, calls in CALLS.items():
        function = _resolve(name)
        if function is None:
            continue
        samples = recipes.build(calls.split(" | "))
        if all(_call(function, sample) is None for sample in samples):
            continue
        entry = {
            "dtype": _dtype(name, function, calls),
            "takes": [
                word
                for word, value in _KEYWORDS.items()
                if any(_takes(function, sample, word, value) for sample in samples)
            ],
            "tracked": _tracked(function, calls),
            "shares": _shares(function, calls),
            "like": "like" in name or name.startswith("Tensor.new"),
        }
        yield f"factory {name}", {key: value for key, value in entry.items() if value}


_KEYWORDS: Mapping[str, Any] = {"dtype": torch.float64, "requires_grad": True, "device": "cpu"}


def _resolve(name: str) -> Any:
    target: Any = torch.Tensor if name.startswith("Tensor.") else torch
    for part in name.split(".")[1:]:
        target = getattr(target, part, None)
    return target


def _call(function: Any, sample: Sample, **extra: Any) -> torch.Tensor | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function(*sample.args, **{**sample.kwargs, **extra})
    except Exception:
        return None
    return result if isinstance(result, torch.Tensor) else None


def _takes(function: Any, sample: Sample, word: str, value: Any) -> bool:
    made = _call(function, sample, **{word: value})
    if made is None and word == "requires_grad":  # an integer tensor can't, but the keyword is there
        made = _call(function, sample, dtype=torch.float64, requires_grad=True)
    if made is None:
        return False
    return made.requires_grad if word == "requires_grad" else word != "dtype" or made.dtype == value


def _dtype(name: str, function: Any, calls: str) -> str:
    """ "default" follows torch.set_default_dtype, "same" the tensor argument, "value" the value; or a fixed name."""
    kinds = set()
    for text in calls.split(" | "):
        (sample,) = recipes.build([text])
        plain = _call(function, sample)
        torch.set_default_dtype(torch.float64)
        try:
            wide = _call(function, sample)
        finally:
            torch.set_default_dtype(torch.float32)
        narrow = _call(function, _narrowed(sample))
        if plain is None or wide is None:
            continue
        if narrow is not None and narrow.dtype != plain.dtype:
            kinds.add("same")
        else:
            kinds.add("default" if wide.dtype != plain.dtype else str(plain.dtype).removeprefix("torch."))
    return next(iter(kinds)) if len(kinds) == 1 else "value"


def _narrowed(sample: Sample) -> Sample:
    return Sample(
        tuple(value.half() if isinstance(value, torch.Tensor) else value for value in sample.args), sample.kwargs
    )


def _tracked(function: Any, calls: str) -> str:
    """Whether a result made from a tensor that requires grad has its graph."""
    answers = set()
    for sample in recipes.build(calls.split(" | ")):
        if flat_tensors(sample.args) and flat_tensors(sample.args)[0].is_floating_point():
            live = Sample(tuple(_alive(value) for value in sample.args), sample.kwargs)
            made = _call(function, live)
            answers.add((made is not None and made.grad_fn is not None) or any(made is one for one in live.args))
    return "" if not answers else "yes" if answers == {True} else "no" if answers == {False} else "maybe"


def _alive(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().requires_grad_().clone()
    if isinstance(value, (list, tuple)):
        return type(value)(_alive(item) for item in value)
    return value


def _shares(function: Any, calls: str) -> bool:
    """Some call returns the memory of its argument: a tensor, a NumPy array, a buffer."""
    for sample in recipes.build(calls.split(" | ")):
        made = _call(function, sample)
        memory = {_address(given) for given in sample.args}
        if made is not None and made.data_ptr() in memory:
            return True
    return False


def _address(value: Any) -> int | None:
    if isinstance(value, torch.Tensor):
        return int(value.data_ptr())
    if isinstance(value, (bytearray, numpy.ndarray)):
        return int(numpy.frombuffer(value, dtype=numpy.uint8).ctypes.data)
    return None
