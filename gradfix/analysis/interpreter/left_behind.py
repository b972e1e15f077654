"""What a call leaves to others: tensors that it put where somebody gets at them when it has returned.

Whoever they are, they see in such a tensor what is written to its memory later. Nobody here can give them another one.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.domain.graph import in_order
from gradfix.analysis.domain.holders import tensors_within
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Opaque, Origin, Tensor, Value
from gradfix.analysis.facts import Obstacle, ObstacleKind


def note(m: Machine, before: State, after: State) -> None:
    """Let writes know of the tensors that miss them and that others have; `before`: where the call began."""
    if not after.log:
        return
    held = (tensor for value in _put_there(m, before, after) for tensor in tensors_within(after, value))
    missed = {visit: None for tensor in held if after.may_miss(tensor) for visit in after.missed(tensor)}
    for visit in in_order(missed):
        if (record := m.notes.writes.get(visit.key)) is not None:
            record.add_obstacle(Obstacle(ObstacleKind.ESCAPED, m.spelling(record.target), certain=False))


def _put_there(m: Machine, before: State, after: State) -> Iterator[Value]:
    """What was put into objects that were there before, or that nobody knows, and into variables of others."""
    for container in before.items.changed(after.items)[0]:
        if container in before.items and (items := after.items.get(container)) is not None:
            yield from items.values
    for owner in before.attributes.changed(after.attributes)[0]:
        if owner in before.attributes or _is_from_outside(owner):
            yield from (after.attributes.get(owner) or {}).values()
    for keeper in before.kept.changed(after.kept)[0]:
        if keeper in before.items or keeper in before.attributes or _is_from_outside(keeper):
            yield from after.kept.get(keeper) or ()
    for frame, name in before.variables.changed(after.variables)[0]:
        value = after.variables.get((frame, name)) if frame != m.scope.frames[0] else None
        if value is not None and (frame, name) in before.variables:
            yield value


def _is_from_outside(owner: Value) -> bool:
    if isinstance(owner, Tensor):
        return any(storage.origin in (Origin.ARGUMENT, Origin.OUTSIDE) for storage in owner.storages)
    return isinstance(owner, Opaque)
