"""A write in place: which hazards it meets at once, which saves it overwrites, who else still holds the old object."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain.defined import MODULE
from gradfix.analysis.domain.graph import Node, NodeKind, Visit, in_order, operation, phi
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import facts_of, last_op, strongest, tracked, value_facts
from gradfix.analysis.domain.records import HazardNote, Overwriting, WriteRecord, join_facts, join_index, join_written
from gradfix.analysis.domain.state import Stamp, State, held_in
from gradfix.analysis.domain.values import (
    Choice,
    Container,
    Instance,
    Method,
    Origin,
    Partial,
    Storage,
    Tensor,
    Value,
    is_whole,
    now,
    tensors,
)
from gradfix.analysis.facts import (
    IndexItem,
    IndexKind,
    Obstacle,
    ObstacleKind,
    Tracked,
    ValueFacts,
    ValueKind,
    WriteForm,
)
from gradfix.analysis.hazards import cuts, handed, overlaps, stale, views
from gradfix.analysis.text import arms
from gradfix.findings import HazardKind
from gradfix.torch_ops import ViewKind

VIEW_ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "real", "imag", "data"})


@dataclass(frozen=True, slots=True)
class Site:
    """Where and how a write is spelt."""

    form: WriteForm
    node: ast.AST
    target: ast.expr
    index: tuple[IndexItem, ...] = ()
    value: ast.expr | None = None
    operator: str | None = None
    method: str | None = None


def write(
    m: Machine, state: State, site: Site, tensor: Tensor, value: Value | None, graph: Node | None = None
) -> Tensor:
    """Write to `tensor` in place; returns the object the target holds from now on.

    The program goes on with the same object; the analysis makes a new one, so that whoever still holds the old one
    can be told apart: a rewrite that gives the target a new tensor changes what they see. `graph` is the node of the
    operation itself, where it saved something.
    """
    operands = list(tensors(value)) if value is not None else []
    levels = [tracked(state, tensor), *(tracked(state, t) for t in operands)]
    whole = is_whole(tensor.dtype)
    level = Tracked.NO if state.grad is Tracked.NO or whole else strongest(levels)
    record = _record(m, state, site, tensor, value, recorded=level is not Tracked.NO and bool(tensor.graph_keys))
    if tensor.overlapping and not tensor.silent:
        loud = overlaps.is_refused(site.form, site.index, site.method)
        note = HazardNote(HazardKind.EXPANDED_WRITTEN, "expand", tensor.made_by, result=loud)
        m.notes.add_hazard(record, note, m.passage(), loud and tensor.known)
    if state.grad is not Tracked.NO and not whole and site.form is not WriteForm.OUT:
        stale.used(m, state, [tensor, *operands])
        _immediate_hazards(m, state, record, tensor)
    node = None if whole else _written_node(state, tensor, operands, site, graph)
    if value is not None:
        _carry_cuts(m, state, site, tensor, value)
    certain = tensor.known and not m.uncertain_loop
    key, same = id(site.target), _changes_nothing(state, site, tensor)
    visit = overwrite_saves(
        m, state, record, key, tensor.storages, node, certain=certain, choice=tensor.choice, same=same
    )
    _update_nodes(state, tensor, node)
    _obstacles(m, state, record, site, tensor)
    if overlaps.reads_what_it_writes(tensor, operands, site.index):
        record.add_obstacle(Obstacle(ObstacleKind.OVERLAP, m.spelling(site.target), certain=False))
    views.note(state, m, record, tensor, visit.key)
    fresh = _fresh_object(m, state, visit, tensor)
    views.hand_on(m, state, record, base_of(site.target), tensor, visit)
    return fresh


def _changes_nothing(state: State, site: Site, tensor: Tensor) -> bool:
    """True where this very write was the last to this memory, doing it again gives the same, and no version counts."""
    stamps = [state.log.get(storage) for storage in tensor.storages]
    again = all(stamp is not None and stamp.visit.key == id(site.target) for stamp in stamps)
    return tensor.silent and site.method in _IDEMPOTENT and again


def written_by(state: State, fresh: Tensor) -> Node | None:
    """The node that the write which gave `fresh` made."""
    stamp = state.log.get(fresh.storage)
    return None if stamp is None else stamp.visit.node


def _record(
    m: Machine, state: State, site: Site, tensor: Tensor, value: Value | None, *, recorded: bool
) -> WriteRecord:
    key = id(site.target)
    part_of_tensor = _is_part_of_tensor(m, state, site.target, tensor)
    facts = m.settled(facts_of(state, tensor))
    written = ValueFacts(ValueKind.NOTHING) if value is None else _settled_value(m, value_facts(state, value, tensor))
    record = m.notes.writes.get(key)
    if record is None:
        record = m.notes.writes[key] = WriteRecord(
            site.form,
            site.node,
            m.statement,
            m.scope.qualname,
            site.target,
            site.index,
            site.value,
            site.operator,
            site.method,
            facts,
            written,
            tensor.known,
            recorded,
            of_tensor=part_of_tensor,
            part=tensor.part,
        )
        m.notes.last_writes[id(site.node)] = record
    else:
        record.tensor = join_facts(record.tensor, facts)
        record.written = join_written(record.written, written)
        record.index = join_index(record.index, site.index)
        record.known = record.known or tensor.known
        record.of_tensor = record.of_tensor and part_of_tensor
        record.part = record.part if record.part == tensor.part else None
        record.recorded = record.recorded or recorded
    record.storages.update(tensor.storages)
    for source in tensors(value) if value is not None else ():
        record.sources.update(source.storages)
    named = isinstance(site.target, (ast.Name, ast.Attribute)) and site.target is base_of(site.target)
    record.named_view = record.named_view or (named and tensor.view is ViewKind.VIEW and not tensor.detached)
    if site.value is not None and len(site.index) == 1 and site.index[0].kind is IndexKind.MASK:
        _note_operands(m, state, record, site.value)
    return record


def _note_operands(m: Machine, state: State, record: WriteRecord, value: ast.expr) -> None:
    """What the names in `value` hold."""
    for node in ast.walk(value):
        if isinstance(node, ast.Name):
            facts = _settled_value(m, value_facts(state, m.look(state, node)))
            known = record.operands.get(node.id)
            record.operands[node.id] = facts if known is None else join_written(known, facts)


_IDEMPOTENT = frozenset("clamp_ clamp_min_ clamp_max_ clip_ zero_ fill_ relu_ abs_ round_ tril_ triu_".split())


def _settled_value(m: Machine, written: ValueFacts) -> ValueFacts:
    return written if written.tensor is None else replace(written, tensor=m.settled(written.tensor))


def _immediate_hazards(m: Machine, state: State, record: WriteRecord, tensor: Tensor) -> None:
    if tensor.silent or not tensor.known:
        return
    certain_storage = len(tensor.storages) == 1 and state.grad is Tracked.YES
    for storage in tensor.storages if tensor.no_grad_view else tensor.graph_keys:
        node = state.nodes.get(storage)
        if node is None:
            continue
        certain = certain_storage and node.tracked is Tracked.YES
        if node.kind is NodeKind.PHI and (leaf := next((i for i in node.inputs if _is_leaf(i)), None)) is not None:
            node, certain = leaf, False  # written in a branch, where that raises; a leaf still where it wasn't taken
        if node.kind is NodeKind.LEAF:
            kind = HazardKind.LEAF_VIEW_WRITTEN if _through_view(tensor, record) else HazardKind.LEAF_WRITTEN
            m.notes.add_hazard(record, HazardNote(kind, node.op, None, leaf=node.at), m.passage(), certain)
        elif tensor.view is ViewKind.MULTI:
            note = HazardNote(HazardKind.MULTI_VIEW_WRITTEN, last_op(tensor), tensor.made_by, split=tensor.split_by)
            m.notes.add_hazard(record, note, m.passage(), certain)
        elif tensor.no_grad_view and tensor.view is ViewKind.VIEW and node.tracked is Tracked.YES:
            note = HazardNote(HazardKind.NO_GRAD_VIEW_WRITTEN, last_op(tensor), tensor.made_by)
            m.notes.add_hazard(record, note, m.passage(), certain)


def _is_leaf(node: Node | None) -> bool:
    return node is not None and node.kind is NodeKind.LEAF


def _through_view(tensor: Tensor, record: WriteRecord) -> bool:
    return tensor.is_view or bool(record.index)


def _written_node(state: State, tensor: Tensor, operands: list[Tensor], site: Site, graph: Node | None) -> Node | None:
    if state.grad is Tracked.NO or tensor.silent or not tensor.graph_keys:
        return None
    before = [state.nodes.get(s) for s in tensor.graph_keys]
    return operation(site.method or "copy_", (*before, *(state.node_of(t) for t in operands), graph), site.node)


def _carry_cuts(m: Machine, state: State, site: Site, tensor: Tensor, value: Value) -> None:
    """What lost its graph before the write goes on in the storage; integers lose it now."""
    operands = tensors(value)
    if operands and is_whole(tensor.dtype):
        flows = cuts.cut(m, state, CutKind.DISCRETE, "write", site.node, operands, argument=site.value)
    elif operands and state.grad is Tracked.NO:
        flows = cuts.cut(m, state, CutKind.GRADIENTS_OFF, "write", site.node, operands)
    else:
        op = (site.operator or site.method or "copy_").rstrip("=_")
        flows = cuts.through(m, state, "add" if op == "copy" else op, (tensor, value))
    cuts.put(state, (tensor,), flows)


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
) -> Visit:
    """What was saved of one of `storages` is overwritten, or gets the `same` values again.

    `node` is what the write made, `key` names its record.
    """
    passage = m.passage()
    record.passages[passage] = record.passages.get(passage, False) or not m.outer_arms
    visit = Visit(key, passage, node, storages, certain, now())
    if node is not None:
        m.visits.append(visit)
    for storage in storages if not same else ():
        for save, must in (state.saves.get(storage) or {}).items():
            if not must and len(storages) > 1:
                continue  # saved on some ways, written on some ways: mostly not the same ones
            if save.branch is not None and arms.replaces(save.branch, m.statement):
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
    for storage in tensor.graph_keys:
        state.nodes[storage] = node if certain else phi((state.nodes.get(storage), node), None)


def _obstacles(m: Machine, state: State, record: WriteRecord, site: Site, tensor: Tensor) -> None:
    if state.grad is not Tracked.YES and any(state.nodes.get(s) is not None for s in tensor.storages):
        name = m.spelling(site.target)
        record.add_obstacle(Obstacle(ObstacleKind.GRADIENTS_OFF, name, certain=state.grad is Tracked.NO))
    for storage in tensor.storages:
        name = storage.name or m.spelling(site.target)
        if storage.origin is Origin.ARGUMENT:
            record.add_obstacle(Obstacle(ObstacleKind.CALLER_SEES, name, certain=False))
        elif storage.origin is Origin.OUTSIDE:
            record.add_obstacle(Obstacle(ObstacleKind.ESCAPED, name, certain=False))
        elif storage.origin is Origin.PARAMETER and isinstance(site.target, ast.Attribute):
            record.add_obstacle(Obstacle(ObstacleKind.PARAMETER, m.spelling(site.target)))
    root = root_of(site.target)
    if _in_tuple(m, state, site.target):
        record.add_obstacle(Obstacle(ObstacleKind.IN_TUPLE, m.spelling(site.target)))
    elif root is not None and _is_fixed(m, state, root):
        record.add_obstacle(Obstacle(ObstacleKind.FROZEN, m.spelling(root)))
    elif root is None:
        record.add_obstacle(Obstacle(ObstacleKind.NOT_A_NAME, m.spelling(site.target)))
    elif isinstance(root, ast.Name) and isinstance(site.target, (ast.Name, ast.Subscript)):
        info = m.scope.info
        if info is not None and root.id not in info.local_names and m.scope.frames[0] != MODULE:
            record.add_obstacle(Obstacle(ObstacleKind.CLOSURE, root.id))


def _in_tuple(m: Machine, state: State, target: ast.expr) -> bool:
    """True for an item of a tuple, which can't be given another tensor."""
    if not isinstance(target, ast.Subscript) or not isinstance(target.value, (ast.Name, ast.Attribute)):
        return False
    held = m.look(state, target.value)
    return isinstance(held, Container) and held.kind == "tuple"


