"""Calls that write to a tensor: methods with an underscore, functions with one, and `inplace=True`."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Tensor, Value
from gradfix.analysis.facts import Obstacle, ObstacleKind, Tracked, WriteForm
from gradfix.analysis.hazards import batches, overlaps
from gradfix.analysis.hazards.write_records import Site
from gradfix.analysis.hazards.writes import write, written_by
from gradfix.analysis.operators import operators, outputs
from gradfix.torch_ops import Operator

_TURNING = frozenset({"t_", "transpose_", "swapaxes_", "swapdims_"})  # the memory stays, in another order
_RESHAPING = _TURNING | {"squeeze_", "unsqueeze_", "resize_", "resize_as_", "set_"}


def write_call(
    m: Machine,
    state: State,
    form: WriteForm,
    op: Operator | None,
    target: Tensor,
    expression: ast.expr,
    args: Sequence[Value],
    keywords: Mapping[str, Value],
    node: ast.Call,
) -> Value:
    """A call that writes to `target`: `y.mul_(2)`, `torch.relu_(y)`, `F.relu(y, inplace=True)`."""
    form = WriteForm.DATA if target.silent else form
    others = [*args[1:], *keywords.values()]
    operands = all_tensors(others)
    name = node.func.attr if isinstance(node.func, ast.Attribute) else outputs.short_name(op) if op else "call"
    value = node.args[0] if form is WriteForm.METHOD and node.args else None
    groups: dict[str, Sequence[Tensor]] = {}
    if op is not None:
        op, bound = operators.bind(state, op, args, keywords)
        groups = {key: operators.members(state, v) for key, v in bound.items()}
        indices = {id(t) for key, group in groups.items() if key not in op.tracked for t in group}
        operands = [t for t in operands if id(t) not in indices]
    written = operands[0] if operands else others[0] if others and not all_tensors(others[:1]) else None
    before = operators.operator_node(state, op, groups, node) if op is not None else None
    if op is not None and before is not None and form is not WriteForm.FLAG:
        operators.save_others(state, op, before, groups, node)
    fresh = write(m, state, Site(form, node, expression, (), value, None, name), target, written, before)
    if op is not None and op.outputs and state.grad is not Tracked.NO:
        graph = written_by(state, fresh)
        operators.save_output(state, op, op.outputs[0], graph, fresh, groups, node)
    if overlaps.mixes(name, target, operands):
        overlap = Obstacle(ObstacleKind.OVERLAP, m.spelling(expression), certain=False)
        m.notes.writes[id(expression)].add_obstacle(overlap)
    if name in _TURNING:
        fresh.dense, fresh.transposed = False, True
    if name in _RESHAPING:
        fresh.shape = None
    if m.maps and (record := m.notes.writes.get(id(expression))) is not None:
        batches.written(m, state, record, target, others)
    m.rebind(state, expression, target, fresh)
    return fresh
