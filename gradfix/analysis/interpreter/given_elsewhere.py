"""What a call of something in another file hands over: its arguments by parameter, and what of them a summary knows."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from gradfix.analysis.domain import learned
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import (
    Array,
    Const,
    Container,
    Instance,
    Layer,
    Number,
    Optimizer,
    Tensor,
    Value,
    tensor_of,
    tensors,
)
from gradfix.analysis.effects import LISTS, NETWORK, OPTIMIZER, Constant, Given, Parameter
from gradfix.analysis.hazards import cuts
from gradfix.analysis.interpreter.objects_elsewhere import class_name


def tells(state: State, value: Value) -> bool:
    """Whether a value is a tensor, a list of them, or was computed from one."""
    if isinstance(value, (Number, Array)):
        return bool(cuts.flows_of(state, value))
    return any(t.known for t in tensors(value)) or listed(state, value) is not None


def listed(state: State, value: Value) -> Tensor | None:
    """Any item of a list that holds nothing but tensors."""
    items = state.items.get(value) if isinstance(value, Container) and value.kind in LISTS else None
    if items is None or not items.values or not all(any(t.known for t in tensors(item)) for item in items.values):
        return None
    element = items.element()
    return None if element is None else tensor_of(element)


def bound_to(
    state: State, parameters: Sequence[Parameter], args: Sequence[Value], keywords: Mapping[str, Value], at: ast.Call
) -> dict[int, Value] | None:
    """The arguments by the places of their parameters; None where they don't fit, or can't be told apart."""
    if any(isinstance(part, ast.Starred) for part in at.args) or any(k.arg is None for k in at.keywords):
        return None
    places = [place for place, parameter in enumerate(parameters) if parameter.by_position]
    named = {parameter.name: place for place, parameter in enumerate(parameters) if parameter.by_name}
    rest = next((place for place, parameter in enumerate(parameters) if parameter.gathers), None)
    if (len(args) > len(places) and rest is None) or not keywords.keys() <= named.keys():
        return None
    bound: dict[int, Value] = dict(zip(places, args, strict=False))
    if rest is not None:
        bound[rest] = state.tuple_of(args[len(places) :])
    bound.update((named[name], value) for name, value in keywords.items())
    missing = (place for place in range(len(parameters)) if place not in bound)
    return bound if all(parameters[place].has_default for place in missing) else None


def is_network(state: State, value: Value) -> bool:
    """Whether it is a module with parameters of which it is known who made it."""
    is_module = isinstance(value, (Layer, Instance)) or (isinstance(value, Container) and value.kind == "layers")
    return is_module and bool(learned.parameters(state, value))


def given_of(m: Machine, state: State, parameters: Sequence[Parameter], bound: Mapping[int, Value]) -> Given:
    """The constants among the arguments, and which of the others are lists."""
    found: list[tuple[int, str, Constant]] = []
    for place, parameter in enumerate(parameters):
        value = bound.get(place)
        if isinstance(value, Container) and not parameter.gathers and listed(state, value) is not None:
            found.append((place, value.kind, None))
            continue
        if value is not None and m.trains and is_network(state, value):
            found.append((place, NETWORK, class_name(m, value) if isinstance(value, Instance) else ""))
            continue
        if isinstance(value, Optimizer):
            found.append((place, OPTIMIZER, None))
            continue
        constant = value.value if isinstance(value, Const) else parameter.default
        known = isinstance(value, Const) if value is not None else parameter.is_constant
        if known and isinstance(constant, (bool, int, float, str, type(None))):
            found.append((place, type(constant).__name__, constant))
    return tuple(found)


def expressions_for(at: ast.Call, parameters: Sequence[Parameter], place: int) -> Sequence[ast.expr]:
    """What was handed over for a parameter: one expression, of a list written out its items, of `*rest` all of them."""
    parameter = parameters[place]
    given = [keyword.value for keyword in at.keywords if keyword.arg == parameter.name]
    if parameter.gathers:
        given = at.args[sum(one.by_position for one in parameters) :]
    elif not given and parameter.by_position:
        given = at.args[place : place + 1]
    spread = given[0].elts if len(given) == 1 and isinstance(given[0], (ast.List, ast.Tuple)) else given
    return given if any(isinstance(one, ast.Starred) for one in spread) else spread
