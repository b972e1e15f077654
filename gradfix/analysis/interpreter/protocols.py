"""What operators do to objects of the file's own classes: `a + b`, `a[i] = v` and loops call methods of theirs."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Instance, Value

_NAMES = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "truediv",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "@": "matmul",
    "<<": "lshift",
    ">>": "rshift",
    "|": "or",
    "^": "xor",
    "&": "and",
}
_UNARY = {"-": "neg", "~": "invert"}


def special(m: Machine, state: State, receiver: Value, name: str, args: Sequence[Value], at: ast.AST) -> Value | None:
    """Call the special method `name` of an object; None where its class doesn't stand here, or has none."""
    info = receiver.info if isinstance(receiver, Instance) else None
    found = None if info is None else info.method(name)
    return None if found is None else m.call_function(state, m.defined.bound(found, receiver), list(args), {}, at)


def binary(m: Machine, state: State, symbol: str, left: Value, right: Value, at: ast.AST) -> Value | None:
    """`left symbol right` where an object says what that is."""
    name = _NAMES.get(symbol)
    if name is None or not (isinstance(left, Instance) or isinstance(right, Instance)):
        return None
    made = special(m, state, left, f"__{name}__", [right], at)
    return special(m, state, right, f"__r{name}__", [left], at) if made is None else made


def unary(m: Machine, state: State, symbol: str, operand: Value, at: ast.AST) -> Value | None:
    """`-operand` where an object says what that is."""
    name = _UNARY.get(symbol)
    return None if name is None else special(m, state, operand, f"__{name}__", [], at)


def augmented(m: Machine, state: State, symbol: str, target: Value, value: Value, at: ast.AST) -> Value | None:
    """`target op= value` where an object says what that is: what the target is bound to then."""
    made = special(m, state, target, f"__i{_NAMES[symbol]}__", [value], at)
    return binary(m, state, symbol, target, value, at) if made is None else made


def iterator(m: Machine, state: State, value: Value, at: ast.AST) -> Value:
    """What a loop goes through: an object's own `__iter__` gives it, anything else is that itself."""
    own = special(m, state, value, "__iter__", [], at)
    return value if own is None else own
