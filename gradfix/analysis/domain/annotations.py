"""What an annotation promises of a parameter: a tensor, a tensor of integers, a number, or nothing at all."""

from __future__ import annotations

import ast

from gradfix.analysis.domain.graph import assumed
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import (
    DEVICE,
    NONE,
    UNKNOWN,
    WHOLE_ARGUMENT,
    Choice,
    Const,
    Container,
    Number,
    Origin,
    Storage,
    Tensor,
    Value,
    is_unknown,
    options,
)
from gradfix.analysis.text.builtin_names import is_other

_TENSORS = frozenset("Tensor FloatTensor DoubleTensor HalfTensor BFloat16Tensor".split())
_DISCRETE = {
    "LongTensor": "int64",
    "IntTensor": "int32",
    "ShortTensor": "int16",
    "CharTensor": "int8",
    "ByteTensor": "uint8",
    "BoolTensor": "bool",
}
# jaxtyping: `Float[Tensor, "n d"]`; the others never require grad.
_FLOATING = frozenset("Float Float64 Float32 Float16 BFloat16 Shaped Num Inexact Real".split())
_WHOLE = {"Int": None, "UInt": None, "Integer": None, "Bool": "bool", "Int64": "int64", "Int32": "int32"}
_NUMBERS = frozenset({"int", "float", "bool"})
_PLAIN = frozenset("str bytes Path dtype Literal Callable".split())  # neither tensors nor full of them
_SEQUENCES = frozenset("list List Sequence Iterable tuple Tuple set Set".split())


def argument(state: State, name: str, *, known: bool, discrete: bool = False) -> Tensor:
    """An argument that is, or may be, a tensor; `discrete`: of integers or bools, which never require grad."""
    storage = Storage(Origin.ARGUMENT, name)
    state.nodes[storage] = None if discrete else assumed(name)
    if discrete and not name.endswith(("mask", "masks")):  # many a mask holds weights
        return Tensor((storage,), known=known, dtype=f"{WHOLE_ARGUMENT}{name}")
    return Tensor((storage,), known=known, dtype=f"?{name}" if known else None)


def promised(state: State, name: str, annotation: ast.expr | None, *, discrete: bool = False) -> Value | None:
    """What `annotation` says an argument `name` is; None where it says nothing of use.

    `discrete`: the name tells of integers, for the tensors whose dtype the annotation leaves open.
    """
    if isinstance(annotation, ast.Constant):
        return _of_constant(state, name, annotation, discrete)
    if isinstance(annotation, (ast.Name, ast.Attribute)):
        return _of_class(state, name, _last(annotation), discrete)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _one_of(state, name, [annotation.left, annotation.right], discrete)
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice
        return _of_generic(
            state, name, _last(annotation.value), inner.elts if isinstance(inner, ast.Tuple) else [inner], discrete
        )
    return None


def _last(node: ast.expr) -> str:
    if is_other(node):
        return ""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _of_constant(state: State, name: str, annotation: ast.Constant, discrete: bool) -> Value | None:
    if annotation.value is None:
        return NONE
    if not isinstance(annotation.value, str):
        return None
    try:
        inner = ast.parse(annotation.value, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return (
        None
        if isinstance(inner, ast.Constant) and inner.value is not None
        else promised(state, name, inner, discrete=discrete)
    )


def _of_class(state: State, name: str, kind: str, discrete: bool) -> Value | None:
    if kind in _TENSORS:
        return argument(state, name, known=True, discrete=discrete)
    if kind in _DISCRETE:
        made = argument(state, name, known=True, discrete=True)
        made.dtype = _DISCRETE[kind]
        return made
    if kind in _NUMBERS:
        return Number(kind)
    if kind == "Size":
        return state.container("tuple", Items((Number("int"),), False))
    if kind == "device":
        return DEVICE
    return UNKNOWN if kind in _PLAIN else None


def _of_generic(state: State, name: str, kind: str, parts: list[ast.expr], discrete: bool) -> Value | None:
    if kind in ("Optional", "Union"):
        parts = [*parts, ast.Constant(None)] if kind == "Optional" else parts
        return _one_of(state, name, parts, discrete)
    if kind in ("Annotated", "Final"):
        return promised(state, name, parts[0], discrete=discrete)
    if kind in _FLOATING or kind in _WHOLE:
        made = promised(state, name, parts[0], discrete=discrete or kind in _WHOLE)
        if isinstance(made, Tensor) and _WHOLE.get(kind):
            made.dtype = _WHOLE[kind]
        return made
    if kind in _SEQUENCES:
        return _of_sequence(state, name, kind.lower(), parts)
    return UNKNOWN if kind in _PLAIN else None


def _of_sequence(state: State, name: str, kind: str, parts: list[ast.expr]) -> Value | None:
    """Only of numbers and strings, and tuples of known length: which tensors a list holds, nobody can tell apart."""
    fixed = kind == "tuple" and not any(isinstance(p, ast.Constant) and p.value is Ellipsis for p in parts)
    found = [promised(state, f"{name}[{i}]", part) for i, part in enumerate(parts) if not _is_ellipsis(part)]
    if not found or any(value is None for value in found):
        return None
    values = [value for value in found if value is not None]
    if not fixed and any(isinstance(option, (Tensor, Choice)) for value in values for option in options(value)):
        return None
    return state.container("tuple" if kind == "tuple" else "list", Items(tuple(values), fixed))


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _one_of(state: State, name: str, parts: list[ast.expr], discrete: bool) -> Value | None:
    """A union: None as soon as one member says nothing, unless another is a tensor."""
    found: list[Value] = []
    silent = False
    for part in parts:
        value = promised(state, name, part, discrete=discrete)
        silent = silent or value is None
        found.extend(options(value) if value is not None else ())
    tensors = [value for value in found if isinstance(value, Tensor)]
    if tensors:  # the way with the most to lose; None counts where it is the default
        floating = [t for t in tensors if state.nodes.get(t.storage) is not None]
        return (floating or tensors)[0]
    if silent:
        return None
    numbers = {value.type for value in found if isinstance(value, Number)}
    others = [value for value in found if not isinstance(value, Number)]
    if numbers:
        number = Number(numbers.pop() if len(numbers) == 1 else None)
        return Choice((number, NONE)) if others == [NONE] else number if not others else UNKNOWN
    containers = [value for value in others if isinstance(value, Container)]
    if len(containers) == 1 and all(value in (containers[0], NONE) for value in others):
        return containers[0] if len(others) == 1 else Choice((containers[0], NONE))
    return UNKNOWN


def counted(value: Value) -> bool:
    """True when no tensor can hide in `value`: numbers, strings, and sequences of them."""
    return all(
        isinstance(option, (Number, Const)) or is_unknown(option) or option == DEVICE for option in options(value)
    )
