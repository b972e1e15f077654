"""Who holds a tensor besides the names that are followed: containers, objects, calls, and what nobody looked into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import (
    HOLDING,
    KEEPING,
    Array,
    Choice,
    Container,
    Instance,
    Layer,
    Method,
    Opaque,
    Partial,
    Storage,
    Suspended,
    Tensor,
    Value,
    is_unknown,
    tensors,
)

_DEEP = 2  # a list of objects, an object with lists
_REMEMBERING = KEEPING | {Array}
_MOST = 16  # tensors that are remembered of one object


def keep(state: State, owner: Value, values: Iterable[Value]) -> None:
    """Let an object hold the tensors of these besides what is known of it."""
    if owner.__class__ not in KEEPING:
        return
    kept = state.kept.get(owner) or ()
    new = [tensor for tensor in tensors_within(state, *values) if tensor is not owner and tensor not in kept]
    if new and len(kept) < _MOST:
        state.kept[owner] = (*kept, *new)
    for tensor in new if len(kept) >= _MOST else ():
        escape(state, tensor)


def derived(state: State, value: Value, holds: Sequence[Tensor]) -> Value:
    """`value`, which may be one of these, or hold them."""
    if not holds:
        return value
    if is_unknown(value):
        return Opaque(holds=tuple(holds))
    if isinstance(value, Tensor):
        others = [tensor for tensor in holds if tensor is not value]
        value.holders = tuple(dict.fromkeys((*value.holders, *others)))[:_MOST]
    elif isinstance(value, Layer):
        keep(state, value, holds)
    elif isinstance(value, Choice):
        for option in tensors(value):
            derived(state, option, holds)
    return value


def escape(state: State, value: Value) -> None:
    """Remember that a value got where nobody can be asked who has it: an error, a module, a dictionary of names."""
    for tensor in tensors_within(state, value):
        for storage in tensor.storages:
            storage.escaped = True


def tensors_within(state: State, *values: Value) -> list[Tensor]:
    """The tensors that one gets at through these, and those that they may be, a few of them."""
    found: dict[Tensor, None] = {}
    waiting: list[tuple[Value, int]] = []
    for value in values:
        if isinstance(value, Tensor):
            _found(state, value, found)
        elif value.__class__ in HOLDING:
            waiting.append((value, _DEEP))
    while waiting and len(found) < _MOST:
        value, depth = waiting.pop()
        inner = (*(item for _, item in held_in(state, value)), *perhaps_held_in(state, value), *tensors(value))
        for item in inner[:_MOST]:
            if isinstance(item, Tensor):
                _found(state, item, found)
            elif depth and item.__class__ in HOLDING and item is not value:
                waiting.append((item, depth - 1))
    return list(found)


def _found(state: State, tensor: Tensor, found: dict[Tensor, None]) -> None:
    """Add a tensor, and what it may be: that holds nothing more."""
    found[tensor] = None
    for held in perhaps_held_in(state, tensor) if tensor.holders or state.kept else ():
        if isinstance(held, Tensor):
            found[held] = None


def held_in(state: State, value: Value) -> list[tuple[str, Value]]:
    """What one gets at through `value`, with the end of its name: items, attributes, what a call was given before."""
    if isinstance(value, Tensor):
        return []
    if isinstance(value, Container) and (items := state.items.get(value)):
        return [("", item) for item in items.values]
    if isinstance(value, Instance):  # one whose constructor waits holds nothing that was written since
        return [(f".{name}", item) for name, item in (state.attributes.get(value) or {}).items()]
    if isinstance(value, Method):
        return [("", value.receiver)]
    if isinstance(value, (Partial, Suspended)):
        return [("", item) for item in (value.callee, *value.args, *dict(value.keywords).values())]
    if isinstance(value, Array) and value.memory is not None:
        return [("", value.memory)]
    if isinstance(value, Choice):
        return [("", option) for option in value.options if not isinstance(option, Tensor)]
    return []


def weight(storage: Storage) -> Tensor:
    """A parameter of a layer, which holds the same object since it was made."""
    held = Tensor((storage,))
    held.born = 0
    return held


def perhaps_held_in(state: State, value: Value) -> tuple[Value, ...]:
    """What one may get at through `value`: what it was handed where nobody followed, or what it was made of."""
    kind = value.__class__
    if kind not in _REMEMBERING:
        return ()
    kept = (state.kept.get(value) or ()) if kind in KEEPING and state.kept else ()
    own: tuple[Value, ...] = ()
    if isinstance(value, (Tensor, Array)):
        own = value.holders
    elif isinstance(value, Opaque):
        own = value.holds
    return (*own, *kept) if kept else own
