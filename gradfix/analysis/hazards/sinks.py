"""Where gradients are asked for: every overwritten save and every missing graph behind that point is a hazard."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from gradfix.analysis.cut_kinds import Elsewhere
from gradfix.analysis.domain.graph import Node, NodeKind, Passed, Visit, reachable
from gradfix.analysis.domain.happened import Happened
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import facts_of
from gradfix.analysis.domain.records import BackwardRecord, HazardNote
from gradfix.analysis.domain.reverse import Reverse
from gradfix.analysis.domain.state import MAX_STORAGES, State
from gradfix.analysis.domain.values import Origin, Storage, Tensor, now
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards import abroad, cuts, disconnected, gradient_hooks, gradients, losses, networks, raised
from gradfix.analysis.text.one_line import one_line
from gradfix.findings import HazardKind

_Covered = dict[Visit, dict[Storage, HazardNote]]  # of writes to one of several memories, those surely saved


def backward(
    m: Machine,
    state: State,
    root: Tensor,
    expression: ast.expr,
    call: ast.Call,
    how: Reverse,
) -> None:
    """`root.backward()` or one of its other spellings."""
    origin = m.notes.origins.get(id(call))
    if origin is None:
        _note_shape(m, state, root, expression, call, has_gradient=how.has_gradient)
        _backward(m, state, root, expression, call, how)
    elif isinstance(origin.call, ast.Call):
        m.notes.elsewhere[id(origin.call)] = Elsewhere(origin.file, origin.line, one_line(ast.unparse(call)))
        with m.at_home():
            handed = next(abroad.targets(m, state, origin.call, root), origin.call)
            _backward(m, state, root, handed, origin.call, how)


def _backward(m: Machine, state: State, root: Tensor, expression: ast.expr, call: ast.Call, how: Reverse) -> None:
    m.saw_backward = True
    m.notes.alarms += 1
    _note_happened(m, state, root, call, how)
    losses.differentiated(m, state, root, expression, call)
    gradients.note_backward(m, state, root, call, how)
    runs = networks.passed(m, state, root)
    if how.ends is not None:
        alone = gradients.way(state.node_of(root), how.ends)
        runs = tuple(node for node in runs if id(node) in alone)
    networks.note_backward(m, state, runs, call, retained=how.retained)
    gradients.note_source(m, state, root, call)
    gradient_hooks.run(m, state, state.node_of(root))
    reach(m, state, [root], certain=True, total=True, runs=runs, ends=how.ends)
    if how.accumulates:
        frees = not how.retained and how.ends is None
        m.notes.open_ended |= not root.known
        for node in reachable(state.node_of(root)):
            m.notes.open_ended |= node.kind is NodeKind.ASSUMED
            if node.kind is NodeKind.LEAF or frees:
                state.passed[node] = True
        for leaf in networks.fed(m, runs):
            state.passed[leaf] = True


def _note_happened(m: Machine, state: State, root: Tensor, call: ast.Call, how: Reverse) -> None:
    if m.happened is not None and not m.later_round:
        flows = cuts.flows_of(state, root)
        certain = not (m.arms or m.uncertain_loop)
        m.happened.append(Happened("backward", call, certain, now(), root, state.node_of(root), flows, how))


def _note_shape(
    m: Machine, state: State, root: Tensor, expression: ast.expr, call: ast.Call, *, has_gradient: bool
) -> None:
    """Without a gradient the root has to have one element."""
    facts = facts_of(state, root)
    sizes = facts.shape
    many = not has_gradient and sizes is not None and any(size is not None and size > 1 for size in sizes)
    open_sizes = bool(sizes) and not has_gradient and all(size is None or size == 1 for size in sizes or ())
    doubtful = many or (open_sizes and None in (sizes or ()))
    record = m.notes.backwards.get(id(call))
    if record is None:
        m.notes.backwards[id(call)] = BackwardRecord(
            call, m.statement, m.scope.qualname, expression, facts, has_gradient, many, doubtful
        )
    else:
        record.non_scalar = record.non_scalar and many
        record.perhaps_non_scalar = record.perhaps_non_scalar or doubtful


def reach(
    m: Machine,
    state: State,
    roots: Iterable[Tensor],
    *,
    certain: bool,
    total: bool,
    runs: Sequence[Node] = (),
    ends: Sequence[Node] | None = None,
) -> None:
    """Gradients flow back from `roots`. `certain`: they surely do; `total`: they are all that is differentiated;
    `runs`: the calls of networks from elsewhere that they surely pass; `ends`: what alone they go to, where known."""
    covered: _Covered = {}
    for root in roots:
        node = state.node_of(root)
        passed = Passed(node)
        m.notes.fed.update(losses.fed_leaves(m, node))
        asked = passed.only(gradients.way(node, ends)) if ends else passed
        _overwritten(
            m,
            state,
            asked if asked.nodes else passed,
            covered,
            certain=certain and root.known and bool(asked.nodes),
            runs=runs,
        )
        disconnected.differentiated(m, node, passed.nodes, total=total)
    for visit, notes in covered.items():
        if 1 < len(visit.storages) < MAX_STORAGES and notes.keys() >= set(visit.storages):
            for note in notes.values():  # whichever it hits was saved
                m.notes.writes[visit.key].add_hazard(note, visit.passage, True)


def transformed(m: Machine, state: State, roots: Iterable[Tensor], leaves: Iterable[Node], *, certain: bool) -> None:
    """A function that `torch.func.grad` and the like differentiate returns `roots`: backward passes what is behind them
    and depends on the `leaves` it was given. Without a graph, the gradient is zero and nothing fails."""
    m.saw_backward = True
    m.notes.alarms += 1
    ends = list(leaves)
    for root in roots:
        passed = Passed(state.node_of(root)).between(ends)
        m.notes.fed.update(losses.fed_leaves(m, state.node_of(root)))
        _overwritten(m, state, passed, {}, certain=certain and root.known)


def _overwritten(
    m: Machine, state: State, passed: Passed, covered: _Covered, *, certain: bool, runs: Sequence[Node] = ()
) -> None:
    for visit in m.visits:
        if id(visit.node) in passed.nodes and (met := m.notes.writes.get(visit.key)) is not None:
            met.differentiated.add(visit.passage)
    for (save, key), (visit, sure) in state.conflicts.items():
        if id(save.node) not in passed.nodes:
            continue
        record = m.notes.writes.get(key) or m.notes.optimizer_steps.get(key)
        if save.node in m.networks.runs and save.storage in m.networks.leaves and save.node not in runs:
            continue  # perhaps it isn't passed
        if record is None or (save.storage.origin is Origin.PARAMETER and state.passed.get(save.node)):
            continue  # freed by a backward before: what is updated between two of them is cut off in between
        kind = HazardKind.SAVED_THEN_WRITTEN if save.guarded and not visit.silent else HazardKind.SILENT_WRITE
        expected = raised.expect(m, record, kind)
        proven = certain and sure and not expected and save.node.tracked is Tracked.YES
        one = len(visit.storages) == 1  # of several, only the one it hits has the write on its way
        proven = proven and passed.surely(save.node, visit if one else None)
        holders = m.notes.holders(save.at, save.storage)
        note = m.notes.of_this_file(HazardNote(kind, save.op, save.at, save.result, holders))
        record.add_hazard(note, visit.passage, proven and one)
        if proven:
            covered.setdefault(visit, {})[save.storage] = note
