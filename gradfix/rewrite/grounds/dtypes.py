"""Whether an out-of-place operation gives the dtype its in-place form keeps.

`y += v` computes in the dtype that promotion gives and casts the result to the dtype of `y`; it raises when the
result is of a higher category. So the two differ only where `v` makes a wider dtype of the same category: a tensor
with dimensions (or any tensor, where `y` has none) of a wider dtype. Measured on torch 2.13.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache

from gradfix import torch_ops
from gradfix.analysis.facts import IndexKind, TensorFacts, Tracked, ValueKind, Write, WriteForm
from gradfix.rewrite.text.expressions import mentions, same

_NARROWER = {  # dtype -> dtypes that promotion with it leaves it unchanged
    "float64": {"float32", "float16", "bfloat16"},
    "float32": {"float16", "bfloat16"},
    "complex128": {"complex64"},
    "int64": {"int32", "int16", "int8", "uint8"},
    "int32": {"int16", "int8", "uint8"},
    "int16": {"int8", "uint8"},
}
_CATEGORIES = ("bool", "int", "float", "complex")
_CASTS = frozenset(  # methods that give another dtype
    {
        "to",
        "type",
        "type_as",
        "double",
        "float",
        "half",
        "bfloat16",
        "cdouble",
        "cfloat",
        "chalf",
        "long",
        "int",
        "bool",
    }
)
_INTEGER_KEEPING = frozenset({"min", "max", "amin", "amax", "abs", "neg", "clamp", "median"})
# What makes tensors complex; `select_scatter` and `slice_scatter` raise for those that require grad (2.4, 2.13-2.15).
_COMPLEX = re.compile(
    r"\bfft|complex(?:32|64|128)|\bcomplex\(|[=(]complex\b|(?:view_as|is)_complex|\b(?:cfloat|cdouble|chalf|polar|i?stft)\b"
    r"|(?<!\w)[\d.]+[jJ]\b"
)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)


def is_floating(tensor: TensorFacts) -> bool:
    """Proven to be of a floating or complex dtype; only such tensors are tracked."""
    return (
        tensor.floating
        or tensor.leaf
        or tensor.tracked is Tracked.YES
        or _category(tensor.dtype) in ("float", "complex")
    )


def is_integer(dtype: str | None) -> bool:
    """Proven to hold integers or bools."""
    return _category(dtype) in ("int", "bool")


def is_real(dtype: str | None) -> bool:
    """Proven to be of a dtype that is no complex one."""
    return _category(dtype) in ("bool", "int", "float")


def keeps_dtype(write: Write) -> bool:
    """Whether `y op v` has the dtype of `y`, wherever the write `y op= v` runs without an error."""
    target, written = write.tensor, write.written
    if written.kind in (ValueKind.NUMBER, ValueKind.NOTHING) or written.same_dtype:
        return True
    if write.value is not None and is_made_of(write.value, write.target) and _stays(write, write.value):
        return True
    if written.kind is not ValueKind.TENSOR or written.tensor is None:
        return False
    if written.tensor.rank == 0 and _has_dimensions(write):
        return True
    return _absorbs(target.dtype, written.tensor.dtype)


def _has_dimensions(write: Write) -> bool:
    """Whether the left operand of `y op= v` or `y[i] op= v` is proven to have any."""
    if write.form is not WriteForm.AUGMENTED_INDEX:
        return write.tensor.rank not in (0, None)
    return any(
        item.kind in (IndexKind.SLICE, IndexKind.MASK) or (item.kind is IndexKind.TENSOR and item.rank not in (0, None))
        for item in write.index
    )


def has_equal_dtype(write: Write) -> bool:
    """Whether the value written is a tensor proven to have the dtype of the target."""
    written = write.written
    if written.kind is not ValueKind.TENSOR or written.tensor is None:
        return False
    return written.same_dtype or (write.tensor.dtype is not None and write.tensor.dtype == written.tensor.dtype)


def _stays(write: Write, value: ast.expr) -> bool:
    """Whether operations keep the dtype of the target: floating ones always do, of integers sums are wider."""
    if is_floating(write.tensor) or write.operator == "/=":  # integers refuse that
        return True
    calls = [node.func for node in ast.walk(value) if isinstance(node, ast.Call)]
    return all(isinstance(func, ast.Attribute) and func.attr in _INTEGER_KEEPING for func in calls)


def is_made_of(value: ast.expr, place: ast.expr) -> bool:
    """Whether `value` is computed from a floating `place` and numbers written out, without a cast.

    Then it is of the dtype of `place`, or of integers, which never widen it. Autocast is left out of account: its
    float32 operations (`norm`, `exp`, `sum`) make a wider value of a half-precision `place`.
    """
    if same(value, place):
        return True
    if isinstance(value, (ast.Constant, ast.UnaryOp, ast.Tuple, ast.List)):
        return all(_is_made_of_or_plain(part, place) for part in ast.iter_child_nodes(value))
    if isinstance(value, ast.BinOp):
        return isinstance(value.op, _ARITHMETIC) and is_made_of(value.left, place) and is_made_of(value.right, place)
    if isinstance(value, ast.Subscript):
        return is_made_of(value.value, place)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        return _is_call_made_of(value, value.func, place)
    return False


def _is_made_of_or_plain(part: ast.AST, place: ast.expr) -> bool:
    return not isinstance(part, ast.expr) or is_made_of(part, place)


def _is_call_made_of(call: ast.Call, func: ast.Attribute, place: ast.expr) -> bool:
    """A method of tensors called on something made of `place`, or a function of torch called with such."""
    if any(keyword.arg in (None, "dtype", "other", "out") for keyword in call.keywords):
        return False
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    if not all(is_made_of(argument, place) for argument in arguments):
        return False
    if ast.unparse(func.value) in ("torch", "torch.linalg", "F", "torch.nn.functional"):
        makes_its_own = torch_ops.factory(f"torch.{func.attr}") is not None  # `torch.linspace(y.min(), y.max(), 3)`
        return not makes_its_own and any(mentions(argument, place) for argument in call.args)
    return func.attr not in _CASTS and torch_ops.method(func.attr) is not None and is_made_of(func.value, place)


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


@lru_cache(maxsize=4)  # asked of one file after the other
def speaks_of_complex(text: str) -> bool:
    """Whether complex numbers may occur in a module of this text."""
    return _COMPLEX.search(text) is not None


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
