"""Where a loss is met: which cuts stand between it and the leaves, and what they do to it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from gradfix.analysis.cut_kinds import CutEffect, CutKind
from gradfix.analysis.domain.definitions import FunctionInfo
from gradfix.analysis.domain.graph import Node, NodeKind, reachable
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import tracked
from gradfix.analysis.domain.records import CutRecord, LossNote
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Array, Flows, Number, Storage, Tensor
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards import cuts, disconnected
from gradfix.analysis.text.survey import names_a_loss

_EFFECTS = tuple(CutEffect)
_ENDS = (NodeKind.LEAF, NodeKind.ASSUMED)
_UNDER_A_LEAF = (CutKind.DISCRETE, CutKind.GRADIENTS_OFF)  # where the loss itself was made a leaf, to quiet an error


def careless(record: CutRecord) -> bool:
    """Whether it was made for another reason than to stop gradients; whoever writes the others may mean it."""
    if record.through_numpy:
        return record.kind in cuts.CARELESS or record.kind is CutKind.DETACH
    difference = isinstance(record.argument, ast.BinOp) and isinstance(record.argument.op, ast.Sub)
    if record.kind is CutKind.DATA and difference:
        return False  # `x + (x.round() - x).data`: the values of the one, the gradient of the other
    return record.kind in cuts.CARELESS


def differentiated(m: Machine, state: State, root: Tensor, expression: ast.expr, call: ast.AST) -> None:
    """`root` is differentiated, by `call`."""
    flows = cuts.flows_of(state, root)
    node = state.node_of(root)
    if node is not None or not root.known or flows:
        m.notes.connected.add(id(call))
    elif isinstance(call, ast.Call):
        if not (m.calls and m.calls[0].owner is not None):
            _note(m, CutEffect.NO_GRAPH, [_leafless(m, call)], expression, call)
        return  # a method whose callers aren't here may find other attributes than its constructor left
    if node is None:
        blamed = _blamed(m, flows) if cuts.UNSURE.isdisjoint(flows) else []
        _note(m, CutEffect.NO_GRAPH, blamed, expression, call, sure=root.known)
        _note(m, CutEffect.PARTIAL, _others(m, flows, blamed), expression, call)
        return
    passed = list(reachable(node)) if flows or m.notes.zero_gradients else []
    ends = [n for n in passed if n.kind in _ENDS]
    made = _leaves_of_cuts(state) if flows else {}
    if made and ends and all(id(n) in made for n in ends):
        leaves = [made[id(n)] for n in ends]
        straight = _note_new_leaves(m, CutEffect.NEW_LEAF, node, flows, leaves, expression, call)
        others = _others(m, flows, straight)
        _note(m, CutEffect.PARTIAL, others, expression, call)
        for record in others:
            record.leaves.update(leaves)
        _note_starved(m, state, [*straight, *others], _records(m, flows), node)
        return
    if m.notes.zero_gradients and ends and not any(n.kind in _ENDS for n in _smoothly_reached(m, node)):
        flat = [m.notes.zero_gradients[id(n)] for n in passed if id(n) in m.notes.zero_gradients]
        _note(m, CutEffect.ZERO, flat, expression, call)
    straight = [r for r in _straight(m, flows) if careless(r) and not _is_freed(state, r)]
    _note(m, CutEffect.CONSTANT, straight, expression, call)
    others = _others(m, flows, straight)
    _note(m, CutEffect.PARTIAL, others, expression, call)
    if all(n.kind is NodeKind.LEAF for n in ends):
        flat = [m.notes.zero_gradients[id(n)] for n in passed if id(n) in m.notes.zero_gradients]
        beside = [*flat, *(r for r in _records(m, flows) if r.kind is CutKind.DISCRETE)]
        _note(m, CutEffect.PARTIAL, beside, expression, call)
        _note_starved(m, state, [*others, *beside], _records(m, flows), node)


def _note_new_leaves(
    m: Machine,
    effect: CutEffect,
    node: Node,
    flows: Flows,
    leaves: Sequence[Storage],
    expression: ast.expr | None,
    at: ast.AST,
) -> list[CutRecord]:
    """A loss ends in leaves that cuts have made, which are all it is computed from: those cuts."""
    behind = _straight(m, flows)
    straight = [r for r in behind if r.kind in cuts.CARELESS or r.kind is CutKind.DETACH]
    itself = node if node.kind is NodeKind.LEAF else None
    if itself is not None and not straight:
        straight = [r for r in behind if r.kind in _UNDER_A_LEAF]
    unused = itself is not None or all(leaf.name is None for leaf in leaves)
    _note(m, effect, straight, expression, at, sure=unused or all(r.parts for r in straight), itself=itself)
    for record in straight:
        record.leaves.update(leaves)
    return straight


def _note_starved(m: Machine, state: State, records: Sequence[CutRecord], met: Iterable[CutRecord], root: Node) -> None:
    """Remember the leaves behind these cuts that the loss reaches on no other way, and nobody meant to cut off."""
    if not records:
        return
    fed = fed_leaves(m, root)
    spared = {id(n) for record in met if _is_meant(record) for n in _leaves(record)} | fed
    owners = {id(node): storage for storage, node in state.nodes.items() if node is not None}
    for record in records:
        if not _is_meant(record):
            behind = (id(n) for n in _leaves(record))
            record.starved.update((key, owners[key]) for key in behind if key in owners and key not in spared)
        else:
            record.kept_off.update(id(n) for n in _leaves(record) if id(n) not in fed)


def _is_freed(state: State, record: CutRecord) -> bool:
    """Whether a backward has freed what was cut off, as of a state that goes on: not cut off, the next would fail."""
    return any(node in state.spent for root in record.roots for node in reachable(root))


def _is_meant(record: CutRecord) -> bool:
    """Whether somebody asked for the gradient to end there."""
    return not careless(record) and record.kind not in cuts.WITHOUT_GRADIENT


def _leaves(record: CutRecord) -> list[Node]:
    return [n for root in record.roots for n in reachable(root) if n.kind is NodeKind.LEAF]


def fed_leaves(m: Machine, root: Node | None) -> set[int]:
    """Ids of the leaves that backward from `root` gives a gradient which isn't zero for certain."""
    return {id(n) for n in _smoothly_reached(m, root) if n.kind is NodeKind.LEAF}


