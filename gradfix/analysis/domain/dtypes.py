"""The dtype of what an operator returns: which one, whether it is a floating one, whether it may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradfix.analysis.domain.values import DEVICE, NONE, Const, Container, Number, Symbol, Tensor, Value
from gradfix.torch_ops import Output

# Keep the dtype and raise for integers (torch 2.13), so that what they return is floating.
FLOATS_ONLY = frozenset(
    "softmax log_softmax softmin gelu silu mish elu selu celu leaky_relu layer_norm normalize softplus logsigmoid norm "
    "mean std var lerp hardswish glu cdist dropout batch_norm group_norm".split()
)
_ALIASES = {
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "float": "float32",
    "double": "float64",
    "half": "float16",
}
_WIDE = ("float32", "float64")
_NOT_DTYPES = frozenset({"self", "device", "non_blocking", "copy", "memory_format"})


def is_floating(tensor: Tensor) -> bool:
    """True where the dtype is surely a floating or complex one."""
    return tensor.floating or (tensor.dtype or "").startswith(("float", "bfloat", "complex"))


def dtype_name(value: Value | None) -> str | None:
    """ "int64" for `torch.long`."""
    if not isinstance(value, Symbol) or not value.name.startswith("torch."):
        return None
    name = value.name.removeprefix("torch.")
    return _ALIASES.get(name, name)


def result_dtype(output: Output, operands: Sequence[Tensor], arguments: Mapping[str, Value]) -> str | None:
    """The dtype of a result where it is one dtype for sure, or a name for an unknown one: "?x"."""
    explicit = arguments.get("dtype")
    if (named := dtype_name(explicit)) is not None:
        return named
    if explicit is not None and explicit != NONE:
        return None
    first = operands[0].dtype if operands else None
    if output.dtype == "same":
        return first
    if output.dtype == "sum":
        return first if first in _WIDE else None  # under autocast, narrower ones are added up in float32
    if output.dtype in ("promote", "same-float", "float"):
        single = first if all(t.dtype == first for t in operands) else None
        return single if single and single.startswith(("float", "bfloat", "?")) else None
    if output.dtype == "promote-numbers":
        return _promoted_with_numbers(operands, arguments)
    return output.dtype if output.dtype in ("bool", "int64", "float32", "float64") else None


def _promoted_with_numbers(operands: Sequence[Tensor], arguments: Mapping[str, Value]) -> str | None:
    """The one floating dtype of all operands, which no real number widens."""
    first = operands[0].dtype if operands else None
    if first is None or not first.startswith(("float", "bfloat")) or any(t.dtype != first for t in operands):
        return None
    return first if all(isinstance(value, Tensor) or _is_real(value) for value in arguments.values()) else None


def _is_real(value: Value) -> bool:
    if isinstance(value, Number):
        return value.type is not None
    return isinstance(value, Const) and not isinstance(value.value, complex)


def makes_floats(name: str, output: Output, operands: Sequence[Tensor], arguments: Mapping[str, Value]) -> bool:
    """True where the result is of a floating dtype whatever the operands are, or because one of them is."""
    if arguments.get("dtype", NONE) != NONE:
        return False
    if output.dtype in ("same-float", "float") or name in FLOATS_ONLY:
        return True
    if output.dtype in ("same", "sum"):
        return bool(operands) and is_floating(operands[0])
    return output.dtype in ("promote", "promote-numbers") and any(is_floating(t) for t in operands)


def may_convert(name: str, arguments: Mapping[str, Value]) -> bool:
    """Whether what `x.to(a)`, `x.type(a)` or `x.view(a)` is given may be a dtype, or a tensor that has another one."""
    if name in ("type", "type_as"):
        return True
    if name == "view":
        return len(arguments) == 2 and not any(isinstance(v, (Const, Number, Container)) for v in arguments.values())
    given = [value for key, value in arguments.items() if key not in _NOT_DTYPES]
    return name == "to" and not all(isinstance(value, Const) or value == DEVICE for value in given)
