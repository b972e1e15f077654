"""Plain Python values: truth, identity, arithmetic of constants, dtypes of mixed operands."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from gradfix.analysis.domain.values import (
    NONE,
    UNKNOWN,
    Class,
    Const,
    Container,
    Function,
    Instance,
    Layer,
    Number,
    Origin,
    Symbol,
    Tensor,
    Value,
)

_WIDTH = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
_ATOMS = ("int", "float", "bool", "complex", "str", "bytes")  # types that no container is
_FOLD_LIMIT = 1 << 40
_FOLDED: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}

# The classes of torch.nn that others of torch.nn derive from (2.13), besides Module and what Lazy ones derive from.
_BASES = frozenset("Hardtanh Upsample NLLLoss RNNBase RNNCellBase ConstantPad1d ConstantPad2d ConstantPad3d".split())


def truth(value: Value) -> bool | None:
    """The truth of a value where it is certain."""
    if isinstance(value, Const):
        return bool(value.value)
    if isinstance(value, (Function, Class, Layer, Symbol, Instance)):
        return True if not isinstance(value, Symbol) else None
    return None


def identity(left: Value, right: Value, *, negated: bool) -> Value:
    """`left is right`."""
    if isinstance(left, Const) and isinstance(right, Const):
        return Const((left.value is right.value) != negated)
    other = left if right == NONE else right if left == NONE else None
    if isinstance(other, (Tensor, Layer, Container, Instance, Function)) and not (
        isinstance(other, Tensor) and not other.known
    ):
        return Const(negated)
    return Number("bool")


def number_type(value: Value) -> str | None:
    """The type of a Python number: "int", "float", "bool", "number" when unknown; None for anything else."""
    if isinstance(value, Number):
        return value.type or "number"
    if isinstance(value, Const) and isinstance(value.value, (bool, int, float)):
        return type(value.value).__name__
    return None


_LONGEST_KEY = 80  # of characters: longer texts name nothing


def fold(symbol: str, left: object, right: object) -> Value:
    """Arithmetic of small constants."""
    if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
        if isinstance(left, tuple) and isinstance(right, tuple) and symbol == "+":
            return Const(left + right)
        if isinstance(left, str) and isinstance(right, str) and symbol == "+" and len(left + right) < _LONGEST_KEY:
            return Const(left + right)
        return UNKNOWN
    function = _FOLDED.get(symbol)
    if function is None or (symbol == "**" and (abs(right) >= 64 or abs(left) >= 1 << 20)):
        return Number()
    try:
        result = function(left, right)
    except ArithmeticError:
        return Number()
    if isinstance(result, (int, float)) and abs(result) < _FOLD_LIMIT:
        return Const(result)
    return Number(type(result).__name__ if isinstance(result, (int, float)) else None)


def fold_compare(symbol: str, left: Value, right: Value) -> Value:
    """Comparison of two constants."""
    a = left.value if isinstance(left, Const) else None
    b = right.value if isinstance(right, Const) else None
    if symbol == "==":
        return Const(a == b)
    if symbol == "!=":
        return Const(a != b)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return Const({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[symbol])
    return Number("bool")


def promoted(symbol: str, left: Value, right: Value) -> str | None:
    """The dtype of an arithmetic operation; None when it can't be told (always for `@`: autocast)."""
    if symbol == "@":
        return None
    kinds: list[str] = []
    for value in (left, right):
        if isinstance(value, Tensor):
            if value.dtype is None:
                return None
            kinds.append(value.dtype)
        elif (kind := number_type(value)) is None or kind == "number":
            return None
    if len(set(kinds)) != 1:
        ranks = [t.shape for t in (left, right) if isinstance(t, Tensor)]
        if any(k not in _WIDTH for k in kinds) or any(shape is None or not shape for shape in ranks):
            return None
        return max(kinds, key=_WIDTH.index) if set(kinds) != {"float16", "bfloat16"} else "float32"
    dtype = kinds[0]
    if dtype.startswith(("float", "bfloat")):
        return dtype
    if dtype.startswith("?"):  # may be an integer: only integers and equal tensors keep it
        plain = [kind for value in (left, right) if (kind := number_type(value)) is not None]
        return dtype if symbol in ("+", "-", "*") and all(kind in ("int", "bool") for kind in plain) else None
    other = number_type(left) or number_type(right)
    if dtype == "bool":
        return dtype if symbol in ("&", "|", "^") and other in (None, "bool") else None
    return dtype if other in (None, "int", "bool") and symbol not in ("/", "**") else None


def is_one_of(value: Value, kinds: Sequence[str | Value]) -> Value:
    """`isinstance(value, kinds)`: Python's own types by their names."""
    found = [_is_instance(value, kind) for kind in kinds]
    return Const(True) if True in found else Const(False) if set(found) == {False} else Number("bool")


def _is_instance(value: Value, kind: str | Value) -> bool | None:
    """Whether `value` is a `kind`, as far as that is certain."""
    if isinstance(kind, str):
        return _is_python(value, kind)
    if not isinstance(kind, Symbol):
        return None
    if isinstance(value, Layer):
        return _is_layer(value, kind)
    return isinstance(value, Tensor) if kind.name == "torch.Tensor" and _is_of_this_file(value) else None


def _is_python(value: Value, kind: str) -> bool | None:
    """Whether a tensor or container is one of Python's own types; lists and tuples do for each other in annotations."""
    if isinstance(value, Container):
        sure = value.kind == kind and kind in ("list", "tuple", "dict")
        return True if sure else False if kind in _ATOMS else None
    return False if isinstance(value, Tensor) and kind != "object" and _is_of_this_file(value) else None


def _is_of_this_file(value: Value) -> bool:
    """True for a container or tensor that was made here; what comes in from outside may be something else."""
    if isinstance(value, Tensor):
        return value.known and all(s.origin in (Origin.FRESH, Origin.PARAMETER) for s in value.storages)
    return isinstance(value, Container)


def _is_layer(layer: Layer, asked: Symbol) -> bool | None:
    """`isinstance(layer, nn.Conv2d)`."""
    module, _, name = asked.name.rpartition(".")
    if module != "torch.nn" or name.startswith("_") or name in _BASES or layer.name.startswith("Lazy"):
        return None
    return name in (layer.name, "Module")
