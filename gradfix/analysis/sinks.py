"""Where gradients are asked for: every overwritten save and every missing graph behind that point is a hazard."""

from __future__ import annotations

import ast

from gradfix.analysis.facts import Tracked
from gradfix.analysis.graph import Node, NodeKind, must_reach, reachable, tracked_when
from gradfix.analysis.machine import Machine
from gradfix.analysis.operations import facts_of
from gradfix.analysis.records import BackwardRecord, HazardNote
from gradfix.analysis.state import State
from gradfix.analysis.values import Tensor
from gradfix.findings import HazardKind


def backward(
    m: Machine, state: State, root: Tensor, expression: ast.expr, call: ast.Call, *, has_gradient: bool
) -> None:
    """`root.backward()` or one of its other spellings."""
    m.saw_backward = True
    facts = facts_of(state, root)
    sizes = facts.shape
    many = sizes is not None and any(size is not None and size > 1 for size in sizes)
    record = m.backwards.get(id(call))
    if record is None:
        m.backwards[id(call)] = BackwardRecord(
            call, m.statement, m.scope.qualname, expression, facts, has_gradient, many and not has_gradient
        )
    else:
        record.non_scalar = record.non_scalar and many
    reach(m, state, root, certain=root.known, total=True)


def reach(m: Machine, state: State, root: Tensor, *, certain: bool, total: bool) -> None:
    """Gradients flow back from `root`. `certain`: they surely do; `total`: `root` is all that is differentiated."""
    node = state.node_of(root)
    passed = {id(n): n for n in reachable(node)}
    _overwritten(m, state, node, passed, certain=certain)
    _disconnected(m, node, passed, total=total)


def _overwritten(m: Machine, state: State, root: Node | None, passed: dict[int, Node], *, certain: bool) -> None:
    branching = any(node.kind is NodeKind.PHI for node in passed.values())
    for visit in m.visits:
        if id(visit.node) in passed and (met := m.writes.get(visit.key)) is not None:
            met.differentiated.add(visit.passage)
    for (save, key), (visit, sure) in state.conflicts.items():
        if id(save.node) not in passed:
            continue
        record = m.writes.get(key)
        if record is None:
            continue
        silent = visit.node is None and state.grad is not Tracked.NO and record.form.value == "data"
        kind = HazardKind.SILENT_WRITE if silent else HazardKind.SAVED_THEN_WRITTEN
        proven = certain and sure and save.node.tracked is Tracked.YES
        if proven and branching:
            proven = must_reach(root, save.node, visit.node)
        holders = m.holders(save.at, save.storage)
        record.add_hazard(HazardNote(kind, save.op, save.at, save.result, holders), visit.passage, proven)


def _disconnected(m: Machine, root: Node | None, passed: dict[int, Node], *, total: bool) -> None:
    open_ends = {key: n for key, n in passed.items() if n.kind is NodeKind.PHI and None in n.inputs and key in m.phis}
    if not open_ends:
        return
    branches = frozenset(id(branch) for key, node in open_ends.items() for branch in (node.branch, m.phis[key].branch))
    bare = tracked_when(root, branches, taken=False)
    if bare is tracked_when(root, branches, taken=True):
        return  # the loss is as connected without the branch
    for key in open_ends:
        fill = m.phis[key]
        fill.reached = True
        fill.only_connection = fill.only_connection and total and bare is Tracked.NO
