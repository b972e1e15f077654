"""Tests of branches: what they are made of, what holds behind them, and which buffers only a branch connects."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from gradfix.analysis.domain import python_values
from gradfix.analysis.domain.graph import Node, NodeKind, reachable
from gradfix.analysis.domain.layers import Layers
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import clear_graph, facts_of, tracked
from gradfix.analysis.domain.records import FillRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import (
    NONE,
    Choice,
    Const,
    Origin,
    Storage,
    Tensor,
    tensor_of,
    tensors,
)
from gradfix.analysis.facts import ConditionKind, Tracked, ValueFacts
from gradfix.analysis.interpreter import asked_types, bindings, predicates
from gradfix.analysis.interpreter.data_tests import kind_of
from gradfix.analysis.interpreter.expressions import evaluate, look_up
from gradfix.analysis.text.nodes import every_node
from gradfix.analysis.text.targets import base_of

_GRADIENTS_ON = ("torch.is_grad_enabled", "is_grad_enabled")
_ORDER = (ConditionKind.PYTHON, ConditionKind.ITEM, ConditionKind.TENSOR)


def test(m: Machine, state: State, node: ast.expr) -> tuple[bool | None, ConditionKind]:
    """The truth of a test where it is certain, and what it is made of."""
    if isinstance(node, ast.BoolOp):
        kinds: list[ConditionKind] = []
        stop = isinstance(node.op, ast.Or)
        result: bool | None = not stop
        for part in node.values:
            truth, kind = test(m, state, part)
            kinds.append(kind)
            if truth is stop:
                return stop, max(kinds, key=_ORDER.index)
            if truth is None:
                result = None
        return result, max(kinds, key=_ORDER.index)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        truth, kind = test(m, state, node.operand)
        return (None if truth is None else not truth), kind
    value = evaluate(m, state, node)
    m.notes.add_size(node, value.shape if isinstance(value, Tensor) else None)
    return python_values.truth(value), kind_of(value)


def narrow(m: Machine, state: State, node: ast.expr, *, positive: bool) -> None:
    """Use `x is None`, `not x.requires_grad` and `isinstance(x, list)` behind the test, also where a function asks."""
    if isinstance(node, ast.Call) and asked_types.narrow(m, state, node, positive=positive):
        return
    if isinstance(node, ast.Call) and (asked := predicates.asked(m, state, node)) is not None:
        if not isinstance(asked, ast.Call):
            narrow(m, state, asked, positive=positive)
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        narrow(m, state, node.operand, positive=not positive)
        return
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And) == positive:
        for part in node.values:
            narrow(m, state, part, positive=positive)
        return
    if not positive:
        _without_grad(m, state, node)
    if not (isinstance(node, ast.Compare) and isinstance(node.left, (ast.Name, ast.Attribute)) and len(node.ops) == 1):
        return
    right = node.comparators[0]
    if not (isinstance(right, ast.Constant) and right.value is None and isinstance(node.ops[0], (ast.Is, ast.IsNot))):
        return
    _narrow_none(m, state, node.left, is_none=isinstance(node.ops[0], ast.Is) == positive)


def _narrow_none(m: Machine, state: State, name: ast.Name | ast.Attribute, *, is_none: bool) -> None:
    value = look_up(m, state, name.id) if isinstance(name, ast.Name) else m.look(state, name)
    if isinstance(value, Choice):
        left = tuple(o for o in value.options if (isinstance(o, Const) and o.value is None) == is_none)
        if left:
            bindings.bind(m, state, name, left[0] if len(left) == 1 else Choice(left))
    elif is_none and isinstance(value, Tensor) and not value.known:
        behind = state.node_of(value)
        if behind is not None and behind.kind is NodeKind.OP:  # what something unknown gave
            bindings.bind(m, state, name, NONE)


def _without_grad(m: Machine, state: State, node: ast.expr) -> None:
    """Behind a false `x.requires_grad`, or `torch.is_grad_enabled() and x.requires_grad`, nothing follows `x`."""
    parts = node.values if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And) else [node]
    enabled = [part for part in parts if isinstance(part, ast.Call) and ast.unparse(part.func) in _GRADIENTS_ON]
    others = [part for part in parts if part not in enabled]
    if len(others) != 1:
        return
    either = isinstance(others[0], ast.BoolOp) and isinstance(others[0].op, ast.Or)
    for part in others[0].values if either and isinstance(others[0], ast.BoolOp) else others:
        value = m.look(state, part.value) if isinstance(part, ast.Attribute) and part.attr == "requires_grad" else None
        for tensor in (value,) if isinstance(value, Tensor) and tracked(state, value) is not Tracked.NO else ():
            clear_graph(state, tensor)


def note_fills(
    m: Machine, joined: State, branch: ast.If | ast.While, kind: ConditionKind, before: Layers[Storage, Node | None]
) -> None:
    """Remember buffers that had no graph before the branch and have one only on some of its ways."""
    for storage, node in list(joined.nodes.own.items()):  # looking a value up may add to them
        if node is None or node.kind is not NodeKind.PHI or node.branch is not branch:
            continue
        if before.get(storage, node) is not None:
            continue
        open_ends = _open_ends(node, branch)
        if not open_ends or _asks_for_others(m, joined, branch.test, node):
            continue
        holder = _holder(m, joined, storage)
        keys = [
            key for key, record in m.notes.writes.items() if storage in record.storages and _within(branch, record.node)
        ]
        if holder is None or not keys or any(_without_graph(m.notes.writes[key].written) for key in keys):
            continue  # a branch that writes something constant leaves the buffer without a graph on purpose
        name, tensor = holder
        record = m.notes.fills.get((id(branch), keys[0]))
        if record is None:
            record = FillRecord(
                branch,
                m.scope.qualname,
                storage,
                storage.made_by,
                kind,
                keys,
                facts_of(joined, tensor),
                name,
                _sources(m, joined, branch),
            )
            m.notes.fills[(id(branch), keys[0])] = record
        _stand_for(m, record, open_ends)


def _asks_for_others(m: Machine, state: State, test: ast.expr, filled: Node) -> bool:
    """Whether a test asks only for attributes and results of unknown calls that have no part in what is filled in.

    Those are sizes and flags, as far as anything tells: `n, names = self.info(batch)`, `if n > 3`.
    """
    held = [tensor for node in asked(test) for tensor in tensors(m.look(state, node))]
    if not held or any(t.known or any(s.origin is not Origin.OUTSIDE for s in t.storages) for t in held):
        return False
    parts = {id(node) for node in reachable(filled)}
    return parts.isdisjoint(id(state.node_of(tensor)) for tensor in held)


def asked(test: ast.expr) -> Iterator[ast.expr]:
    """What the parts of a test compare, or ask for its truth."""
    if isinstance(test, ast.BoolOp):
        for part in test.values:
            yield from asked(part)
    elif isinstance(test, ast.UnaryOp):
        yield from asked(test.operand)
    elif isinstance(test, ast.Compare):
        yield from (test.left, *test.comparators)
    else:
        yield test


def note_rebound(
    m: Machine, joined: State, branch: ast.If, kind: ConditionKind, before: Layers[Storage, Node | None]
) -> None:
    """Remember names that held a tensor without a graph before the branch, and only some of its ways bind to others."""
    frame = m.scope.frames[0]
    bound = m.notes.branch_names.get(id(branch))
    if bound is None:
        bound = m.notes.branch_names[id(branch)] = _bound_in(branch)
    for name, at in bound.items():
        tensor = joined.variables.get((frame, name))
        if not isinstance(tensor, Tensor) or not tensor.known or len(tensor.storages) < 2:
            continue
        node = joined.node_of(tensor)
        if node is None or node.kind is not NodeKind.PHI or node.branch is not branch:
            continue
        bare = [storage for storage in tensor.storages if joined.nodes.get(storage) is None]
        if len(bare) != 1 or bare[0] not in before or bare[0].made_by is None:
            continue  # a way that binds it to a constant leaves it without a graph on purpose
        record = FillRecord(
            branch,
            m.scope.qualname,
            bare[0],
            bare[0].made_by,
            kind,
            [],
            facts_of(joined, tensor),
            ast.copy_location(ast.Name(name, ast.Load()), at),
            _sources(m, joined, branch),
            rebound=True,
        )
        _stand_for(m, m.notes.fills.setdefault((id(branch), id(at)), record), _open_ends(node, branch))


def _bound_in(branch: ast.If) -> dict[str, ast.Name]:
    """The names that a branch binds; not those it tests: `if cost < best: best = cost` ends where any cost would."""
    tested = {node.id for node in every_node(branch.test) if isinstance(node, ast.Name)}
    names = (node for node in every_node(branch) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return {node.id: node for node in names if node.id not in tested}


def _stand_for(m: Machine, record: FillRecord, open_ends: Sequence[Node]) -> None:
    for inner in open_ends:
        replaced = m.notes.phis.get(id(inner))
        if replaced is not None and replaced is not record:
            m.notes.fills = {key: fill for key, fill in m.notes.fills.items() if fill is not replaced}
        m.notes.phis[id(inner)] = record
        m.notes.owners.append(inner)


def _open_ends(node: Node, branch: ast.If | ast.While) -> list[Node]:
    """The PHI of this branch and of branches inside it that may leave the tensor without a graph."""
    found = [node] if None in node.inputs else []
    for inner in node.inputs:
        if (
            inner is not None
            and inner.kind is NodeKind.PHI
            and inner.branch is not None
            and _within(branch, inner.branch)
        ):
            found.extend(_open_ends(inner, branch))
    return found


def _without_graph(written: ValueFacts) -> bool:
    return written.tensor is not None and written.tensor.tracked is Tracked.NO


def _within(branch: ast.If | ast.While, node: ast.AST) -> bool:
    first, last = branch.lineno, branch.end_lineno or branch.lineno
    return first <= getattr(node, "lineno", 0) <= last


def _holder(m: Machine, state: State, storage: Storage) -> tuple[ast.expr, Tensor] | None:
    for record in list(m.notes.writes.values()):
        if storage in record.storages and record.function == m.scope.qualname:
            target = base_of(record.target)
            if not isinstance(target, (ast.Name, ast.Attribute)):
                continue
            tensor = tensor_of(m.look(state, target))
            if tensor is not None and tensor.storages == (storage,) and not tensor.is_view:
                return target, tensor
    return None


def _written_root(node: ast.AST) -> ast.Name | None:
    """`y` of `y[0]`, where that is assigned."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Store):
        return None
    root: ast.expr = node
    while isinstance(root, ast.Subscript):
        root = root.value
    return root if isinstance(root, ast.Name) else None


def _sources(m: Machine, state: State, branch: ast.If | ast.While) -> tuple[str, ...]:
    names: list[str] = []
    nodes = every_node(branch)
    written = {id(root) for node in nodes if (root := _written_root(node)) is not None}
    for node in nodes:
        if id(node) in written:
            continue  # another buffer, which is filled of the same
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in names:
            value = state.variables.get((m.scope.frames[0], node.id))
            if isinstance(value, Tensor) and value.known and tracked(state, value) is not Tracked.NO:
                names.append(node.id)
    return tuple(names)
