"""Functions mapped over a batch: `torch.vmap(f, in_dims=(0, None))(xs, w)`."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import result_tensor
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import NONE, UNKNOWN, Batch, Const, Container, Origin, Storage, Tensor, Value, now
from gradfix.analysis.hazards import batches, cuts
from gradfix.torch_ops import ViewKind

_DEPTH = 4  # containers in containers


def call(
    m: Machine,
    state: State,
    callee: Value,
    axes: Value,
    given: Sequence[Value],
    keywords: Mapping[str, Value],
    at: ast.Call,
) -> Value:
    """What the mapped function returns for all examples, after it has been played on one of them."""
    level = now()
    for storage, _ in state.nodes.items():  # all there is so far is the same for every example
        known = storage.batch or Batch()
        storage.batch = Batch(known.inside, known.outside | {level})
    of_each = _parts(state, axes, len(given))
    handed = [_example(state, v, axis, level, _DEPTH) for v, axis in zip(given, of_each, strict=True)]
    named = {name: _example(state, value, Const(0), level, _DEPTH) for name, value in keywords.items()}
    around, m.maps = m.maps, (*m.maps, level)
    covered, m.defined.covered = m.defined.covered, set()
    result = m.call_value(state, callee, handed, named, at)
    for value, example in zip((*given, *keywords.values()), (*handed, *named.values()), strict=True):
        _save_whole(state, value, example)
    m.defined.mapped |= m.defined.covered
    m.maps, m.defined.covered = around, covered | m.defined.covered
    return _gathered(state, result, level, at, _DEPTH)


def _parts(state: State, axes: Value, count: int) -> Sequence[Value]:
    """The axes of `count` values: one for all of them, or each its own; unknown where they don't fit."""
    if isinstance(axes, Const) and not isinstance(axes.value, (tuple, list)):
        return [axes] * count
    held = state.items.get(axes) if isinstance(axes, Container) else None
    values: Sequence[Value] = ()
    if isinstance(axes, Const) and isinstance(axes.value, (tuple, list)):
        values = [Const(axis) for axis in axes.value]
    elif held is not None and held.exact:
        values = held.values
    return values if len(values) == count else [UNKNOWN] * count


def _example(state: State, value: Value, axis: Value, level: int, depth: int) -> Value:
    """`value` as the function sees it, mapped along `axis`."""
    if axis == NONE:
        return value
    if isinstance(value, Container) and depth and (held := state.items.get(value)) is not None:
        parts = zip(held.values, _parts(state, axis, len(held.values)), strict=True)
        values = tuple(_example(state, item, own, level, depth - 1) for item, own in parts)
        return state.container(value.kind, Items(values, held.exact, held.keys, held.least, ordered=held.ordered))
    if not isinstance(value, Tensor):
        return value
    place = axis.value if isinstance(axis, Const) and type(axis.value) is int else None
    known = batches.batch_of(value)
    storage = Storage(Origin.ARGUMENT, value.storage.name)
    if place is not None:
        storage.batch = Batch(known.inside | {level}, known.outside - {level})
    state.nodes[storage] = state.node_of(value)
    shape = value.shape
    if shape is not None:
        fits = place is not None and -len(shape) <= place < len(shape)
        shape = tuple(size for i, size in enumerate(shape) if i != (place or 0) % len(shape)) if fits else None
    made = Tensor((storage,), value.known, value.dtype, value.floating, shape, device=value.device)
    cuts.put(state, (made,), cuts.flows_of(state, value))
    return made


def _save_whole(state: State, value: Value, example: Value) -> None:
    """What was saved of an `example` was saved of the whole batch."""
    if not isinstance(value, Tensor) or not isinstance(example, Tensor) or value.storages == example.storages:
        return
    for save, must in list((state.saves.get(example.storage) or {}).items()):
        for storage in value.storages:
            sure = save.certain and len(value.storages) == 1
            state.saves_of(storage)[replace(save, storage=storage, certain=sure)] = must


def _gathered(state: State, result: Value, level: int, at: ast.Call, depth: int) -> Value:
    """The results of all examples, in the form that one has."""
    if isinstance(result, Container) and depth and (held := state.items.get(result)) is not None:
        values = tuple(_gathered(state, item, level, at, depth - 1) for item in held.values)
        return state.container(result.kind, Items(values, held.exact, held.keys, held.least, ordered=held.ordered))
    if not isinstance(result, Tensor):
        return UNKNOWN
    known = batches.batch_of(result)
    outside = Batch(known.inside - {level}, known.outside - {level})
    if level in known.inside:  # the memory of the examples was that of the whole batch all the time
        for storage in result.storages:
            storage.batch = outside
        return replace(result, shape=None, view=ViewKind.MAYBE if result.is_view else result.view, path=())
    made = result_tensor(state, state.node_of(result), at, known=result.known, dtype=result.dtype, device=result.device)
    made.floating = result.floating
    batches.put((made,), outside)
    cuts.put(state, (made,), cuts.flows_of(state, result))
    return made
