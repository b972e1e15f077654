"""What a function hands on, as its summary tells it: values over memory, and where graphs end behind them."""

from __future__ import annotations

import ast

from gradfix.analysis.across.played import Played
from gradfix.analysis.cut_kinds import Elsewhere
from gradfix.analysis.domain.graph import Node, NodeKind, reachable
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import CutRecord
from gradfix.analysis.domain.values import (
    Array,
    Const,
    Container,
    Flows,
    Instance,
    Layer,
    Number,
    Storage,
    Tensor,
    Value,
    options,
)
from gradfix.analysis.effects import Built, Returned
from gradfix.analysis.facts import Tracked
from gradfix.analysis.graph_ends import Behind, Severed
from gradfix.analysis.hazards import cuts
from gradfix.analysis.interpreter.objects_elsewhere import class_name
from gradfix.analysis.outcome.cut_facts import head
from gradfix.analysis.text.one_line import one_line

_MOST_ITEMS = 8


def returned(played: Played, value: Value, depth: int) -> Returned:
    """A value that a function returns; the memories it hands out are noted in `played`."""
    if isinstance(value, Tensor):
        return _tensor(played, value)
    if isinstance(value, Number):
        return Returned("number", type=value.type, behind=behind(played, value.flows))
    if isinstance(value, Array):
        return Returned("array", behind=behind(played, value.flows))
    if isinstance(value, Const) and isinstance(value.value, (bool, int, float, str, type(None))):
        return Returned("constant", value=value.value)
    if isinstance(value, Container) and depth and (made := _container(played, value, depth)) is not None:
        return made
    if isinstance(value, Layer):
        return _layer(played, value)
    if isinstance(value, Instance) and (name := class_name(played.m, value)):
        return Returned("object", type=name)
    several = options(value)
    if len(several) > 1 and depth:
        return Returned("one of", items=tuple(returned(played, option, depth - 1) for option in several))
    return Returned("unknown")


def _container(played: Played, container: Container, depth: int) -> Returned | None:
    held = played.state.items.get(container)
    if held is None or not held.exact or len(held.values) > _MOST_ITEMS:
        return None
    items = tuple(returned(played, item, depth - 1) for item in held.values)
    if container.kind in ("tuple", "list", "deque", "layers"):
        return Returned("list" if container.kind == "deque" else container.kind, items=items)
    keys = tuple(key for key in held.keys or () if isinstance(key, str))
    return Returned("dict", items=items, keys=keys) if container.kind == "dict" and len(keys) == len(items) else None


def _layer(played: Played, layer: Layer) -> Returned:
    """A layer of torch.nn; one that works in place is mended where it is made."""
    if layer.inplace:
        return Returned("unknown")
    levels = {node.tracked for w in layer.weights if (node := played.state.nodes.get(w)) is not None}
    learns = "yes" if Tracked.YES in levels else "maybe" if Tracked.MAYBE in levels else "no"
    chance = layer.chance.value if isinstance(layer.chance, Const) else None
    number = float(chance) if isinstance(chance, (int, float)) else None
    return Returned("layer", built=Built(layer.name, learns, layer.settings, number))


def _tensor(played: Played, tensor: Tensor) -> Returned:
    places = []
    for storage in tensor.storages:
        if played.place(storage) is None:
            played.memories.append(storage)
        places.append(played.place(storage))
    if not tensor.known and any(place < 0 for place in places if place is not None):
        return Returned("unknown")
    node = played.state.node_of(tensor)
    detached = tensor.detached and (node is None or node.kind is not NodeKind.OP)
    dtype = tensor.dtype if tensor.dtype is not None and not tensor.dtype.startswith("?") else None
    return Returned(
        "tensor",
        tuple(place for place in places if place is not None),
        view=tensor.view.value,
        detached=detached,
        expanded=tensor.expanded,
        dtype=dtype,
        floating=tensor.floating,
        behind=behind(played, cuts.flows_of(played.state, tensor)) if detached else Behind(),
    )


def behind_memory(played: Played, memory: Storage) -> Behind:
    """Where graphs end behind a memory."""
    return behind(played, played.state.cuts.get(memory) or frozenset(), played.state.nodes.get(memory))


def behind(played: Played, flows: Flows, node: Node | None = None) -> Behind:
    """Where graphs end on the ways that `flows` tell of, behind what has the graph `node`."""
    unseen = any(n.kind is NodeKind.ASSUMED and n.op == "call" for n in reachable(node))
    keys = dict.fromkeys(key for key, _ in sorted(flows))
    records = [(key, played.m.notes.cuts[key]) for key in keys if key > 0]
    found = (_severed(played, record, straight=(key, False) not in flows) for key, record in records)
    return Behind(
        tuple(severed for severed in found if severed is not None),
        tuple((~key, (key, False) not in flows) for key in keys if key < 0),
        0 not in keys and not unseen,
    )


def _severed(played: Played, record: CutRecord, *, straight: bool) -> Severed | None:
    """A cut, where a graph may be cut by it: one of an argument, or surely one of the function's own."""
    before = (played.m.severed or {}).get(record.key)
    ends = {id(n): n for n in reachable(*(before or ())) if n.kind in (NodeKind.LEAF, NodeKind.ASSUMED)}
    when: tuple[int, ...] | None = tuple(place for place, node in played.nodes.items() if id(node) in ends)
    own = ends.keys() - set(map(id, played.nodes.values()))
    at_import = before is None and record.level is Tracked.YES
    if at_import or any(ends[key].tracked is Tracked.YES for key in own):
        when = None
    if when == ():
        return None
    place = record.origin or place_of(played.m, head(played.m, record.node))
    return Severed(record.kind.value, record.op, place, straight, when, record.through_numpy, record.in_numbers)


def place_of(m: Machine, node: ast.AST) -> Elsewhere:
    """Where a piece of the module stands, and its text, for readers of other files."""
    text = one_line(m.source.span_of(node).text(m.source.text))
    file = "" if m.imports is None else m.imports.file
    return Elsewhere(file, getattr(node, "lineno", 0), text)
