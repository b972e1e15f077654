"""Items: reading `base[index]`, and what iterating a value gives."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from itertools import islice

from gradfix.analysis.domain.graph import Node
from gradfix.analysis.domain.holders import derived, tensors_within
from gradfix.analysis.domain.indexing import (
    calls_itself_mask,
    constant_bounds,
    index_items,
    indexed_shape,
    is_basic,
    is_key,
)
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import graph_node, part_of, result_tensor, save, view_of
from gradfix.analysis.domain.records import join_index
from gradfix.analysis.domain.state import Items, State, any_item, at_most_twice, merge
from gradfix.analysis.domain.values import (
    UNKNOWN,
    WHOLE_ARGUMENT,
    Array,
    Choice,
    Class,
    Const,
    Container,
    Instance,
    Method,
    Number,
    Origin,
    Suspended,
    Symbol,
    Tensor,
    Unknown,
    Value,
    options,
)
from gradfix.analysis.facts import IndexItem, IndexKind, Tracked
from gradfix.analysis.hazards import batches, cuts
from gradfix.analysis.imports import Described
from gradfix.analysis.interpreter import classes, protocols
from gradfix.torch_ops import ViewKind

_REPEATED = 64  # items of `[y] * n` that are told apart


def subscript(
    m: Machine, state: State, base: Value, node: ast.Subscript, evaluate: Callable[[ast.expr], Value]
) -> Value:
    """`base[index]`, read."""
    if isinstance(base, (Symbol, Class)):
        return UNKNOWN if isinstance(base, Symbol) and _is_kernel(m, base) else base
    items = index_items(node.slice, evaluate, lambda held: _parts_of(state, held))
    result: Value | None = None
    for option in options(base):
        value = _item_of(m, state, option, items, node)
        result = value if result is None else merge(result, value)
    return UNKNOWN if result is None else result


def _is_kernel(m: Machine, of: Symbol) -> bool:
    """Whether a function of another file stands under the name: of classes alone an item is the class (`Grid[int]`).

    What `kernel[grid](x)` does, a compiler of its own decides, which a decorator hands the function to.
    """
    found = None if m.imports is None or of.name.startswith("torch.") else m.imports.find(of.name)
    return found is not None and not isinstance(found, Described)


def index_of(m: Machine, state: State, target: ast.Subscript) -> tuple[IndexItem, ...]:
    """The items of the index in `target`, which is written to."""
    return index_items(target.slice, lambda part: index_value(m, state, part), lambda held: _parts_of(state, held))


def _parts_of(state: State, held: Container) -> tuple[Value, ...]:
    """What a tuple holds; something unknown for what isn't known of it."""
    items = state.items.get(held)
    if items is None or not items.exact:
        return (*(() if items is None else items.values), UNKNOWN)
    return items.values


def index_value(m: Machine, state: State, part: ast.expr) -> Value:
    """What stands in an index. A tensor there holds integers or bools, which have no graph."""
    value = m.evaluate(state, part)
    for tensor in (value,) if isinstance(value, Tensor) and value.dtype is None else ():
        state.reset(tensor)
        for storage in tensor.storages:
            node = state.nodes.get(storage)
            if node is not None and node.tracked is Tracked.MAYBE:
                state.nodes[storage] = None
    if isinstance(value, Tensor) and value.dtype is None:
        value.dtype = f"{WHOLE_ARGUMENT}index"
    return value


def _item_of(m: Machine, state: State, base: Value, items: tuple[IndexItem, ...], node: ast.Subscript) -> Value:
    if isinstance(base, Tensor):
        known = m.notes.read_indices.get(id(node))
        m.notes.read_indices[id(node)] = items if known is None else join_index(known, items)
        base.entries = base.entries or any(is_name(m, state, item) for item in items)
        if not base.known and is_key(items):
            return _memo_item(m, state, base, node)
        return indexed(m, state, base, items, node)
    if isinstance(base, Instance) and (held := classes.items_of(state, base)) is not None:
        position = held.position(m.look(state, node.slice))
        return UNKNOWN if position is None else held.values[position]
    if isinstance(base, Instance) and base.info is not None and base.info.method("__getitem__") is not None:
        return protocols.special(m, state, base, "__getitem__", [m.look(state, node.slice)], node) or UNKNOWN
    if isinstance(base, Instance):
        return _anything_of(state, base)
    if isinstance(base, Container):
        return _container_item(m, state, base, node)
    if isinstance(base, Const) and isinstance(base.value, (tuple, list)):
        index = items[0].value if len(items) == 1 else None
        if index is not None and -len(base.value) <= index < len(base.value):
            return Const(base.value[index])
        return Number("int") if all(isinstance(v, int) for v in base.value) else UNKNOWN
    if isinstance(base, Method) and base.name == "shape":
        return Number("int")
    if isinstance(base, Array) and base.memory is not None and is_basic(items) is True:
        return replace(base)
    if isinstance(base, (Array, Number)) and (flows := cuts.flows_of(state, base)):
        return Number(None, True, flows=flows)
    return UNKNOWN


