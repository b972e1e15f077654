"""The record of a write: made in its first passage, joined with what later ones show."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import facts_of, value_facts
from gradfix.analysis.domain.records import WriteRecord, join_facts, join_index, join_written
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Tensor, Value, tensors
from gradfix.analysis.facts import IndexItem, IndexKind, ValueFacts, ValueKind, WriteForm
from gradfix.analysis.text.targets import base_of
from gradfix.torch_ops import ViewKind


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


def recorded_write(
    m: Machine, state: State, site: Site, tensor: Tensor, value: Value | None, *, recorded: bool
) -> WriteRecord:
    """The record of this write, after what this passage shows."""
    facts = m.settled(facts_of(state, tensor))
    written = ValueFacts(ValueKind.NOTHING) if value is None else _settled_value(m, value_facts(state, value, tensor))
    new = WriteRecord(
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
        of_tensor=_is_part_of_tensor(m, state, site.target, tensor),
        part=tensor.part,
    )
    record = m.notes.writes.setdefault(id(site.target), new)
    if record is new:
        m.notes.last_writes[id(site.node)] = record
    else:
        _meet_again(record, new)
    record.storages.update(tensor.storages)
    for source in tensors(value) if value is not None else ():
        record.sources.update(source.storages)
    named = isinstance(site.target, (ast.Name, ast.Attribute)) and site.target is base_of(site.target)
    record.named_view = record.named_view or (named and tensor.view is ViewKind.VIEW and not tensor.detached)
    if site.value is not None and len(site.index) == 1 and site.index[0].kind is IndexKind.MASK:
        _note_operands(m, state, record, site.value)
    return record


def _meet_again(record: WriteRecord, new: WriteRecord) -> None:
    """What holds of a write in this passage, too."""
    record.tensor = join_facts(record.tensor, new.tensor)
    record.written = join_written(record.written, new.written)
    record.index = join_index(record.index, new.index)
    record.known = record.known or new.known
    record.of_tensor = record.of_tensor and new.of_tensor
    record.part = record.part if record.part == new.part else None
    record.recorded = record.recorded or new.recorded


def _note_operands(m: Machine, state: State, record: WriteRecord, value: ast.expr) -> None:
    """What the names in `value` hold."""
    for node in ast.walk(value):
        if isinstance(node, ast.Name):
            facts = _settled_value(m, value_facts(state, m.look(state, node)))
            known = record.operands.get(node.id)
            record.operands[node.id] = facts if known is None else join_written(known, facts)


def _settled_value(m: Machine, written: ValueFacts) -> ValueFacts:
    return written if written.tensor is None else replace(written, tensor=m.settled(written.tensor))


def _is_part_of_tensor(m: Machine, state: State, target: ast.expr, tensor: Tensor) -> bool:
    """True when `target` is a view written down on the spot, of a tensor that a name or an attribute holds."""
    base = base_of(target)
    if base is target or not isinstance(base, (ast.Name, ast.Attribute)):
        return False
    held = m.look(state, base)
    return isinstance(held, Tensor) and not set(held.storages).isdisjoint(tensor.storages)
