"""Which rule the dtype of a result follows: the first rule that predicts every observed case."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from interrogate.calls import Call, Sample, flat_tensors, seed


@dataclass(frozen=True, slots=True)
class Case:
    """Dtypes of the tensor arguments, types of the numbers among the arguments, dtype of one output."""

    given: tuple[torch.dtype, ...]
    dimensioned: tuple[bool, ...]  # 0-d tensors widen a result only to another category
    numbers: tuple[type, ...]
    result: torch.dtype


# Dtypes for the first tensor that is cast and for the others. Cast are the floats; without one the complex; else the
# ints: beside floats, integers are indices and stay.
FLOAT, COMPLEX, WHOLE = (torch.float32, torch.float64), (torch.complex64, torch.complex128), (torch.int32, torch.int64)
CASTS = {
    FLOAT: [*itertools.product(FLOAT, FLOAT), (WHOLE[1], WHOLE[1]), (WHOLE[0], WHOLE[0]), (WHOLE[1], FLOAT[0])],
    COMPLEX: [*itertools.product(COMPLEX, COMPLEX)],
    WHOLE: [*itertools.product(WHOLE, WHOLE)],
}


def cases(call: Call, sample: Sample) -> Iterator[list[Case]]:
    """For each way of casting the arguments that the call takes: one case an output."""
    if any(isinstance(value, torch.dtype) for value in (*sample.args, *sample.kwargs.values())):
        return
    family = _family(sample)
    for first, others in CASTS.get(family, [(torch.bool, torch.bool)]):
        cast = _cast(sample, family, first, others)
        tensors = flat_tensors([*cast.args, *cast.kwargs.values()])
        given = tuple(tensor.dtype for tensor in tensors)
        dimensioned = tuple(tensor.dim() > 0 for tensor in tensors)
        numbers = tuple(type(value) for value in (*sample.args, *sample.kwargs.values()) if type(value) in (int, float))
        seed(0)
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                result = call(*cast.args, **cast.kwargs)
        except Exception:  # a dtype the operator does not take tells nothing about its rule
            continue
        yield [Case(given, dimensioned, numbers, tensor.dtype) for tensor in flat_tensors(result)]


def rule(observed: Iterable[Case]) -> str:
    """Name of the first rule that fits: see `RULES`; else a constant dtype; else "other"; "" when nothing was seen."""
    seen = list(observed)
    if not seen:
        return ""
    for name, predict in RULES.items():
        if all(case.given and predict(case) == case.result for case in seen):
            return name
    results = {case.result for case in seen}
    return str(results.pop()).removeprefix("torch.") if len(results) == 1 else "other"


def _promoted(case: Case) -> torch.dtype:
    """As torch.result_type over the tensors."""
    wide = [dtype for dtype, has in zip(case.given, case.dimensioned, strict=True) if has]
    flat = [dtype for dtype, has in zip(case.given, case.dimensioned, strict=True) if not has]
    if not wide:
        return functools.reduce(torch.promote_types, flat)
    result = functools.reduce(torch.promote_types, wide)
    for dtype in flat:
        if _category(dtype) > _category(result):
            result = torch.promote_types(result, dtype)
    return result


def _category(dtype: torch.dtype) -> int:
    return 3 if dtype.is_complex else 2 if dtype.is_floating_point else 0 if dtype is torch.bool else 1


def _promoted_with_numbers(case: Case) -> torch.dtype:
    tensors = _promoted(case)
    return _floating(tensors) if float in case.numbers else tensors


def _floating(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype.is_floating_point or dtype.is_complex else torch.get_default_dtype()


def _summed(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype.is_floating_point or dtype.is_complex else torch.int64


RULES: Mapping[str, Callable[[Case], torch.dtype]] = {
    "bool": lambda case: torch.bool,
    "int64": lambda case: torch.int64,
    "same": lambda case: case.given[0],
    "promote": _promoted,
    "promote-numbers": _promoted_with_numbers,
    "same-float": lambda case: _floating(case.given[0]),
    "float": lambda case: _floating(_promoted(case)),
    "sum": lambda case: _summed(case.given[0]),
    "real": lambda case: case.given[0].to_real(),
}


def _family(sample: Sample) -> tuple[torch.dtype, ...]:
    present = {tensor.dtype for tensor in flat_tensors([*sample.args, *sample.kwargs.values()])}
    return next((family for family in CASTS if present.intersection(family)), ())


def _cast(sample: Sample, family: Collection[torch.dtype], first: torch.dtype, others: torch.dtype) -> Sample:
    remaining = [first]

    def convert(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if value.dtype not in family:
                return value.clone()
            target = remaining.pop() if remaining else others
            return value.detach().to(target, copy=True)
        if isinstance(value, (list, tuple)) and flat_tensors(value):
            return type(value)(convert(item) for item in value)
        return value

    return Sample(
        tuple(convert(value) for value in sample.args),
        {name: convert(value) for name, value in sample.kwargs.items()},
    )
