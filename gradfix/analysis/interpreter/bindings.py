"""Binding a target to a value where that is no write into a tensor."""

from __future__ import annotations

import ast
from dataclasses import replace

from gradfix.analysis.domain.holders import escape, keep
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import ask_grad, part_of
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import (
    KEEPING,
    NONE,
    UNKNOWN,
    Class,
    Instance,
    Layer,
    Symbol,
    Tensor,
    Unknown,
    Value,
    options,
)
from gradfix.analysis.interpreter import classes
from gradfix.analysis.interpreter.items import iterated
from gradfix.analysis.operators import objects
from gradfix.torch_ops import ViewKind


def bind(m: Machine, state: State, target: ast.expr, value: Value) -> None:
    """Assign a value to a target that isn't a write into a tensor."""
    if isinstance(target, ast.Name):
        for tensor in (value,) if isinstance(value, Tensor) else ():
            for storage in (tensor.storage, *tensor.graph_keys[:1]):
                storage.name = storage.name or target.id
            if not tensor.known and isinstance(tensor.made_by, ast.BinOp) and m.scope.info is not None:
                tensor.known = target.id in m.shown(m.scope.info)
        frame = _frame_for(m, state, target.id)
        if isinstance(value, Tensor) and value.view is ViewKind.VIEW:
            m.notes.view_names.setdefault(frame, {})[target.id] = None
        state.variables[frame, target.id] = value
    elif isinstance(target, (ast.Tuple, ast.List)):
        _unpack(m, state, target, value)
    elif isinstance(target, ast.Starred):
        bind(m, state, target.value, value)
    elif isinstance(target, ast.Attribute):
        owner = m.evaluate(state, target.value)
        set_attribute(m, state, owner, target.attr, value, target)
    elif isinstance(target, ast.Subscript):
        m.store(state, target, value)


def set_attribute(m: Machine, state: State, owner: Value, name: str, value: Value, at: ast.AST) -> None:
    """`owner.name = value`."""
    for option in options(owner):
        if isinstance(option, Tensor) and name == "requires_grad":
            ask_grad(state, option, value, at)
        elif isinstance(option, Instance) and (setter := option.info and option.info.method(f"{name}.setter")):
            m.call_function(state, m.defined.bound(setter, option), [value], {}, at)
        elif isinstance(option, (Instance, Tensor)):
            if isinstance(option, Instance):
                classes.add_layer(state, option, name, value)
            held = state.attributes_of(option)
            if isinstance(option, Tensor) and name == "grad" and value == NONE:
                held.pop(name, None)  # the next backward, wherever that is, leaves another one there
            else:
                held[name] = value
        elif option.__class__ in KEEPING:
            if isinstance(option, Layer) and isinstance(value, Tensor):
                objects.set_parameter(state, option, name, value)
            keep(state, option, [value])
        elif isinstance(option, (Symbol, Unknown)):
            escape(state, value)
        elif isinstance(option, Class) and (holder := m.defined.statics.get(option.info)) is not None:
            state.attributes_of(holder)[name] = value
            m.defined.altered.update(filter(None, [option.info.method(name)]))


def _frame_for(m: Machine, state: State, name: str) -> int:
    """The frame that `name = …` binds in: the innermost, or the one that `nonlocal` or `global` means."""
    info, frames = m.scope.info, m.scope.frames
    if info is None or name in info.local_names or isinstance(info.node, ast.Lambda):
        return frames[0]
    if name in info.global_names:
        return frames[-1]
    return next((frame for frame in frames[1:] if (frame, name) in state.variables), frames[0])


def _unpack(m: Machine, state: State, target: ast.Tuple | ast.List, value: Value) -> None:
    items = iterated(m, state, value, target)
    if isinstance(value, Tensor) and isinstance(m.statement, ast.Assign) and m.statement.targets == [target]:
        m.notes.unpacked[id(target)] = m.statement.value
    starred = any(isinstance(part, ast.Starred) for part in target.elts)
    if items.exact and starred and len(items.values) >= len(target.elts) - 1:
        _unpack_starred(m, state, target.elts, items.values)
        return
    if items.exact and len(items.values) == len(target.elts) and not starred:
        for part, item in zip(target.elts, items.values, strict=True):
            bind(m, state, part, item)
        return
    for position, part in enumerate(target.elts):
        if isinstance(part, ast.Starred):
            bind(m, state, part, state.container("list", Items(items.values, False)))
            continue
        element = items.element()
        if isinstance(element, Tensor) and len(target.elts) > 1 and element.view is not ViewKind.NONE:
            own = (id(element.made_by), position) if element.view is ViewKind.MULTI and not starred else None
            element = replace(element, part=own)
        elif isinstance(value, Tensor) and not value.known:
            element = part_of(state, value, m.spelling(part))
        bind(m, state, part, UNKNOWN if element is None else element)


def _unpack_starred(m: Machine, state: State, targets: list[ast.expr], values: tuple[Value, ...]) -> None:
    place = next(i for i, part in enumerate(targets) if isinstance(part, ast.Starred))
    behind = len(targets) - place - 1
    rest = state.container("list", Items(values[place : len(values) - behind], True))
    given = [*values[:place], rest, *values[len(values) - behind :]]
    for part, value in zip(targets, given, strict=True):
        bind(m, state, part, value)