def is_name(m: Machine, state: State, item: IndexItem) -> bool:
    """True for a string in an index: `batch["x"]`, `td[key, "x"]`."""
    if item.kind is not IndexKind.UNKNOWN:
        return False
    held = m.look(state, item.node)
    return isinstance(held, Const) and isinstance(held.value, str)


def indexed(m: Machine, state: State, base: Tensor, items: tuple[IndexItem, ...], node: ast.AST) -> Tensor:
    """`base[items]` of a tensor: a view for basic indices, else a copy.

    What is only called a mask is taken for one; a slice may go by that name, so others may see what is written.
    """
    basic = is_basic(items)
    named = basic is None and calls_itself_mask(items)
    shape = indexed_shape(base.shape, items)
    if basic is not False and not named:
        return view_of(state, base, ViewKind.VIEW if basic else ViewKind.MAYBE, "getitem", node, shape=shape)
    graph = graph_node(state, "index", (base,), node)
    if graph is not None:
        for item in items:
            if item.kind in (IndexKind.MASK, IndexKind.TENSOR):
                save_index(m, state, graph, item.node, node)
    origin = Origin.OUTSIDE if named else Origin.FRESH
    made = result_tensor(state, graph, node, known=base.known, dtype=base.dtype, shape=shape, origin=origin)
    if state.cuts or base.flows:
        cuts.put(state, (made,), cuts.flows_of(state, base))
    if m.maps:
        places = [m.look(state, item.node) for item in items if not isinstance(item.node, ast.Slice)]
        batches.carry(m, state, "index", (base, *places), (made,))
    made.floating = base.floating
    return made


def save_index(m: Machine, state: State, graph: Node, index: ast.expr, at: ast.AST) -> None:
    """The tensor of an advanced index is kept for backward too."""
    # The index was evaluated already; only names can be written later, and their tensors are found in the frames.
    if isinstance(index, ast.Name):
        for frame in m.scope.frames:
            value = state.variables.get((frame, index.id))
            if isinstance(value, Tensor) and value.known:
                m.notes.add_operand(at, index, value)
                save(state, graph, value, "index", at, graph.tracked, result=False)
                return


def _memo_item(m: Machine, state: State, base: Tensor, node: ast.Subscript) -> Value:
    """`d[key]` of something unknown: the same key gives the same object; it may be a view of `d`."""
    key = f"[{m.spelling(node.slice)}]"
    slots = state.attributes_of(base)
    if key not in slots:
        own = part_of(state, base, m.spelling(node))
        item = Tensor((own.storage, *base.storages), known=False, view=ViewKind.MAYBE, choice=object())
        item.holders = base.holders
        slots[key] = item
    return slots[key]


def _container_item(m: Machine, state: State, base: Container, node: ast.Subscript) -> Value:
    held = state.items.get(base)
    if held is None:
        return UNKNOWN
    if isinstance(node.slice, ast.Slice):
        bounds = constant_bounds(node.slice) if held.exact else None
        part = Items(held.values, False) if bounds is None else Items(held.values[bounds], True)
        return state.container(base.kind, part)
    index = m.look(state, node.slice)
    position = held.position(index)
    if position is not None:
        return held.values[position]
    if base.default is not None and held.exact:
        return _made_by_default(m, state, base, held, index, node)
    place = index.value if isinstance(index, Const) and type(index.value) is int else None
    lasting = place is not None and (place >= 0 or (place == -1 and held.least >= len(held.values)))
    if lasting and held.ordered and len(held.values) > 1:  # one of those that the last stands for
        last = held.values[-1]
        if not isinstance(last, Tensor):
            return last
        one = replace(last, choice=(id(base), place))
        if missed := state.missed(last):
            state.late[one] = missed
        return one
    element = any_item(state, held)
    return UNKNOWN if element is None else _blameless(element)


def _blameless(item: Value) -> Value:
    """One of several items; that the one asked for is no tensor isn't known where others are tensors."""
    if not isinstance(item, Choice) or not any(isinstance(option, Tensor) for option in item.options):
        return item
    return Choice(tuple(replace(o, flows=frozenset()) if isinstance(o, (Array, Number)) else o for o in item.options))


