"""Constructors that wait: an object is made once somebody asks for what it holds, and of most nobody ever does.

The first object of a class is made at once. Where that did nothing but fill the object, making another one can't be
of consequence either: it waits, unless a switch (a bool, a string or None) is set as it wasn't before.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from gradfix.analysis.domain.definitions import FunctionInfo
from gradfix.analysis.domain.holders import held_in
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State, Unmade
from gradfix.analysis.domain.values import (
    Choice,
    Class,
    Const,
    Function,
    Instance,
    Number,
    Partial,
    Tensor,
    Value,
)


def construct(
    m: Machine,
    state: State,
    made: Instance,
    init: FunctionInfo,
    args: Sequence[Value],
    keywords: dict[str, Value],
    at: ast.AST,
) -> None:
    """Run the constructor of `made`, now or when its attributes are asked for."""
    place = m.position()

    def make(begun: State) -> None:
        with m.back_at(place):
            begun.attributes[made] = {}
            m.call_function(begun, m.defined.bound(init, made), args, keywords, at)

    key = (made.info, _switches(state, args, keywords))
    covered = m.defined.plain.get(key)
    if covered is not None and not any(_holds_tensor(state, value) for value in (*args, *keywords.values())):
        m.defined.covered |= covered
        state.unmade[made] = Unmade(state.fork(), make)
    elif key in m.defined.plain:
        make(state)
    else:
        before, extent = state.fork(), m.notes.extent()
        around, m.defined.covered = m.defined.covered, set()
        make(state)
        is_plain = m.notes.extent() == extent and _only_added(m, before, state)
        m.defined.plain[key] = frozenset(m.defined.covered) if is_plain else None
        m.defined.covered |= around


def _switches(state: State, args: Sequence[Value], keywords: Mapping[str, Value]) -> tuple[object, ...]:
    """What a constructor may decide by; equal ones lead the same way through it."""
    return (state.grad, *map(_switch, args), *((name, _switch(value)) for name, value in keywords.items()))


def _switch(value: Value) -> object:
    if isinstance(value, Const) and isinstance(value.value, (bool, str, type(None))):
        return value.value
    if isinstance(value, (Function, Class)):
        return value.info
    if isinstance(value, Partial):
        return _switch(value.callee)
    if isinstance(value, Choice):
        return tuple(map(_switch, value.options))
    return Number if isinstance(value, Const) else type(value)


def _holds_tensor(state: State, value: Value, depth: int = 3) -> bool:
    """Whether it surely is a tensor, or holds one: what is made of that may be written, and missed, meanwhile."""
    if isinstance(value, Tensor) or not depth:
        return isinstance(value, Tensor) and value.known
    return any(_holds_tensor(state, inner, depth - 1) for _, inner in held_in(state, value))


def _only_added(m: Machine, before: State, after: State) -> bool:
    """Whether nothing that was there before is another now, and nobody is to learn of a write in between."""
    if (before.grad, before.autocast) != (after.grad, after.autocast):
        return False
    kept = before.variables.is_kept_by(after.variables) and before.nodes.is_kept_by(after.nodes)
    if not (kept and before.attributes.is_kept_by(after.attributes) and before.items.is_kept_by(after.items)):
        return False
    stamps = {storage: after.log.get(storage) for storage in before.log.changed(after.log)[0]}
    return all(
        storage not in before.nodes and (stamp is None or stamp.visit.key not in m.notes.writes)
        for storage, stamp in stamps.items()
    )
