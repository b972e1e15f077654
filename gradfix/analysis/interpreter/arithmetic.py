"""Arithmetic of any two values: numbers, lists, arrays, objects with operators of their own, tensors."""

from __future__ import annotations

import ast

from gradfix.analysis.domain import dictionaries, python_values
from gradfix.analysis.domain.dtypes import is_floating
from gradfix.analysis.domain.holders import derived, perhaps_held_in, tensors_within
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors
from gradfix.analysis.domain.state import State, merge
from gradfix.analysis.domain.values import (
    PLAIN,
    UNKNOWN,
    Array,
    Choice,
    Const,
    Container,
    Instance,
    Number,
    Opaque,
    Suspended,
    Tensor,
    Value,
    options,
)
from gradfix.analysis.hazards import cuts
from gradfix.analysis.interpreter import items as item_access
from gradfix.analysis.interpreter import protocols
from gradfix.analysis.operators import operators

_SYMBOLS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.MatMult: "@",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.BitAnd: "&",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.USub: "-",
    ast.Invert: "~",
}
_JOINING = frozenset("+|&-^")  # of lists, dictionaries and sets
_JOINED = frozenset({Container, Instance, Opaque, Suspended})


def symbol_of(op: ast.AST) -> str:
    """The spelling of an operator: "+"."""
    return _SYMBOLS[type(op)]


def binary(m: Machine, state: State, symbol: str, left: Value, right: Value, at: ast.AST) -> Value:
    """`left symbol right`, out of place."""
    if (made := protocols.binary(m, state, symbol, left, right, at)) is not None:
        return made
    return _joined(state, symbol, left, right, _computed(m, state, symbol, left, right, at))


def _joined(state: State, symbol: str, left: Value, right: Value, result: Value) -> Value:
    """A list that is added to what nobody knows may make a list, which holds what is in both."""
    values = (*options(left), *options(right))
    if symbol not in _JOINING or not any(v.__class__ in _JOINED or perhaps_held_in(state, v) for v in values):
        return result
    computed = any((isinstance(v, Tensor) and v.known) or python_values.number_type(v) is not None for v in values)
    return result if computed else derived(state, result, tensors_within(state, left, right))


def _computed(m: Machine, state: State, symbol: str, left: Value, right: Value, at: ast.AST) -> Value:
    operands = all_tensors((left, right))
    if not operands:
        plain = _plain_binary(m, state, symbol, left, right)
        return cuts.with_flows(plain, cuts.among_numbers(m, state, symbol, (left, right)))
    known = any(t.known for t in operands)
    result = operators.arithmetic(m, state, symbol, left, right, at)
    result.known = known
    result.dtype = python_values.promoted(symbol, left, right)
    numbers = "float" in (python_values.number_type(left), python_values.number_type(right))
    result.floating = symbol == "/" or numbers or any(is_floating(t) for t in operands)
    parts = [o for o in (*options(left), *options(right)) if python_values.number_type(o) is not None]
    numbers_possible = isinstance(left, Choice) and isinstance(right, (Const, Number)) and bool(parts)
    return merge(result, Number()) if numbers_possible else result


def _plain_binary(m: Machine, state: State, symbol: str, left: Value, right: Value) -> Value:
    if isinstance(left, Container) and isinstance(right, Container) and symbol == "+":
        return item_access.concatenated(state, left, right)
    if symbol == "|" and isinstance(left, Container) and isinstance(right, Container) and left.kind == "dict":
        return dictionaries.united(state, left, right)
    if isinstance(left, Container) and symbol == "*":
        return item_access.repeated(state, left, right)
    if isinstance(right, Container) and symbol == "*":
        return item_access.repeated(state, right, left)
    if isinstance(left, Const) and isinstance(right, Const):
        return python_values.fold(symbol, left.value, right.value)
    kinds = [python_values.number_type(value) for value in (left, right)]
    if None in kinds:
        arrays = all(isinstance(v, (Array, Const, Number)) or v == PLAIN for v in (left, right))
        return PLAIN if arrays else UNKNOWN
    of_data = any(isinstance(value, Number) and value.of_data for value in (left, right))
    whole = all(kind == "int" for kind in kinds) and symbol != "/"
    return Number("int" if whole else "float" if "float" in kinds or symbol == "/" else None, of_data)