def _leafless(m: Machine, call: ast.Call) -> CutRecord:
    """The record of a loss that nothing with a graph goes into."""
    record = m.notes.cuts.get(id(call))
    if record is None:
        record = CutRecord(CutKind.NO_LEAF, "backward", call, m.statement, m.scope.qualname, None, None, (), Tracked.NO)
        m.notes.cuts[id(call)] = record
    return record


def number_differentiated(m: Machine, root: Number | Array, call: ast.Call) -> None:
    """`total.backward()` where `total` is a Python number or an array."""
    expression = call.func.value if isinstance(call.func, ast.Attribute) else call.func
    _note(m, CutEffect.NUMBER, _blamed(m, root.flows), expression, call)


def returned(m: Machine, state: State, tensors: Sequence[Tensor], info: FunctionInfo, *, forward: bool) -> None:
    """A function returns: of a module's forward, or of what calls itself a loss, a graph is expected."""
    own, owner = getattr(info.node, "name", ""), info.owner
    is_loss = names_a_loss(own) or (owner is not None and names_a_loss(owner.node.name))
    if own == "training_step" and owner is not None and owner.optimizes_by_itself:
        is_loss = False  # what it returns is for the log
    if is_loss and len(tensors) == 1 and (node := state.node_of(tensors[0])) is not None:
        disconnected.returned(m, node)
    if not m.notes.cuts or not tensors or not all(t.known for t in tensors):
        return
    if len(tensors) == 1 and is_loss and (node := state.node_of(tensors[0])) is not None:
        _returned_leaf(m, state, tensors[0], node, info)
    if any(tracked(state, t) is not Tracked.NO for t in tensors):
        return
    flows: Flows = frozenset().union(*(cuts.flows_of(state, t) for t in tensors))
    if not cuts.UNSURE.isdisjoint(flows):
        return
    blamed = [r for r in _blamed(m, flows) if careless(r)]
    sure = [r for r in blamed if is_loss or (forward and r.level is Tracked.YES)]
    _note(m, CutEffect.RETURNED, sure, None, info.node)


