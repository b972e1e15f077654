"""Batches that nobody sees: under `torch.vmap` a tensor stands for one example, or is the same for all of them.

Measured (2.13): what an operation computes has a batch where one of its operands has one; so have `zeros_like` and
`new_zeros` of such a tensor, while `torch.zeros`, `y.clone()` and `y.to(x)` of one without have none. A write into
memory without a batch raises for every value, mask and index that has one, whatever the size of the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import HazardNote, WriteRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Batch, Const, Container, Number, Symbol, Tensor, Value
from gradfix.analysis.hazards import raised
from gradfix.findings import HazardKind

_UNKNOWN = Batch()
# What they compute has the batch of their first operand: the others tell a shape, a dtype or a device.
_OF_FIRST = frozenset("to type_as view_as expand_as reshape_as zeros_like ones_like empty_like full_like".split())
_DEPTH = 4  # containers in containers


def batch_of(tensor: Tensor) -> Batch:
    """What is surely known of every memory that it may show."""
    found = [storage.batch or _UNKNOWN for storage in tensor.storages]
    inside = frozenset.intersection(*(batch.inside for batch in found))
    return Batch(inside, frozenset.intersection(*(batch.outside for batch in found)))


def carry(m: Machine, state: State, op: str, operands: Sequence[Value], results: Iterable[Tensor]) -> None:
    """Let the results of an operation have the batches of its operands."""
    if not m.maps:
        return
    parts = [_of_value(state, value, _DEPTH) for value in (operands[:1] if op in _OF_FIRST else operands)]
    known = [part for part in parts if part is not None]
    inside = frozenset[int]().union(*(part.inside for part in known))
    outside = frozenset.intersection(*(part.outside for part in known)) if known else frozenset[int]()
    put(results, Batch(inside, outside))


def put(results: Iterable[Tensor], batch: Batch) -> None:
    """Remember the batch of memory that was made just now."""
    for tensor in results:
        for storage in tensor.storages:
            storage.batch = storage.batch or batch


def alone(m: Machine) -> Batch:
    """The batch of what is made out of nothing: none of those around."""
    return Batch(outside=frozenset(m.maps))


def written(m: Machine, state: State, record: WriteRecord, tensor: Tensor, values: Iterable[Value]) -> None:
    """A write of `values` to `tensor`, by values or by where they go."""
    outside = batch_of(tensor).outside if m.maps else frozenset[int]()
    if not outside:
        return
    parts = (_of_value(state, value, _DEPTH) for value in values)
    if any(part is not None and not part.inside.isdisjoint(outside) for part in parts):
        made = tensor.storage.made_by if len(tensor.storages) == 1 else None
        note = HazardNote(HazardKind.VMAP_WRITTEN, "vmap", made)
        raised.note(m, record, note, certain=tensor.known and not m.uncertain_loop)


def _of_value(state: State, value: Value, depth: int) -> Batch | None:
    """The batch of an operand; None for what has none because it is no tensor."""
    if isinstance(value, Tensor):
        return batch_of(value)
    if isinstance(value, (Const, Number, Symbol)):
        return None
    held = state.items.get(value) if isinstance(value, Container) and depth else None
    if held is None:
        return _UNKNOWN
    parts = [part for item in held.values if (part := _of_value(state, item, depth - 1)) is not None]
    inside = frozenset[int]().union(*(part.inside for part in parts)) if held.exact else frozenset[int]()
    outside = [part.outside for part in parts] if held.exact else [frozenset[int]()]
    return Batch(inside, frozenset.intersection(*outside)) if parts else None if held.exact else _UNKNOWN