def _is_fixed(m: Machine, state: State, root: ast.expr) -> bool:
    """True for a field of a named tuple or a frozen dataclass."""
    owner = m.look(state, root.value) if isinstance(root, ast.Attribute) else None
    return isinstance(owner, Instance) and owner.info is not None and owner.info.is_frozen


def base_of(target: ast.expr) -> ast.expr:
    """The expression a chain of views starts from: `y` of `y.t()[0].view(-1)`, `self.h` of `self.h[0]`."""
    while True:
        if isinstance(target, ast.Subscript):
            target = target.value
        elif isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute):
            target = target.func.value
        elif isinstance(target, ast.Attribute) and target.attr in VIEW_ATTRIBUTES:
            target = target.value
        else:
            return target


def _is_part_of_tensor(m: Machine, state: State, target: ast.expr, tensor: Tensor) -> bool:
    """True when `target` is a view written down on the spot, of a tensor that a name or an attribute holds."""
    base = base_of(target)
    if base is target or not isinstance(base, (ast.Name, ast.Attribute)):
        return False
    held = m.look(state, base)
    return isinstance(held, Tensor) and not set(held.storages).isdisjoint(tensor.storages)


def root_of(target: ast.expr) -> ast.expr | None:
    """The name or attribute that a rewrite would bind anew; None when there is none."""
    while isinstance(target, ast.Subscript):
        target = target.value
    if isinstance(target, ast.Name):
        return target
    if isinstance(target, ast.Attribute) and root_of(target.value) is not None:
        return target
    return None


