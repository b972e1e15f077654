"""Methods that every module of torch.nn has."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.domain import learned
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import clear_graph, outside, tracked
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import (
    NONE,
    UNKNOWN,
    Const,
    Container,
    Instance,
    Layer,
    Number,
    Tensor,
    Text,
    Unknown,
    Value,
    is_unknown,
    tensors,
)
from gradfix.analysis.facts import Tracked
from gradfix.analysis.interpreter import classes
from gradfix.analysis.operators import objects

_RETURNING_ITSELF = frozenset("to cuda cpu train eval double float half requires_grad_ apply".split())
_GIVING_MODULES = frozenset({"modules", "named_modules", "children", "named_children"})
_ADDING_MODULES = frozenset({"add_module", "register_module"})
_REGISTERING = _ADDING_MODULES | {"register_buffer", "register_parameter"}


def call(
    m: Machine, state: State, receiver: Instance | Layer | Container, name: str, args: Sequence[Value], at: ast.AST
) -> Value:
    """Call `receiver.name(…)`."""
    if name == "requires_grad_" and isinstance(at, ast.Call):
        given = [*at.args, *(k.value for k in at.keywords)]
        learned.ask(state, receiver, m.look(state, given[0]) if given else Const(True), at)
    if name in _RETURNING_ITSELF:
        return receiver
    if name in objects.COUNTING:
        return Number("int") if args or name != "size" else UNKNOWN
    if name in ("parameters", "named_parameters"):
        return _parameters(state, receiver, named=name == "named_parameters")
    if name in _GIVING_MODULES:
        return Unknown(inside=receiver)
    if name in _REGISTERING and isinstance(receiver, Instance) and len(args) > 1:
        value = _buffer(state, args[1]) if name == "register_buffer" else args[1]
        _register(state, receiver, name, args[0], value)
        return NONE
    return UNKNOWN


def _parameters(state: State, receiver: Instance | Layer | Container, *, named: bool) -> Value:
    found = learned.iterated(state, receiver)
    if not found.values:
        found = Items((Tensor((objects.parameter(state, "parameter"),)),), False)
    if named:
        pairs = tuple(state.tuple_of((UNKNOWN, each)) for each in found.values)
        found = Items(pairs, False, least=found.least, ordered=found.ordered)
    return state.container("list", found)


def _buffer(state: State, value: Value) -> Value:
    """What is kept as a buffer has no graph, unless one is seen behind it."""
    held = outside(state, "buffer") if is_unknown(value) else value
    for tensor in tensors(held):
        if tracked(state, tensor) is Tracked.MAYBE:
            clear_graph(state, tensor)
    return held


def _register(state: State, receiver: Instance, method: str, name: Value, value: Value) -> None:
    """`self.register_buffer(name, value)` and its like set an attribute."""
    if isinstance(name, Const):
        if method in _ADDING_MODULES:
            classes.add_layer(state, receiver, str(name.value), value)
        state.attributes_of(receiver)[str(name.value)] = value
    elif isinstance(name, Text):
        objects.set_like(state, receiver, name, value)