def _call_of_default(m: Machine, at: ast.Subscript) -> ast.Call:
    """The call that `d[key]` stands for, the same each time the interpreter comes by."""
    key = id(at), "default", 0
    if key not in m.notes.hook_calls:
        m.notes.owners.append(at)
        m.notes.hook_calls[key] = ast.copy_location(ast.Call(at.value, [], []), at)
    return m.notes.hook_calls[key]


def _made_by_default(m: Machine, state: State, base: Container, held: Items, key: Value, node: ast.Subscript) -> Value:
    """`d[key]` of a defaultdict that doesn't have the key; of one that isn't known, two of those it may make."""

    def made() -> Value:
        default = UNKNOWN if base.default is None else base.default
        return m.call_value(state, default, [], {}, _call_of_default(m, node))

    if isinstance(key, Const):
        item = made()
        state.items[base] = Items((*held.values, item), True, (*(held.keys or ()), key.value))
        return item
    either = Items(at_most_twice((*held.values, made(), made())), False)
    state.items[base] = either
    return any_item(state, either) or UNKNOWN


def _is_any(item: Tensor) -> bool:
    """True for an item that was written by a position which may be any."""
    return item.choice is not None and len(item.storages) == 1


def iterated(m: Machine, state: State, value: Value, node: ast.expr) -> Items:
    """What iterating a value gives."""
    if isinstance(value, Suspended):
        return m.collected(state, value)
    if isinstance(value, Instance):
        own = protocols.iterator(m, state, value, node)
        if own is not value:
            return iterated(m, state, own, node)
        return classes.items_of(state, value) or Items((_anything_of(state, value),), False)
    if isinstance(value, Container):
        held = state.items.get(value)
        if held is None:
            return Items((), False)
        if value.kind in ("dict", "modules") and held.keys:
            return Items(tuple(map(Const, held.keys)), True)
        whole = tuple(replace(v, choice=None) if isinstance(v, Tensor) and _is_any(v) else v for v in held.values)
        return held if whole == held.values else Items(whole, held.exact, held.keys, held.least, ordered=held.ordered)
    if isinstance(value, Const) and isinstance(value.value, (tuple, list, range)):
        length = len(value.value)
        first = tuple(Const(v) for v in islice(value.value, 64 if length <= 64 else 3))
        return Items(first, length == len(first), least=length, ordered=True)
    if isinstance(value, Tensor) and value.known:
        shape = None if value.shape is None else value.shape[1:]
        least = (value.shape[0] or 0) if value.shape else 0
        return Items((view_of(state, value, ViewKind.MULTI, "unbind", node, shape=shape),), False, least=least)
    if isinstance(value, Tensor):
        return Items((part_of(state, value, "item"),), False)
    if value.__class__ is Unknown and value.inside is not None:
        return Items((value,), False)
    if isinstance(value, Method):
        return Items((UNKNOWN,), False)
    if isinstance(value, (Array, Number)) and (flows := cuts.flows_of(state, value)):
        return Items((Number(None, True, flows=flows),), False)
    if isinstance(value, Choice):
        parts = [iterated(m, state, option, node) for option in value.options]
        if all(part.exact for part in parts) and len({len(part.values) for part in parts}) == 1:
            rows = zip(*(part.values for part in parts), strict=True)
            return Items(tuple(reduce(merge, row) for row in rows), True)
        return Items(tuple(dict.fromkeys(v for part in parts for v in part.values)), False)
    return Items((UNKNOWN,), False)


def _anything_of(state: State, owner: Instance) -> Value:
    """An item of an object whose class doesn't say what its items are."""
    return derived(state, UNKNOWN, tensors_within(state, *state.slots(owner).values()))


def concatenated(state: State, left: Container, right: Container) -> Container:
    """`left + right` of two sequences."""
    a, b = state.items.get(left), state.items.get(right)
    values = (*(a.values if a else ()), *(b.values if b else ()))
    ordered = bool(a and b and a.exact and b.ordered)
    return state.container(left.kind, Items(values, bool(ordered and b and b.exact), ordered=ordered))


def repeated(state: State, sequence: Container, times: Value) -> Container:
    """`sequence * times`: the same objects again, so that what is given to one item is missed by the others."""
    items = state.items.get(sequence) or Items((), False)
    count = times.value if isinstance(times, Const) else None
    if items.exact and isinstance(count, int) and len(items.values) * count <= _REPEATED:
        return state.container(sequence.kind, Items(items.values * count, True))
    return state.container(sequence.kind, Items(at_most_twice(items.values * 2), False))
