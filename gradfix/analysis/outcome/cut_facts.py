"""From records of cuts to facts: severities and labelled places."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace

from gradfix.analysis.cut_kinds import CutEffect, CutKind
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import CutRecord, LossNote
from gradfix.analysis.domain.values import Storage
from gradfix.analysis.facts import Cut, Tracked
from gradfix.analysis.hazards.cuts import WITHOUT_GRADIENT, WRITTEN_PAST
from gradfix.analysis.hazards.losses import careless
from gradfix.analysis.text.grad_modes import switch_among
from gradfix.findings import Hazard, HazardKind, Severity

_EFFECTS = tuple(CutEffect)
_GRADIENT = re.compile(r"\.grad\b(?!\()")  # gradients may be put there by hand
_LABELS = {
    CutKind.TENSOR: "the values are copied without their graph here",
    CutKind.NUMBER: "a Python number is made here, which has no graph",
    CutKind.DATA: "`.data` leaves the graph behind here",
    CutKind.DETACH: "`detach` leaves the graph behind here",
    CutKind.PARAMETER: "a new leaf is made here; gradients end in it",
    CutKind.GRADIENTS_OFF: "gradients are off here",
    CutKind.DISCRETE: "the result has no gradient here",
    CutKind.FLAT: "the gradient is zero here",
    CutKind.NO_LEAF: "there is nothing to go back to here",
}
_LOSS_LABELS = {
    CutEffect.NO_GRAPH: "{loss} has no graph: backward raises",
    CutEffect.NUMBER: "{loss} is no tensor: it has no backward",
    CutEffect.NEW_LEAF: "{loss} is a leaf of its own: its gradient goes nowhere else",
    CutEffect.ZERO: "every gradient of {loss} is zero",
    CutEffect.RETURNED: "what is returned has no graph",
    CutEffect.RETURNED_LEAF: "what is returned is a leaf of its own: its gradient goes nowhere else",
    CutEffect.STARVED: "{loss} gives it no gradient, and no other loss does",
    CutEffect.CONSTANT: "{loss} gets a constant from there",
    CutEffect.PARTIAL: "{loss} is computed from it",
}


def facts_of_cuts(m: Machine, ordinals: Mapping[int, int], written: frozenset[Storage]) -> tuple[Cut, ...]:
    """Cuts that a loss depends on, in source order; `written` is all memory that is written in place somewhere."""
    records = [r for r in m.notes.cuts.values() if r.kind is not CutKind.NO_LEAF or id(r.node) not in m.notes.connected]
    found = [_cut(m, record, ordinals, written) for record in records if _matters(m, record)]
    return tuple(sorted(found, key=lambda c: (getattr(c.node, "lineno", 0), getattr(c.node, "col_offset", 0))))


def _matters(m: Machine, record: CutRecord) -> bool:
    """Whether a loss depends on it; what merely chooses or counts beside a graph does so where it starves a leaf."""
    beside = record.kind in WITHOUT_GRADIENT and all(n.effect is CutEffect.PARTIAL for n in record.losses.values())
    return bool(record.losses) and (not beside or _starves(m, record))


def _starves(m: Machine, record: CutRecord) -> bool:
    """Whether a leaf that waits for a gradient gets none from any loss, since this is its only way to one.

    Where somebody asked for the gradient to end: whether an optimizer steps that holds nothing else.
    """
    if any(s in m.notes.grad_read and leaf not in m.notes.fed for leaf, s in record.starved.items()):
        return True
    if m.notes.open_ended or not record.kept_off or _GRADIENT.search(m.source.text):
        return False
    idle = (leaves for leaves in m.notes.stepped if m.notes.fed.isdisjoint(leaves))
    return any(not record.kept_off.isdisjoint(leaves) for leaves in idle)


def _cut(m: Machine, record: CutRecord, ordinals: Mapping[int, int], written: frozenset[Storage]) -> Cut:
    note = min(record.losses.values(), key=lambda n: _EFFECTS.index(n.effect))
    read = not m.notes.grad_read.isdisjoint(record.leaves)
    may_be_meant = note.effect is CutEffect.PARTIAL or (note.effect is CutEffect.NEW_LEAF and not note.sure)
    if may_be_meant and not read and _starves(m, record):
        note = replace(note, effect=CutEffect.STARVED)
    name = "the loss" if note.root is None else f"`{ast.unparse(note.root)}`"
    loss = m.place(head(m, note.at), _LOSS_LABELS[note.effect].format(loss=name))
    place = m.place(head(m, record.node), _LABELS[record.kind])
    return Cut(
        kind=record.kind,
        op=record.op,
        node=record.node,
        statement=record.statement,
        function=record.function,
        identity_ordinal=ordinals.get(id(record.statement), 0),
        argument=record.argument,
        value=record.value,
        parts=record.parts,
        effect=note.effect,
        loss=loss,
        same_function=all(n.function == record.function for n in record.losses.values()),
        alone=note.alone,
        elsewhere=any(n.effect in (CutEffect.CONSTANT, CutEffect.PARTIAL) for n in record.losses.values()),
        through_numpy=record.through_numpy,
        in_numbers=record.in_numbers,
        fills=record.fills,
        is_fresh=record.is_fresh,
        may_be_number=record.may_be_number,
        value_changes=not record.storages.isdisjoint(written),
        severity=_severity(record, note, read=read),
        origin=record.origin,
        asked=None if note.itself is None else note.itself.at,
        hazards=(Hazard(HazardKind.DISCONNECTED, place, loss, ""),),
    )


def head(m: Machine, node: ast.AST) -> ast.AST:
    """What stands for a node in a report: of a `with` or a decorated function what turns gradients off there."""
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return switch_among([item.context_expr for item in node.items])
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.decorator_list:
        return m.notes.switches.get(id(node)) or switch_among(node.decorator_list)
    return node


def _severity(record: CutRecord, note: LossNote, *, read: bool) -> Severity:
    match note.effect:
        case CutEffect.NO_GRAPH | CutEffect.NUMBER:
            return Severity.ERROR if note.sure else Severity.WARNING
        case CutEffect.NEW_LEAF | CutEffect.RETURNED_LEAF:
            meant = not careless(record) and note.itself is None
            if meant or read or not note.sure:  # its gradient is wanted, or handed on by hand
                return Severity.INFO
            proven = note.effect is CutEffect.NEW_LEAF and record.level is Tracked.YES and careless(record)
            return Severity.ERROR if proven else Severity.WARNING
        case CutEffect.ZERO | CutEffect.RETURNED | CutEffect.STARVED:
            return Severity.WARNING
        case CutEffect.CONSTANT:
            meant = record.level is not Tracked.YES or not careless(record)
            return Severity.INFO if meant else Severity.WARNING
        case CutEffect.PARTIAL if record.level is Tracked.YES and (_is_matrix(record) or _is_written_past(record)):
            return Severity.WARNING
        case _:
            return Severity.INFO


def _is_written_past(record: CutRecord) -> bool:
    """`out.data[i] = v`: whoever wanted constants had no need to go past autograd, which keeps none of `out` yet."""
    return record.kind is CutKind.DATA and record.op == WRITTEN_PAST


def _is_matrix(record: CutRecord) -> bool:
    """`torch.tensor([[c, -s], [s, c]])`: entries put together to compute with, not numbers to weigh something with."""
    rows = record.argument.elts if isinstance(record.argument, (ast.List, ast.Tuple)) else []
    return record.kind is CutKind.TENSOR and bool(rows) and all(isinstance(row, (ast.List, ast.Tuple)) for row in rows)
