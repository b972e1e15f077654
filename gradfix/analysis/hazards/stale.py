"""Views that autograd gives up once their memory is written: those of unbind, split and chunk, and those of `no_grad`.

Measured (2.13): after any write that bumps the version, with gradients on or off and through whatever name, the next
operation that would record such a view raises. Looking at it (shapes, `.item()`, comparisons, `.detach()`) doesn't.
"""

from __future__ import annotations

from collections.abc import Iterable

from gradfix.analysis.domain.graph import tracked_of
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import is_surely_view, last_op, strongest
from gradfix.analysis.domain.records import HazardNote
from gradfix.analysis.domain.state import Stamp, State
from gradfix.analysis.domain.values import Tensor
from gradfix.analysis.facts import Tracked, WriteForm
from gradfix.findings import HazardKind
from gradfix.torch_ops import ViewKind


def used(m: Machine, state: State, operands: Iterable[Tensor]) -> None:
    """An operation records these: writes since they were made, to views of that kind, are hazards."""
    if state.grad is Tracked.NO or not state.log:
        return
    for tensor in operands:
        kind = _kind(tensor)
        level = strongest([tracked_of(state.nodes.get(s)) for s in tensor.storages])
        if kind is None or level is Tracked.NO:
            continue
        certain = level is Tracked.YES and state.grad is Tracked.YES and len(tensor.storages) == 1
        certain = certain and (tensor.view is ViewKind.MULTI or is_surely_view(tensor))
        note = HazardNote(kind, last_op(tensor), tensor.made_by, split=tensor.split_by, of_base=True)
        for storage in tensor.storages:
            stamp = state.log.get(storage)
            while stamp is not None and stamp.tick > tensor.born:
                _note(m, stamp, note, certain=certain)
                stamp = stamp.before


def _kind(tensor: Tensor) -> HazardKind | None:
    if not tensor.known or tensor.silent:
        return None
    if tensor.view is ViewKind.MULTI:
        return HazardKind.MULTI_VIEW_WRITTEN
    return HazardKind.NO_GRAD_VIEW_WRITTEN if tensor.no_grad_view and tensor.view is ViewKind.VIEW else None


def _note(m: Machine, stamp: Stamp, note: HazardNote, *, certain: bool) -> None:
    record = m.notes.writes.get(stamp.visit.key)
    if record is None or record.form in (WriteForm.DATA, WriteForm.ARRAY):
        return
    follows = tuple(m.arms) == stamp.arms[: len(m.arms)]  # whoever comes by the write comes by here
    m.notes.add_hazard(
        record,
        note,
        stamp.visit.passage,
        certain and stamp.visit.certain and len(stamp.visit.storages) == 1 and follows,
    )
