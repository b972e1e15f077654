"""A write in place: which hazards it meets at once, which saves it overwrites, who else still holds the old object."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain.graph import Node, NodeKind, Visit, operation, phi
from gradfix.analysis.domain.holders import keep
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import is_surely_view, last_op, strongest, tracked
from gradfix.analysis.domain.records import HazardNote, Overwriting, WriteRecord
from gradfix.analysis.domain.state import Stamp, State
from gradfix.analysis.domain.values import Storage, Tensor, Value, is_whole, now, tensors
from gradfix.analysis.facts import Obstacle, ObstacleKind, Tracked, WriteForm
from gradfix.analysis.hazards import abroad, batches, cuts, gradient_hooks, obstacles, overlaps, raised, stale, views
from gradfix.analysis.hazards.write_records import Site, recorded_write
from gradfix.analysis.text import arms
from gradfix.analysis.text.repeated_tests import exclude
from gradfix.analysis.text.targets import base_of
from gradfix.findings import HazardKind
from gradfix.torch_ops import ViewKind


def write(
    m: Machine, state: State, site: Site, tensor: Tensor, value: Value | None, graph: Node | None = None
) -> Tensor:
    """Write to `tensor` in place; returns the object the target holds from now on.

    The program goes on with the same object; the analysis makes a new one, so that whoever still holds the old one
    can be told apart: a rewrite that gives the target a new tensor changes what they see. `graph` is the node of the
    operation itself, where it saved something.
    """
    if not m.is_abroad:
        return _write(m, state, site, tensor, value, graph)
    if tensor.silent:  # what is written past autograd there is told there
        return replace(tensor)
    doubtful = m.home is not None and len(m.arms) > m.home.arms
    m.uncertain_loop += doubtful
    with m.at_home():
        here = abroad.at_call(m, state, site, tensor)
        fresh = _write(m, state, here, tensor, value, graph)
        abroad.note(m, state, here, tensor)
    m.uncertain_loop -= doubtful
    return fresh


def _write(m: Machine, state: State, site: Site, tensor: Tensor, value: Value | None, graph: Node | None) -> Tensor:
    operands = list(tensors(value)) if value is not None else []
    levels = [tracked(state, tensor), *(tracked(state, t) for t in operands)]
    whole = is_whole(tensor.dtype)
    level = Tracked.NO if state.grad is Tracked.NO or whole else strongest(levels)
    record = recorded_write(m, state, site, tensor, value, recorded=level is not Tracked.NO and bool(tensor.graph_keys))
    _note_shared_cells(m, record, site, tensor)
    if m.notes.gradients:
        gradient_hooks.written(m, record, tensor)
    if m.maps:
        places = [m.look(state, item.node) for item in site.index if not isinstance(item.node, ast.Slice)]
        batches.written(m, state, record, tensor, [*places, *(() if value is None else (value,))])
    raises = False
    if state.grad is not Tracked.NO and not whole and site.form is not WriteForm.OUT:
        stale.used(m, state, [tensor, *operands])
        raises = _immediate_hazards(m, state, record, tensor, operands)
    node = None if whole or raises else _written_node(state, tensor, operands, site, graph)
    if value is not None:
        _carry_cuts(m, state, site, tensor, value)
    visit = _visit(m, state, record, site, tensor, node)
    _update_nodes(state, tensor, node)
    obstacles.note(m, state, record, site, tensor)
    if overlaps.reads_what_it_writes(tensor, operands, site):
        record.add_obstacle(Obstacle(ObstacleKind.OVERLAP, m.spelling(site.target), certain=False))
    views.note(state, m, record, tensor, visit.key)
    fresh = _fresh_object(m, state, visit, tensor)
    if value is not None and not tensor.known:  # it may be a list, which gets the very objects
        for owner in (tensor, fresh):
            keep(state, owner, (value,))
    views.hand_on(m, state, record, base_of(site.target), tensor, visit)
    return fresh


def _note_shared_cells(m: Machine, record: WriteRecord, site: Site, tensor: Tensor) -> None:
    """Several elements of an expanded tensor share one memory cell."""
    if tensor.overlapping and not tensor.silent:
        loud = overlaps.is_refused(site.form, site.index, site.method, tensor.shape)
        note = HazardNote(HazardKind.EXPANDED_WRITTEN, "expand", tensor.made_by, result=loud)
        raised.note(m, record, note, certain=loud and tensor.known)


def _visit(m: Machine, state: State, record: WriteRecord, site: Site, tensor: Tensor, node: Node | None) -> Visit:
    """This passage of the write, which overwrites what was saved of the tensor's memory."""
    return overwrite_saves(
        m,
        state,
        record,
        id(site.target),
        tensor.storages,
        node,
        certain=tensor.known and not m.uncertain_loop,
        choice=tensor.choice,
        same=_changes_nothing(state, site, tensor),
        silent=tensor.silent,
    )


