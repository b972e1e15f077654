"""Functions handed to what isn't followed: from then on they may run at any time, and change what they close over."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import outside
from gradfix.analysis.domain.state import Items, State, merge
from gradfix.analysis.domain.values import (
    Choice,
    Class,
    Container,
    Function,
    Instance,
    Layer,
    Method,
    Partial,
    Symbol,
    Value,
    options,
)
from gradfix.analysis.facts import Tracked
from gradfix.analysis.operators import hooks
from gradfix.analysis.text.nodes import every_node

_GROWING = frozenset("append appendleft extend insert add update setdefault".split())


def handed_over(m: Machine, state: State, callee: Value, given: Iterable[Value]) -> None:
    """`callee` was called with these: what it may have kept of them, and calls later, has an effect from now on."""
    callables = [value for value in given if value.__class__ is Function or value.__class__ is Choice]
    functions = [f for value in callables for f in options(value) if isinstance(f, Function)]
    applied = isinstance(callee, Method) and callee.name == "apply"  # of a module, which calls it at once
    for function in functions if applied or not _is_followed(callee) else ():
        mode = m.defined.handed.get(function.info, state.grad)
        m.defined.handed[function.info] = mode if mode is state.grad else Tracked.MAYBE
    if not functions or _is_followed(callee):
        return
    for function in functions:
        if not isinstance(callee, Symbol) or function.info not in m.defined.covered:
            _let_change(state, function)


def _is_followed(callee: Value) -> bool:
    if isinstance(callee, Method):
        hooked = callee.name in hooks.NAMES and isinstance(callee.receiver, (Layer, Instance))
        return hooked or isinstance(callee.receiver, Container)
    return isinstance(callee, (Function, Class, Instance, Layer, Container, Partial, Choice))


def _let_change(state: State, function: Function) -> None:
    """What the body may change now holds something unknown besides."""
    own = function.info.parameters[0] if function.receiver is not None and function.info.parameters else None
    for name, attribute in set(_changed(function.info.node)):
        if attribute is not None:
            if name == own and isinstance(function.receiver, Instance):
                _widen_attribute(state, function.receiver, attribute)
            continue
        frame = next((f for f in function.frames if (f, name) in state.variables), None)
        if frame is not None and name not in function.info.local_names:
            state.variables[frame, name] = _widened(state, state.variables.get((frame, name)), name)


def _widen_attribute(state: State, owner: Instance, name: str) -> None:
    state.attributes_of(owner)[name] = _widened(state, state.slots(owner).get(name), f"self.{name}")


def _widened(state: State, value: Value | None, name: str) -> Value:
    if isinstance(value, Container) and (held := state.items.get(value)) is not None:
        state.items[value] = Items((*held.values, outside(state, name)), False)
        return value
    other = outside(state, name)
    return other if value is None else merge(value, other)


def _changed(node: ast.AST) -> Iterator[tuple[str, str | None]]:
    """The names that a body binds or changes the items of, with the attribute of theirs that is meant, if any."""
    for inner in every_node(node):
        target: ast.AST | None = None
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in _GROWING:
            target = inner.func.value
        elif isinstance(inner, (ast.Name, ast.Attribute, ast.Subscript)) and isinstance(inner.ctx, ast.Store):
            target = inner
        while isinstance(target, ast.Subscript):
            target = target.value
        if isinstance(target, ast.Name):
            yield target.id, None
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            yield target.value.id, target.attr
