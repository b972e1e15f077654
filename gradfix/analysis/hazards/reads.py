"""Reads of memory that was written: whoever still holds the old object would miss what a rewrite makes new."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache

from gradfix.analysis.domain.graph import in_order
from gradfix.analysis.domain.holders import held_in, perhaps_held_in, weight
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import WriteRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import HOLDING, Container, Instance, Layer, Method, Tensor, Value, tensors
from gradfix.analysis.facts import Obstacle, ObstacleKind
from gradfix.analysis.hazards import handed
from gradfix.analysis.text.nodes import every_node
from gradfix.findings import Place


def read(
    m: Machine,
    state: State,
    value: Value,
    node: ast.AST,
    name: str,
    depth: int = 3,
    *,
    certain: bool = True,
    whole: ObstacleKind = ObstacleKind.ALIAS_READ,
) -> None:
    """Note that `value` is read as `name`: writes whose rewrite would leave it with old values learn of it.

    What an unknown call gave may be what it was given, which isn't `certain`; `whole` is what a tensor that is no view
    is to the target.
    """
    if value.__class__ not in HOLDING or state.quiet or not state.log:
        return
    place: Place | None = None
    for tensor in tensors(value):
        missed = state.missed(tensor)
        for visit in in_order(missed) if missed else ():
            record = m.notes.writes.get(visit.key)
            if record is not None and id(node) not in _parts(record.target) and not _apart(tensor, record):
                kind = ObstacleKind.BASE_READ if tensor.is_view or _is_view(record) else whole
                if handed.is_argument(m, visit, record, node):
                    kind = ObstacleKind.ARGUMENT_READ
                holder = name if m.scope.qualname == record.function else f"the caller's {name}"
                place = place or m.place(node, f"`{name}` is read here")
                replay = (state.given.get(tensor) or {}).get(visit.key)
                record.add_obstacle(Obstacle(kind, holder, place, certain, replay))
    if isinstance(value, Layer):
        for storage in value.weights:
            read(m, state, weight(storage), node, name, 0, certain=certain, whole=ObstacleKind.BASE_READ)
    if depth:
        for suffix, item in held_in(state, value):
            if item.__class__ in HOLDING and not (isinstance(item, Tensor) and misses_nothing(state, item)):
                read(m, state, item, node, name + suffix, depth - 1, certain=certain)
        for item in perhaps_held_in(state, value):
            deeper = 0 if isinstance(item, Tensor) else depth - 1  # what a tensor may be is among these
            read(m, state, item, node, name, deeper, certain=False)


def misses_nothing(state: State, tensor: Tensor) -> bool:
    """Whether a read of a tensor is surely nothing to note: true of most, and fast to tell."""
    return not state.may_miss(tensor) and not perhaps_held_in(state, tensor)


def read_given(m: Machine, state: State, callee: Value, args: Sequence[Value], node: ast.Call, before: int) -> None:
    """What a call was given is read when all of it is evaluated: one argument may have written to another.

    `before`: how much had been written before the first of them.
    """
    for value, part in zip(args, node.args, strict=False):
        late = m.written != before and isinstance(value, Tensor) and state.may_miss(value)
        if late or isinstance(value, (Container, Instance)):
            read(m, state, value, part, m.spelling(part))
    owner = callee.receiver if m.written != before and isinstance(callee, Method) else None
    if isinstance(owner, Tensor) and isinstance(node.func, ast.Attribute):
        read(m, state, owner, node.func.value, m.spelling(node.func.value))


def read_late(m: Machine, state: State, value: Value, target: ast.Subscript) -> None:
    """In `y[0], y[1] = b, a` the view `a` is read when `target` gets its values, behind the first write.

    What the statement takes from the written place itself is taken from the new tensor, too.
    """
    if not state.log or not isinstance(m.statement, ast.Assign):
        return
    taken = m.statement.value
    for tensor in tensors(value):
        for visit in in_order(state.missed(tensor)):
            record = m.notes.writes.get(visit.key)
            if record is None or record.statement is not m.statement or _names(taken, record.target):
                continue
            holder = m.spelling(taken)
            record.add_obstacle(Obstacle(ObstacleKind.BASE_READ, holder, m.place(target, f"`{holder}` is read here")))


def _names(expression: ast.AST, place: ast.expr) -> bool:
    text = ast.unparse(place)
    return any(isinstance(node, type(place)) and ast.unparse(node) == text for node in ast.walk(expression))


def _apart(tensor: Tensor, record: WriteRecord) -> bool:
    """True for another part of what was split: the write doesn't touch it."""
    return tensor.part is not None and record.part is not None and tensor.part != record.part


def _is_view(record: WriteRecord) -> bool:
    return isinstance(record.target, (ast.Subscript, ast.Call))


@lru_cache(maxsize=512)
def _parts(target: ast.expr) -> frozenset[int]:
    """Ids of what the target of a write is spelt with: reads there belong to the write itself."""
    return frozenset(map(id, every_node(target)))
