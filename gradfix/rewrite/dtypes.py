"""Whether an out-of-place operation gives the dtype its in-place form keeps.

`y += v` computes in the dtype that promotion gives and casts the result to the dtype of `y`; it raises when the
result is of a higher category. So the two differ only where `v` makes a wider dtype of the same category: a tensor
with dimensions (or any tensor, where `y` has none) of a wider dtype. Measured on torch 2.13.
"""

from __future__ import annotations

import ast

from gradfix.analysis.facts import TensorFacts, Tracked, ValueFacts, ValueKind
from gradfix.rewrite.expressions import same

_NARROWER = {  # dtype -> dtypes that promotion with it leaves it unchanged
    "float64": {"float32", "float16", "bfloat16"},
    "float32": {"float16", "bfloat16"},
    "complex128": {"complex64"},
    "int64": {"int32", "int16", "int8", "uint8"},
    "int32": {"int16", "int8", "uint8"},
    "int16": {"int8", "uint8"},
}
_CATEGORIES = ("bool", "int", "float", "complex")
# methods whose result autocast leaves in the dtype of their tensor
# fmt: off
_KEEPING = frozenset({
    "abs", "neg", "max", "min", "amax", "amin", "mean", "median", "sin", "cos", "tanh", "sigmoid", "relu", "sqrt",
    "clamp", "detach", "clone", "t", "view", "reshape", "flatten", "transpose", "permute", "unsqueeze", "squeeze",
    "expand", "flip", "roll", "item",
})
# fmt: on
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)


def is_floating(tensor: TensorFacts) -> bool:
    """Proven to be of a floating or complex dtype; only such tensors are tracked."""
    return tensor.leaf or tensor.tracked is Tracked.YES or _category(tensor.dtype) in ("float", "complex")


def keeps_dtype(target: TensorFacts, value: ast.expr | None, written: ValueFacts, place: ast.expr) -> bool:
    """Whether `place op value` has the dtype of `place`, wherever `place op= value` runs without an error."""
    if written.kind in (ValueKind.NUMBER, ValueKind.NOTHING) or written.same_dtype:
        return True
    if value is not None and is_floating(target) and is_made_of(value, place):
        return True
    if written.kind is not ValueKind.TENSOR or written.tensor is None:
        return False
    if written.tensor.rank == 0 and target.rank not in (0, None):
        return True
    return _absorbs(target.dtype, written.tensor.dtype)


def has_equal_dtype(target: TensorFacts, value: ast.expr | None, written: ValueFacts, place: ast.expr) -> bool:
    """Whether the value written is a tensor proven to have the dtype of `place`."""
    if written.kind is not ValueKind.TENSOR or written.tensor is None:
        return False
    if written.same_dtype or (target.dtype is not None and target.dtype == written.tensor.dtype):
        return True
    return value is not None and is_floating(target) and is_made_of(value, place)


def is_made_of(value: ast.expr, place: ast.expr) -> bool:
    """Whether `value` is computed from `place` and numbers alone, keeping its dtype, autocast or not."""
    if same(value, place):
        return True
    if isinstance(value, ast.Constant):
        return type(value.value) in (int, float)
    if isinstance(value, ast.UnaryOp):
        return isinstance(value.op, ast.USub) and is_made_of(value.operand, place)
    if isinstance(value, ast.BinOp):
        return isinstance(value.op, _ARITHMETIC) and is_made_of(value.left, place) and is_made_of(value.right, place)
    if isinstance(value, ast.Subscript):
        return is_made_of(value.value, place)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        arguments = [*value.args, *(keyword.value for keyword in value.keywords)]
        plain = all(isinstance(argument, (ast.Constant, ast.UnaryOp)) for argument in arguments)
        return value.func.attr in _KEEPING and plain and is_made_of(value.func.value, place)
    return False


def _absorbs(target: str | None, other: str | None) -> bool:
    if target is None or other is None:
        return False
    if target == other:
        return True
    mine, others = _category(target), _category(other)
    if mine is None or others is None:
        return False
    if mine != others:
        return _CATEGORIES.index(others) < _CATEGORIES.index(mine) and (mine != "complex" or others != "float")
    return other in _NARROWER.get(target, set())


def may_be_complex(dtype: str | None) -> bool:
    """Whether nothing proves the dtype to be real."""
    return _category(dtype) in (None, "complex")


def _category(dtype: str | None) -> str | None:
    if dtype is None:
        return None
    if dtype == "bool":
        return "bool"
    if dtype.startswith(("float", "bfloat")):
        return "float"
    if dtype.startswith("complex"):
        return "complex"
    return "int" if dtype.startswith(("int", "uint")) else None
