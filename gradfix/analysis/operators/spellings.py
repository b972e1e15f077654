"""Writes spelt as calls of something else than a method of the tensor: `torch.Tensor.add_(y, 1)`, `y.__iadd__(1)`,
`operator.setitem(y, 0, 1)`, `torch._foreach_add_([y], 1)`."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import NONE, Container, Tensor, Value, tensor_of
from gradfix.analysis.facts import WriteForm
from gradfix.analysis.operators import torch_calls, write_calls
from gradfix.torch_ops import method

# What the operators of Python that write are called, and the method that writes alike; none for assigned items.
_OPERATORS = {"iadd": "add_", "isub": "sub_", "imul": "mul_", "itruediv": "div_", "ipow": "pow_", "setitem": None}
_UNBOUND = ("torch.Tensor.", "torch.ops.aten.")
_EACH = "torch._foreach_"

Keywords = Mapping[str, Value]


def called(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Keywords, at: ast.Call
) -> Value | None:
    """A function that writes to its first argument, by its qualified name; None for every other."""
    if name.startswith(_EACH) and name.endswith("_"):
        return _each(m, state, name, args, keywords, at)
    target = tensor_of(args[0]) if args and at.args else None
    if target is None:
        return None
    if name.startswith(_UNBOUND):
        prefix = next(prefix for prefix in _UNBOUND if name.startswith(prefix))
        short = name[len(prefix) :].partition(".")[0]
        plain = _plain(short)
        if plain == "":
            return torch_calls.tensor_method(m, state, target, short, list(args[1:]), keywords, at)
        return _write(m, state, plain, target, at.args[0], args, keywords, at)
    if name.startswith("operator.") and name.removeprefix("operator.") in _OPERATORS:
        return _write(m, state, _OPERATORS[name.removeprefix("operator.")], target, at.args[0], args, keywords, at)
    return None


def bound(
    m: Machine, state: State, target: Tensor, name: str, args: Sequence[Value], keywords: Keywords, at: ast.Call
) -> Value | None:
    """`y.__iadd__(1)`; None for methods that don't stand for an operator that writes."""
    if not name.startswith("__i") and name != "__setitem__":
        return None
    plain = _plain(name)
    if plain == "" or not isinstance(at.func, ast.Attribute):
        return None
    return _write(m, state, plain, target, at.func.value, (target, *args), keywords, at)


def _plain(name: str) -> str | None:
    """The method that writes as `name` does; an empty name for what doesn't write."""
    if name.startswith("__") and name.strip("_") in _OPERATORS:
        return _OPERATORS[name.strip("_")]
    return name if name.endswith("_") and not name.endswith("__") else ""


def _write(
    m: Machine,
    state: State,
    plain: str | None,
    target: Tensor,
    expression: ast.expr,
    args: Sequence[Value],
    keywords: Keywords,
    at: ast.Call,
) -> Value:
    op = None if plain is None else method(plain)
    fresh = write_calls.write_call(m, state, WriteForm.CALL, op, target, expression, args, keywords, at)
    return NONE if plain is None else fresh


def _each(m: Machine, state: State, name: str, args: Sequence[Value], keywords: Keywords, at: ast.Call) -> Value | None:
    held = state.items.get(args[0]) if args and isinstance(args[0], Container) else None
    listed = at.args[0] if at.args else None
    if held is None or listed is None:
        return None
    written = listed.elts if isinstance(listed, ast.List) and len(listed.elts) == len(held.values) else None
    for place, value in enumerate(held.values):
        target = tensor_of(value)
        expression = listed if written is None else written[place]
        if target is not None:
            _write(m, state, name.removeprefix(_EACH), target, expression, (target, *args[1:]), keywords, at)
    return NONE