def _returned_leaf(m: Machine, state: State, loss: Tensor, node: Node, info: FunctionInfo) -> None:
    """A loss is returned that ends in leaves which cuts have made: `torch.tensor(losses, requires_grad=True).sum()`."""
    flows = cuts.flows_of(state, loss)
    made = _leaves_of_cuts(state) if flows else {}
    ends = [n for n in reachable(node) if n.kind in _ENDS] if made else []
    if ends and all(id(n) in made for n in ends):
        _note_new_leaves(m, CutEffect.RETURNED_LEAF, node, flows, [made[id(n)] for n in ends], None, info.node)


def _smoothly_reached(m: Machine, root: Node | None) -> Iterator[Node]:
    """The nodes that backward reaches by a way around operations whose gradient is zero."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen or id(node) in m.notes.zero_gradients:
            continue
        seen.add(id(node))
        yield node
        stack.extend(node.inputs)


def _records(m: Machine, flows: Flows) -> list[CutRecord]:
    return [m.notes.cuts[key] for key in dict.fromkeys(key for key, _ in sorted(flows)) if key > 0]


def _leaves_of_cuts(state: State) -> dict[int, Storage]:
    """Leaves that hold what a cut handed on, by id of the node: `torch.tensor(loss, requires_grad=True)`."""
    held = ((state.nodes.get(storage), storage) for storage, flows in state.cuts.items() if flows != cuts.UNSURE)
    return {id(node): storage for node, storage in held if node is not None and node.kind is NodeKind.LEAF}


def _others(m: Machine, flows: Flows, but: list[CutRecord]) -> list[CutRecord]:
    """The other cuts that a rewrite could undo."""
    found = [r for r in _records(m, flows) if r.kind in cuts.CARELESS or r.kind is CutKind.DETACH]
    return [record for record in found if all(record is not other for other in but)]


def _straight(m: Machine, flows: Flows) -> list[CutRecord]:
    """Cuts of what is only added to the loss."""
    return [record for record in _records(m, flows) if (record.key, False) not in flows]


def _blamed(m: Machine, flows: Flows) -> list[CutRecord]:
    """The cuts to undo for the loss to have a graph; of several kinds, those that were hardly meant.

    A `detach` behind a later cut isn't one: undone, it would give a graph to what that one cuts anyway.
    """
    records = list(_records(m, flows))
    hidden = set[int]().union(*(record.behind for record in records))
    records = [record for record in records if careless(record) or record.key not in hidden] or records
    for rank in range(4):
        found = [record for record in records if _rank(record) == rank]
        straight = [record for record in found if (record.key, False) not in flows]
        if found:
            return straight or found
    return []


def _rank(record: CutRecord) -> int:
    if careless(record):
        return 0
    return {CutKind.DETACH: 1, CutKind.GRADIENTS_OFF: 2, CutKind.DISCRETE: 3}.get(record.kind, 4)


def _note(
    m: Machine,
    effect: CutEffect,
    records: Iterable[CutRecord],
    root: ast.expr | None,
    at: ast.AST,
    *,
    sure: bool = True,
    itself: Node | None = None,
) -> None:
    found = list(dict.fromkeys(map(id, records)))
    by_id = {id(record): record for record in records}
    for key in found:
        record = by_id[key]
        before = record.losses.get(id(at))
        if before is None or _EFFECTS.index(effect) < _EFFECTS.index(before.effect):
            record.losses[id(at)] = LossNote(effect, at, root, m.scope.qualname, len(found) == 1, sure, itself)
