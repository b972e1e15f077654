"""The ways out of a function become one."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from gradfix.analysis.domain.flow import Exit, Flow
from gradfix.analysis.domain.joins import join
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import Items, State, merge
from gradfix.analysis.domain.values import NONE, Container, Tensor, Value
from gradfix.analysis.interpreter.bare_ways import Way, told_apart
from gradfix.analysis.text.nodes import every_node


def decided_by(branch: ast.If, exits: Sequence[Exit]) -> list[Exit]:
    """The ways out inside of `branch`, which tensor data decide: they know it now."""
    return [way if way.branch is not None else way._replace(branch=branch) for way in exits]


def joined(m: Machine, flow: Flow) -> tuple[State, Value]:
    """What holds when the function has ended in any of its ways, of which there must be one, and what it returns."""
    states, values = [way.state for way in flow.returns], [way.value for way in flow.returns]
    if flow.after is not None:
        states.append(flow.after)
        values.append(NONE)
    end, result = states[0], values[0]
    for state, value in zip(states[1:], values[1:], strict=True):
        end = join(end, state, m.statement)
        result = merge(result, value, m.statement)
    if flow.after is None and len(values) > 1 and any(way.branch is not None for way in flow.returns):
        result = _told_apart(m, end, result, flow.returns)
    return end, result


def _told_apart(m: Machine, end: State, result: Value, exits: Sequence[Exit]) -> Value:
    """The result, or an equal one of whose items the same is told."""
    names = list(_names(m))
    if isinstance(result, Tensor):
        ways = [Way(e.state, e.value, e.at.value, e.at, e.branch, e.records) for e in exits if e.at.value is not None]
        told_apart(m, end, result, ways, names)
        return result
    rows = [_items(way) for way in exits]
    first = rows[0]
    if first is None or any(row is None or row[0] != first[0] for row in rows):
        return result
    made: list[Value] = []
    for column in zip(*(row[1] for row in rows if row is not None), strict=True):
        value = column[0].value
        for way in column[1:]:
            value = merge(value, way.value, m.statement)
        told_apart(m, end, value, column, names)
        made.append(value)
    kind, keys, _ = first[0]
    return end.container(kind, Items(tuple(made), True, keys))


_Form = tuple[str, tuple[object, ...] | None, int]  # kind, keys and size of a container


def _items(way: Exit) -> tuple[_Form, list[Way]] | None:
    """The items of a tuple or dictionary that is spelled out where it is returned."""
    display, held = way.at.value, way.value
    items = way.state.items.get(held) if isinstance(held, Container) else None
    spelled = display.elts if isinstance(display, ast.Tuple) else []
    spelled = display.values if isinstance(display, ast.Dict) else spelled
    if not isinstance(held, Container) or items is None or not items.exact or len(spelled) != len(items.values):
        return None
    ways = [
        Way(way.state, v, node, way.at, way.branch, way.records) for v, node in zip(items.values, spelled, strict=True)
    ]
    return (held.kind, items.keys, len(spelled)), ways


def _names(m: Machine) -> Iterator[ast.Name]:
    """Those that the function reads, its parameters first."""
    info = m.scope.info
    if info is None:
        return
    read = [n for n in every_node(info.node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    yield from sorted(read, key=lambda name: name.id not in info.parameters)
