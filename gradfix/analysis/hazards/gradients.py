"""Gradients that never arrive: `.grad` of what was computed, and backward through a graph that is gone.

Measured (2.13): backward frees what the nodes it passes have saved, unless it is told to retain the graph or to make a
graph of itself; a later backward raises at the first of these nodes. Nodes that saved nothing may be passed again.
`.grad` of a tensor that isn't a leaf stays None but after `retain_grad`; an optimizer refuses such a tensor.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from gradfix.analysis.domain.graph import Node, NodeKind, Passed, reachable
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import AgainRecord, GradRecord
from gradfix.analysis.domain.reverse import Reverse
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Tensor
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards import cuts
from gradfix.findings import HazardKind
from gradfix.torch_ops import inplace, method

# Save what isn't a tensor of the program: a number, a mask, places.
_OF_LEAVES = (HazardKind.LEAF_WRITTEN, HazardKind.LEAF_VIEW_WRITTEN)
_OTHERS = frozenset("* / mul div where masked_fill dropout topk sort".split())


def way(root: Node | None, ends: Sequence[Node] | None) -> dict[int, Node]:
    """By id, what backward passes from `root`, which goes back to these `ends` alone; if empty, nobody knows to which.

    None: to every leaf. Of an end that was computed `grad` wants only the gradient and stops before its node; what
    `backward` passes there, that node and no more, is left out.
    """
    graph = Passed(root)
    if ends is None:
        return graph.nodes
    if not ends:
        return graph.trunk()
    above = ((end, graph.between([end]).nodes.values()) for end in ends)
    return {id(n): n for end, nodes in above for n in nodes if n is not end}


def note_backward(m: Machine, state: State, root: Tensor, call: ast.Call, how: Reverse) -> None:
    """Backward from `root` uses up the graph unless retained; a part that was used up before is noted."""
    if not root.known:
        return
    for node in [node for node in _surely_passed(state.node_of(root), how.ends) if keeps(m, node)]:
        spent = state.spent.get(node)
        if spent is not None and spent[1] and (spent[0] is not call or node.tracked is Tracked.YES):
            certain = surely_keeps(node) and node.tracked is Tracked.YES and not m.uncertain_loop
            record = m.notes.second_backwards.get(id(call))
            if record is None or (certain and not record.certain):
                m.notes.second_backwards[id(call)] = AgainRecord(
                    call, m.statement, m.scope.qualname, spent[0], certain, looped=m.later_round > 0
                )
        if not how.retained:
            state.spent[node] = (call, True)


def note_source(m: Machine, state: State, root: Tensor, call: ast.Call) -> None:
    """Whether what the first of two backwards gave, without a graph, is part of what the second goes back from."""
    record = m.notes.second_backwards.get(id(call))
    if record is not None and any(key == id(record.first) for key, _ in cuts.flows_of(state, root)):
        record.of_gradients = True


def _surely_passed(root: Node | None, ends: Sequence[Node] | None) -> list[Node]:
    """What backward passes whichever way the branches go; with branches and `ends`, nobody knows."""
    if ends is None:
        return Passed(root).always()
    passed = list(way(root, ends).values())
    return [] if any(node.kind is NodeKind.PHI for node in passed) else passed


def keeps(m: Machine, node: Node) -> bool:
    """Whether an operation of torch saved something, as far as it has a graph."""
    followed = id(node.at) not in m.notes.unfollowed
    return node.op in _OTHERS or (followed and (node.keeps is not Tracked.NO or keeps_copy(node.op)))


def surely_keeps(node: Node) -> bool:
    """Whether an operation with a graph surely saved something."""
    return node.keeps is Tracked.YES or node.op in _OTHERS or keeps_copy(node.op)


def keeps_copy(op: str) -> bool:
    """Whether an operation in place keeps a copy of what it wrote to: where out of place it keeps that itself.

    So on torch 2.13, for 55 methods and their twins: backward through either goes twice, or through neither.
    """
    if not op.endswith("_") or (found := inplace(op)) is None or found.twin is None:
        return False
    twin = method(found.twin)
    first = twin.saves[0] if twin is not None and twin.saves else None
    return found.twin in _OTHERS or (first is not None and first.condition.holds({first.parameter}) is True)


def note_grad(m: Machine, state: State, base: Tensor, node: ast.expr, target: ast.expr, *, by_optimizer: bool) -> None:
    """`.grad` of `base` is read, or an optimizer gets it."""
    graph = state.node_of(base)
    if graph is None or graph.kind is not NodeKind.OP or not base.known or base.detached or state.quiet:
        return
    if _is_written_leaf(m, state, base):
        return
    if graph.tracked is not Tracked.YES or not m.notes.retained.isdisjoint(base.storages) or len(base.storages) > 1:
        return
    ends = [n for n in reachable(graph) if n.kind in (NodeKind.LEAF, NodeKind.ASSUMED)]
    leaf = ends[0].at if len(ends) == 1 and ends[0].kind is NodeKind.LEAF else None
    made = base.storage.made_by
    m.notes.alarms += 1
    m.notes.non_leaf_grads.setdefault(
        id(node), GradRecord(node, m.statement, m.scope.qualname, target, made, leaf, by_optimizer, not base.is_view)
    )


def _is_written_leaf(m: Machine, state: State, base: Tensor) -> bool:
    """True for a leaf that only a write, which autograd forbids, would have made something computed."""
    stamp = state.log.get(base.storage)
    while stamp is not None:
        record = m.notes.writes.get(stamp.visit.key)
        if record is not None and any(note.kind in _OF_LEAVES for note in record.hazards):
            return True
        stamp = stamp.before
    return False


def retain(m: Machine, tensors: Iterable[Tensor]) -> None:
    """These keep their gradient, though they were computed."""
    for tensor in tensors:
        m.notes.retained.update(tensor.storages)
        for storage in tensor.storages:
            m.notes.non_leaf_grads = {
                key: r for key, r in m.notes.non_leaf_grads.items() if r.made is not storage.made_by
            }
