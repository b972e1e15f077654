"""What holds behind a test that asks for the type of a value: `isinstance(x, list)`, `torch.is_tensor(x)`."""

from __future__ import annotations

import ast
from dataclasses import replace

from gradfix.analysis.domain import learned
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import outside
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import UNKNOWN, Origin, Symbol, Tensor, Unknown, Value
from gradfix.analysis.interpreter import bindings
from gradfix.analysis.interpreter.expressions import look_up
from gradfix.analysis.operators import nn_layers
from gradfix.analysis.text import refusals
from gradfix.analysis.text.builtin_names import builtin

_SEQUENCES = ("list", "tuple")
_IS_TENSOR = Symbol("torch.is_tensor")


def narrow(m: Machine, state: State, test: ast.Call, *, positive: bool) -> bool:
    """Use what a test says of a variable where it is true (`positive`) or false; whether it says anything there.

    Behind `isinstance(x, nn.Linear)`, what nothing is known of is a module with parameters; where `isinstance(x,
    torch.Tensor)` is false, what shows on the other way that it is a tensor shows nothing here; and what is asked to be
    a list isn't a tensor.
    """
    if positive and (name := _asked_for_sequence(test)) is not None:
        if _is_given(look_up(m, state, name.id)):
            bindings.bind(m, state, name, state.container("list", Items((outside(state, name.id),), False)))
        return True
    if positive and (name := _asked_for_layer(m, state, test)) is not None:
        bindings.bind(m, state, name, nn_layers.some_layer(state, learns=_may_learn(m, state, name)))
        return True
    if not positive and (name := _asked_for_tensor(m, state, test)) is not None:
        held = look_up(m, state, name.id)
        if isinstance(held, Tensor) and (not held.known or _is_given(held)):
            twin = replace(held, known=False)
            state.attributes_of(twin).update(state.slots(held))
            bindings.bind(m, state, name, twin)
        return True
    return False


def _asked_for_tensor(m: Machine, state: State, call: ast.Call) -> ast.Name | None:
    """The name of which `isinstance(name, torch.Tensor)` or `torch.is_tensor(name)` asks."""
    if not call.args or not isinstance(call.args[0], ast.Name):
        return None
    if builtin(call.func) == "isinstance" and len(call.args) == 2:
        kind = call.args[1]
        return call.args[0] if m.look(state, kind) == Symbol("torch.Tensor") else None
    is_asked = isinstance(call.func, (ast.Name, ast.Attribute)) and m.look(state, call.func) == _IS_TENSOR
    return call.args[0] if is_asked else None


def _is_given(value: Value) -> bool:
    """Whether this is what a caller hands over: a tensor as far as an annotation says, or its use on other ways."""
    return isinstance(value, Tensor) and not value.is_view and value.storage.origin is Origin.ARGUMENT


def _asked_for_sequence(call: ast.Call) -> ast.Name | None:
    """The name of which `isinstance(name, (list, tuple))` asks."""
    if not (builtin(call.func) == "isinstance" and len(call.args) == 2 and isinstance(call.args[0], ast.Name)):
        return None
    kinds = call.args[1].elts if isinstance(call.args[1], ast.Tuple) else call.args[1:]
    return call.args[0] if all(builtin(kind) in _SEQUENCES for kind in kinds) else None


def _asked_for_layer(m: Machine, state: State, call: ast.Call) -> ast.Name | None:
    """The name of which `isinstance(name, nn.Linear)` asks, or the same of several such layers, if nothing is known."""
    if not (builtin(call.func) == "isinstance" and len(call.args) == 2):
        return None
    asked, kinds = call.args
    parts = kinds.elts if isinstance(kinds, ast.Tuple) else [kinds]
    if not isinstance(asked, ast.Name) or not all(isinstance(part, (ast.Name, ast.Attribute)) for part in parts):
        return None
    known = look_up(m, state, asked.id)
    if known != UNKNOWN and not (isinstance(known, Tensor) and not known.known):
        return None
    found = [m.look(state, part) for part in parts]
    return asked if all(isinstance(v, Symbol) and nn_layers.has_weight(v.name) for v in found) else None


def _may_learn(m: Machine, state: State, module: ast.Name) -> bool:
    """False where the function freezes modules, or this one stands inside another that is frozen as far as is known."""
    held, function = look_up(m, state, module.id), m.scope.info
    last = m.statement.end_lineno or module.lineno
    if function is not None and refusals.freezes(function.node, last):
        return False
    outer = held.inside if isinstance(held, Unknown) else None
    known = () if outer is None else learned.parameters(state, outer)
    return not known or any(state.nodes.get(storage) is not None for storage in known)