def _changes_nothing(state: State, site: Site, tensor: Tensor) -> bool:
    """True where this very write was the last to this memory, doing it again gives the same, and no version counts."""
    stamps = [state.log.get(storage) for storage in tensor.storages]
    again = all(stamp is not None and stamp.visit.key == id(site.target) for stamp in stamps)
    return tensor.silent and site.method in _IDEMPOTENT and again


def written_by(state: State, fresh: Tensor) -> Node | None:
    """The node that the write which gave `fresh` made."""
    stamp = state.log.get(fresh.storage)
    return None if stamp is None else stamp.visit.node


_IDEMPOTENT = frozenset("clamp_ clamp_min_ clamp_max_ clip_ zero_ fill_ relu_ abs_ round_ tril_ triu_".split())


def _immediate_hazards(
    m: Machine, state: State, record: WriteRecord, tensor: Tensor, operands: Sequence[Tensor]
) -> bool:
    """Note what torch raises at the write itself; whether it does if this is a leaf, which then stays one."""
    if tensor.silent or not tensor.known:
        return False
    certain_storage = len(tensor.storages) == 1 and state.grad is Tracked.YES
    certain_view = certain_storage and is_surely_view(tensor)
    given = strongest([tracked(state, t) for t in operands])
    of_leaf = False
    for storage in tensor.storages if tensor.no_grad_view else tensor.graph_keys:
        node = state.nodes.get(storage)
        if node is None:
            if tensor.no_grad_view and given is Tracked.YES and tensor.view in (ViewKind.VIEW, ViewKind.MULTI):
                note = HazardNote(HazardKind.NO_GRAD_VIEW_WRITTEN, last_op(tensor), tensor.made_by)
                raised.note(m, record, note, certain=certain_view)
            continue
        certain = certain_storage and node.tracked is Tracked.YES
        if node.kind is NodeKind.PHI and (leaf := next((i for i in node.inputs if _is_leaf(i)), None)) is not None:
            node, certain = leaf, False  # written in a branch, where that raises; a leaf still where it wasn't taken
        if node.kind is NodeKind.LEAF:
            kind = HazardKind.LEAF_VIEW_WRITTEN if _through_view(tensor, record) else HazardKind.LEAF_WRITTEN
            raised.note(m, record, HazardNote(kind, node.op, None, leaf=node.at), certain=certain)
            of_leaf = state.nodes.get(storage) is node and len(tensor.storages) == 1 and given is Tracked.NO
        elif tensor.view is ViewKind.MULTI:
            note = HazardNote(HazardKind.MULTI_VIEW_WRITTEN, last_op(tensor), tensor.made_by, split=tensor.split_by)
            raised.note(m, record, note, certain=certain)
        elif tensor.no_grad_view and tensor.view is ViewKind.VIEW and node.tracked is Tracked.YES:
            note = HazardNote(HazardKind.NO_GRAD_VIEW_WRITTEN, last_op(tensor), tensor.made_by)
            raised.note(m, record, note, certain=certain and certain_view)
    return of_leaf


def _is_leaf(node: Node | None) -> bool:
    return node is not None and node.kind is NodeKind.LEAF


def _through_view(tensor: Tensor, record: WriteRecord) -> bool:
    return tensor.is_view or bool(record.index)


def _written_node(state: State, tensor: Tensor, operands: list[Tensor], site: Site, graph: Node | None) -> Node | None:
    if state.grad is Tracked.NO or not tensor.graph_keys or (tensor.silent and not _is_kept(site)):
        return None
    before = [state.nodes.get(s) for s in tensor.graph_keys]
    return operation(site.method or "copy_", (*before, *(state.node_of(t) for t in operands), graph), site.node)


def _is_kept(site: Site) -> bool:
    """Whether somebody holds the tensor that is written, and so its graph: not the one that `y.data` makes there."""
    made_here = any(isinstance(node, ast.Attribute) and node.attr == "data" for node in ast.walk(site.target))
    return not made_here and site.form is not WriteForm.ARRAY