def _fresh_object(m: Machine, state: State, visit: Visit, tensor: Tensor) -> Tensor:
    all_missed = state.missed(tensor)
    missed = frozenset(other for other in all_missed if other.key != visit.key)
    record = m.notes.writes.get(visit.key)
    if record is not None and not tensor.is_view and len(missed) < len(all_missed):  # written by an earlier round
        holder = f"{ast.unparse(record.target)} of an earlier round"
        record.add_obstacle(Obstacle(ObstacleKind.ALIAS_READ, holder, m.place(record.target, f"`{holder}`")))
    tick = now()
    for storage in tensor.storages:
        state.note_write(storage, Stamp(tick, visit, tuple(m.arms), state.log.get(storage)))
    if tensor.choice is not None and len(tensor.storages) > 1 and visit.node is not None:
        state.chosen[tensor.choice] = (visit.node, tick)
    fresh = replace(tensor)
    if missed:
        state.late[fresh] = missed
        state.given[fresh] = state.given.get(tensor) or {}
    return fresh


def read(m: Machine, state: State, value: Value, node: ast.AST, name: str, depth: int = 3) -> None:
    """Note that `value` is read as `name`: writes whose rewrite would leave it with old values learn of it."""
    if state.quiet or not state.log:
        return
    for tensor in tensors(value):
        for visit in in_order(state.missed(tensor)):
            record = m.notes.writes.get(visit.key)
            if record is not None and not _inside(node, record) and not _apart(tensor, record):
                kind = ObstacleKind.BASE_READ if tensor.is_view or _is_view(record) else ObstacleKind.ALIAS_READ
                if handed.is_argument(m, visit, record, node):
                    kind = ObstacleKind.ARGUMENT_READ
                holder = name if m.scope.qualname == record.function else f"the caller's {name}"
                place = m.place(node, f"`{name}` is read here")
                replay = (state.given.get(tensor) or {}).get(visit.key)
                record.add_obstacle(Obstacle(kind, holder, place, replay=replay))
    if depth and value.__class__ in _HOLDING:
        for suffix, item in held_in(state, value):
            if item.__class__ in _READ:
                read(m, state, item, node, name + suffix, depth - 1)


_HOLDING = frozenset({Container, Instance, Method, Partial})
_READ = frozenset({Tensor, Choice}) | _HOLDING  # what may be a tensor or hold one


def _apart(tensor: Tensor, record: WriteRecord) -> bool:
    """True for another part of what was split: the write doesn't touch it."""
    return tensor.part is not None and record.part is not None and tensor.part != record.part


def _is_view(record: WriteRecord) -> bool:
    return isinstance(record.target, (ast.Subscript, ast.Call))


def _inside(node: ast.AST, record: WriteRecord) -> bool:
    """True for a read that belongs to the target of the write itself."""
    return any(inner is node for inner in ast.walk(record.target))
