"""`torch.mul(a, b, out=y)`: a write that autograd doesn't differentiate.

Measured (2.13): with gradients on it raises as soon as an operand or `y` requires grad; else `y` gets the result, cast
to its dtype where that is of no lower category.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from gradfix.analysis.domain.graph import NodeKind, reachable
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors, strongest, tracked
from gradfix.analysis.domain.records import HazardNote
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Tensor, Value
from gradfix.analysis.facts import Obstacle, ObstacleKind, Tracked, WriteForm
from gradfix.analysis.hazards import raised
from gradfix.analysis.hazards.write_records import Site
from gradfix.analysis.hazards.writes import write
from gradfix.analysis.operators import operators, outputs
from gradfix.findings import HazardKind
from gradfix.torch_ops import Operator


def write_out(
    m: Machine,
    state: State,
    op: Operator,
    target: Tensor,
    args: Sequence[Value],
    keywords: Mapping[str, Value],
    node: ast.Call,
) -> Value:
    """Call an operator of torch that puts its result into `target`."""
    others = {name: value for name, value in keywords.items() if name != "out"}
    taken = (target, *all_tensors((*args, *others.values())))
    level = strongest([tracked(state, t) for t in taken])
    if level is Tracked.MAYBE and state.grad is Tracked.YES:
        _settle(state, taken)
    leaf = state.node_of(target)
    grad = state.grad
    if level is not Tracked.YES:
        state.grad = Tracked.NO  # what runs records nothing, so it keeps nothing for backward
    result = operators.apply(m, state, *operators.bind(state, op, args, others), node)
    state.grad = grad
    given = (keyword.value for keyword in node.keywords if keyword.arg == "out")
    expression = next(given, node)  # the call, where a `partial` was given the tensor before
    target.known = True
    site = Site(WriteForm.OUT, node, expression, method=outputs.short_name(op))
    fresh = write(m, state, site, target, result)
    record = m.notes.writes.get(id(expression))
    if record is not None and level is Tracked.YES and state.grad is not Tracked.NO:
        note = HazardNote(HazardKind.OUT_WRITTEN, outputs.short_name(op), None)
        raised.note(m, record, note, certain=state.grad is Tracked.YES)
        if leaf is not None and leaf.kind is NodeKind.LEAF:  # who asks for its gradient asks what the name holds
            record.add_obstacle(Obstacle(ObstacleKind.LEAF_GRAD_READ, m.spelling(expression), certain=False))
    m.rebind(state, expression, target, fresh)
    return fresh


def _settle(state: State, taken: Sequence[Tensor]) -> None:
    """The call was passed, so nothing it took requires grad, and nothing that led to it saved anything."""
    for key in (key for tensor in taken for key in tensor.graph_keys):
        behind = set(reachable(state.nodes.get(key)))
        saves = state.saves_of(key)
        for kept in [kept for kept in saves if kept.node in behind]:
            del saves[kept]
        state.nodes[key] = None