def _carry_cuts(m: Machine, state: State, site: Site, tensor: Tensor, value: Value) -> None:
    """What lost its graph before the write goes on in the storage; integers lose it now."""
    operands = tensors(value)
    if operands and is_whole(tensor.dtype):
        flows = cuts.cut(m, state, CutKind.DISCRETE, "write", site.node, operands, argument=site.value)
    elif operands and state.grad is Tracked.NO:
        flows = cuts.cut(m, state, CutKind.GRADIENTS_OFF, "write", site.node, operands)
    elif operands and (data := _hiding(state, site, tensor)) is not None:
        flows = cuts.written_past(m, state, data, tensor, operands)
    else:
        op = (site.operator or site.method or "copy_").rstrip("=_")
        flows = cuts.through(m, state, "add" if op == "copy" else op, (tensor, value))
    cuts.put(state, (tensor,), flows)


def _hiding(state: State, site: Site, tensor: Tensor) -> ast.Attribute | None:
    """`out.data` of `out.data[i] = v`, where nothing else keeps `out`, made here without a graph, from that of `v`."""
    data = site.target
    if not (tensor.silent and tensor.known and isinstance(data, ast.Attribute) and data.attr == "data"):
        return None
    made_here = isinstance(base_of(data), ast.Name) and tensor.storage.made_by is not None
    return data if made_here and all(state.nodes.get(storage) is None for storage in tensor.storages) else None


def overwrite_saves(
    m: Machine,
    state: State,
    record: Overwriting,
    key: int,
    storages: tuple[Storage, ...],
    node: Node | None,
    *,
    certain: bool,
    choice: object = None,
    same: bool = False,
    silent: bool = False,
) -> Visit:
    """What was saved of one of `storages` is overwritten, or gets the `same` values again; `silent`: uncounted.

    `node` is what the write made, `key` names its record.
    """
    passage = m.passage()
    record.passages[passage] = record.passages.get(passage, False) or not m.outer_arms
    visit = Visit(key, passage, node, storages, certain, now(), silent)
    if node is not None:
        m.visits.append(visit)
    for storage in storages if not same else ():
        for save, must in (state.saves.get(storage) or {}).items():
            if not must and len(storages) > 1:
                continue  # saved on some ways, written on some ways: mostly not the same ones
            if state.passed.get(save.node):
                continue  # freed by a backward before: another one fails for that, whatever is written
            if save.branch is not None and arms.replaces(save.branch, m.statement):
                continue
            if save.under and exclude(save.under, state.under):
                continue
            conflict = (save, key)
            sure = certain and must and save.certain and save.choice in (None, choice)
            if conflict not in state.conflicts or sure:
                state.conflicts[conflict] = (visit, sure)
                m.notes.alarms += 1
    return visit


def _update_nodes(state: State, tensor: Tensor, node: Node | None) -> None:
    if node is None:
        return
    certain = len(tensor.storages) == 1 and tensor.choice is None
    forbidden = tensor.storages if tensor.no_grad_view else ()  # no run goes on, but the write was meant for the base
    for storage in dict.fromkeys((*tensor.graph_keys, *forbidden)):
        state.nodes[storage] = node if certain else phi((state.nodes.get(storage), node), None)


def _fresh_object(m: Machine, state: State, visit: Visit, tensor: Tensor) -> Tensor:
    all_missed = state.missed(tensor)
    missed = frozenset(other for other in all_missed if other.key != visit.key)
    record = m.notes.writes.get(visit.key)
    if record is not None and not tensor.is_view and len(missed) < len(all_missed):  # written by an earlier round
        holder = f"{ast.unparse(record.target)} of an earlier round"
        record.add_obstacle(Obstacle(ObstacleKind.ALIAS_READ, holder, m.place(record.target, f"`{holder}`")))
    tick = now()
    m.written += 1
    for storage in tensor.storages:
        state.note_write(storage, Stamp(tick, visit, tuple(m.arms), state.log.get(storage)))
    if tensor.choice is not None and len(tensor.storages) > 1 and visit.node is not None:
        state.chosen[tensor.choice] = (visit.node, tick)
    fresh = replace(tensor)
    if missed:
        state.late[fresh] = missed
        state.given[fresh] = state.given.get(tensor) or {}
    return fresh
