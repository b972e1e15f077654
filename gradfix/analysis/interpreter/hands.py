"""Calls that nobody follows: what they give may be or hold what they were given, and their receiver may keep it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from gradfix.analysis.domain.holders import derived, escape, keep, perhaps_held_in, tensors_within
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
    Opaque,
    Symbol,
    Tensor,
    Value,
    containers,
    is_unknown,
    options,
)
from gradfix.analysis.hazards.reads import read
from gradfix.analysis.text.nodes import every_node

_PLAIN = frozenset("print len isinstance issubclass hasattr callable repr str hash id format input open".split())
_STORING = frozenset("append appendleft extend extendleft insert push put setdefault".split())
_MUTABLE = ("list", "deque", "dict", "set")
_SEEING_NAMES = frozenset(f"builtins.{name}" for name in ("eval", "exec", "locals", "vars", "globals"))


def called(m: Machine, state: State, callee: Value, given: Sequence[Value], result: Value, at: ast.Call) -> Value:
    """The value of the call `callee(*given)`, with all that it may hold."""
    thrown_away = _is_thrown_away(m.statement, at)
    for value in given if id(at) in m.notes.unfollowed else ():
        _may_be_filled(state, value)
    if not (_is_unfollowed(m, callee, result, at) or (thrown_away and _is_guessed(callee))):
        return result
    if isinstance(callee, Symbol) and callee.name in _SEEING_NAMES:
        return _of_names(m, state, result, at)
    named = isinstance(at.func, ast.Attribute) and at.func.attr in _STORING
    stores = thrown_away or named
    parts = (*given, *_called_on(m, state, callee, at)) if stores or isinstance(callee, Method) else given
    handed = tensors_within(state, *(inner for value in parts for inner in _within(m, state, value)))
    if not handed:
        return result
    if stores:
        for owner in parts:
            if not (isinstance(owner, Tensor) and owner.known):
                keep(state, owner, handed)
            if named and is_unknown(owner):  # an annotation may be wrong: no string has this method
                escape(state, state.tuple_of(handed))
    return result if thrown_away else derived(state, result, handed)


def _may_be_filled(state: State, value: Value) -> None:
    """A list or dict got where nobody looks: what has no graph there may have made room for what has."""
    for container in containers(value) if isinstance(value, (Container, Choice)) else ():
        held = state.items.get(container)
        if held is None or container.kind not in _MUTABLE:
            continue
        bare = [v.__class__ is Tensor and not v.flows and state.node_of(v) is None for v in held.values]
        if any(bare):
            values = (
                merge(v, outside(state, "item")) if is_bare else v for v, is_bare in zip(held.values, bare, strict=True)
            )
            state.hold(container, Items(tuple(values), held.exact, held.keys, held.least, ordered=held.ordered))


def _called_on(m: Machine, state: State, callee: Value, at: ast.Call) -> Iterable[Value]:
    """The object whose method is called, and of something else what may hold what it was given: `put(y)`."""
    for option in options(callee):
        if isinstance(option, Method):
            yield option.receiver
        elif isinstance(option, (Tensor, Opaque)):
            yield m.look(state, at.func.value) if isinstance(at.func, ast.Attribute) else option


def _is_unfollowed(m: Machine, callee: Value, result: Value, at: ast.Call) -> bool:
    if id(at) in m.notes.unfollowed:
        return True
    if isinstance(result, Layer):
        return isinstance(callee, Symbol)
    is_plain = isinstance(callee, Symbol) and callee.name.removeprefix("builtins.") in _PLAIN
    return is_unknown(result) and not is_plain and not isinstance(callee, (Function, Class, Instance))


def _is_guessed(callee: Value) -> bool:
    """True for `q.put(y)`, which is a method of tensors, too, of something that need not be one."""
    receivers = [option.receiver for option in options(callee) if isinstance(option, Method)]
    return any(isinstance(receiver, Tensor) and not receiver.known for receiver in receivers)


def taken_from(state: State, owner: Value, taken: Value) -> Value:
    """An attribute or item of an object, which may be any of what the object holds where nobody followed."""
    held: Sequence[Value] = perhaps_held_in(state, owner)
    if isinstance(owner, Choice):
        held = [inner for option in owner.options for inner in perhaps_held_in(state, option)]
    return derived(state, taken, tensors_within(state, *held)) if held else taken


def _of_names(m: Machine, state: State, result: Value, at: ast.Call) -> Value:
    """`eval("y")`, `locals()`: all that has a name here may be in it, and `exec` may hand it to anyone."""
    every = [(name, value) for (frame, name), value in state.variables.items() if frame in m.scope.frames]
    for name, value in every:
        read(m, state, value, at, name, certain=False)
        escape(state, value)
    return result


def _within(m: Machine, state: State, value: Value) -> Iterable[Value]:
    """The value; of a function, what its body names besides."""
    return (value, *_closed_over(m, state, value)) if isinstance(value, Function) else (value,)


def _closed_over(m: Machine, state: State, function: Function) -> Iterable[Value]:
    names = dict.fromkeys(node.id for node in every_node(function.info.node) if isinstance(node, ast.Name))
    for name in names:
        if name not in function.info.local_names:
            found = next(
                (state.variables.get((f, name)) for f in function.frames if (f, name) in state.variables), None
            )
            if isinstance(found, Tensor):
                yield found


def _is_thrown_away(statement: ast.stmt, call: ast.Call) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return (value.value if isinstance(value, ast.Await) else value) is call
