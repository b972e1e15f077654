"""Python's operators on tensors: `+` with a tensor or a number on either side, indexing, augmented assignment."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from interrogate import recipes
from interrogate.calls import Sample

Spelling = tuple[str, tuple[str, ...], Callable[..., Any], list[Sample]]  # row name, parameters, function, calls

FLOAT = {
    "tensor tensor": ["x, y", "x, row", "col, row"],
    "tensor number": ["x, 2.0", "x, 3"],
    "number tensor": ["2.0, x", "3, x"],
}
INTEGER = {
    "tensor tensor": ["ints, bits", "m, m", "ints, irow", "icol, irow"],
    "tensor number": ["ints, 2"],
    "number tensor": ["2, bits"],
}
TENSORS = {"tensor tensor": ["a34, b45", "v, w", "a34, v", "x3, y3", "x3, b45", "a34, y3", "x3[:1], y3"]}

BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None, dict[str, list[str]]]] = {
    "+": (operator.add, operator.iadd, FLOAT),
    "-": (operator.sub, operator.isub, FLOAT),
    "*": (operator.mul, operator.imul, FLOAT),
    "/": (operator.truediv, operator.itruediv, FLOAT),
    "//": (operator.floordiv, operator.ifloordiv, FLOAT),
    "%": (operator.mod, operator.imod, FLOAT),
    "**": (operator.pow, operator.ipow, FLOAT),
    "@": (operator.matmul, None, TENSORS),
    "&": (operator.and_, operator.iand, INTEGER),
    "|": (operator.or_, operator.ior, INTEGER),
    "^": (operator.xor, operator.ixor, INTEGER),
    "<<": (operator.lshift, operator.ilshift, INTEGER),
    ">>": (operator.rshift, operator.irshift, INTEGER),
    "==": (operator.eq, None, FLOAT),
    "!=": (operator.ne, None, FLOAT),
    "<": (operator.lt, None, FLOAT),
    "<=": (operator.le, None, FLOAT),
    ">": (operator.gt, None, FLOAT),
    ">=": (operator.ge, None, FLOAT),
}
UNARY: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "unary -": (operator.neg, ["x", "ints"]),
    "unary +": (operator.pos, ["x", "ints"]),
    "unary ~": (operator.invert, ["m", "ints"]),
    "abs": (operator.abs, ["z", "ints"]),
    "bool": (bool, ["s"]),
    "int": (int, ["s"]),
    "float": (float, ["s"]),
    "len": (len, ["x"]),
    "iter": (lambda tensor: tuple(tensor), ["x"]),
}
INDICES: dict[str, list[str]] = {
    "int": ["x, 0", "x, -1", "x3, 1"],
    "slice": ["x, slice(0, 2)", "x, slice(None)", "x, slice(None, None, 2)"],
    "none": ["x, None"],
    "ellipsis": ["x, Ellipsis"],
    "basic": ["x, (0, 1)", "x, (slice(None), 0)", "x3, (Ellipsis, 0)", "x, (slice(None), None)"],
    "mask": ["x, m", "x, mrow"],
    "index": ["x, i", "x, idx"],
    "list": ["x, [0, 2]"],
    "advanced": ["x, (i, i)", "x, (i, 0)", "x, (slice(None), i)", "x, (mrow, 0)"],
}


def spellings() -> Iterator[Spelling]:
    """Every row name with its calls: `+ tensor number`, `+= tensor tensor`, `unary -`, `[] mask`."""
    for symbol, (plain, augmented, calls) in BINARY.items():
        for kinds, texts in calls.items():
            yield f"{symbol} {kinds}", ("left", "right"), plain, recipes.build(texts)
            if augmented is not None and kinds.startswith("tensor"):
                yield f"{symbol}= {kinds}", ("left", "right"), augmented, recipes.build(texts)
    for symbol, (function, texts) in UNARY.items():
        yield symbol, ("operand",), function, recipes.build(texts)
    for kind, texts in INDICES.items():
        yield f"[] {kind}", ("self", "index"), operator.getitem, recipes.build(texts)
        yield f"[]= {kind}", ("self", "index", "value"), _assigned, _writes(texts)
    for name in ("T", "mT", "real", "imag", "data", "H", "mH"):
        texts = {"imag": ["complex"], "real": ["a34", "complex"]}.get(name, ["a34"])
        yield f"Tensor.{name}", ("self",), operator.attrgetter(name), recipes.build(texts)


def _assigned(tensor: Any, index: Any, value: Any) -> Any:
    tensor[index] = value
    return tensor


def _writes(texts: Sequence[str]) -> list[Sample]:
    """Assignments of a tensor of the indexed shape, and of a number."""
    samples = recipes.build(list(texts))
    shaped = [Sample((*one.args, torch.full_like(operator.getitem(*one.args), 0.5))) for one in samples]
    return [*shaped, *(Sample((*one.args, 2.0)) for one in samples)]
