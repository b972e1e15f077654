"""Methods of lists, tuples, sets and dictionaries, of which the analysis knows the items."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gradfix.analysis.domain.holders import keep
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import Items, State, any_item, at_most_twice
from gradfix.analysis.domain.values import NONE, UNKNOWN, Const, Container, Value
from gradfix.analysis.interpreter import items as item_access
from gradfix.analysis.interpreter import module_methods
from gradfix.analysis.interpreter.one_of import in_one_of
from gradfix.analysis.operators import objects


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a method."""

    m: Machine
    state: State
    receiver: Container
    items: Items  # of the receiver
    name: str
    args: Sequence[Value]
    at: ast.Call

    def hold(self, items: Items) -> Value:
        """Let the receiver hold these from now on."""
        self.state.hold(self.receiver, items)
        return NONE

    def given(self, place: int) -> Items:
        """The items of an argument."""
        return item_access.iterated(self.m, self.state, self.args[place], self.at)


def call(
    m: Machine,
    state: State,
    receiver: Container,
    name: str,
    args: Sequence[Value],
    keywords: Mapping[str, Value],
    at: ast.Call,
) -> Value:
    """Call `receiver.name(…)`."""
    keep(state, receiver, keywords.values())
    if name == "update" and keywords:
        args = [*args, state.container("dict", Items(tuple(keywords.values()), True, tuple(keywords)))]
    method = _METHODS.get(name)
    if method is None or len(args) < _LEAST.get(name, 0):
        return UNKNOWN
    return method(_Call(m, state, receiver, state.items.get(receiver) or Items((), False), name, args, at))


def call_of_one(
    m: Machine,
    state: State,
    rows: Value,
    name: str,
    args: Sequence[Value],
    keywords: Mapping[str, Value],
    at: ast.Call,
) -> None:
    """Call the method of one of many lists: `buckets[k].append(y)`."""

    def effect(after: State, row: Container) -> None:
        call(m, after, row, name, args, keywords, at)

    in_one_of(m, state, rows, effect)


def _append(call: _Call) -> Value:
    grown = call.items.exact and call.name == "append"
    values = (*call.items.values, call.args[0])
    return call.hold(Items(values if grown else at_most_twice(values), grown))


def _update(call: _Call) -> Value:
    """`d.update(other, h=y)`: what is given by name comes last, as a dictionary."""
    if any(keyword.arg is None for keyword in call.at.keywords) or not 0 < len(call.args) <= 2:
        return call.hold(Items(call.items.values, False))
    for given in call.args:
        _update_with(replace(call, items=call.state.items.get(call.receiver) or call.items, args=(given,)))
    return NONE


def _update_with(call: _Call) -> Value:
    own, other = call.items, call.state.items.get(call.args[0]) if isinstance(call.args[0], Container) else None
    if other is None or not (own.exact and other.exact) or own.keys is None or other.keys is None:
        given = call.given(0).values if other is None else other.values
        new = (_second(call.state, value) for value in given) if other is None or other.keys is None else given
        return call.hold(Items(at_most_twice((*own.values, *new)), False))
    merged = dict(zip((*own.keys, *other.keys), (*own.values, *other.values), strict=True))
    return call.hold(Items(tuple(merged.values()), True, tuple(merged)))


def _second(state: State, pair: Value) -> Value:
    """The value of a pair that a dictionary is updated with."""
    held = state.items.get(pair) if isinstance(pair, Container) else None
    return held.values[1] if held is not None and held.exact and len(held.values) == 2 else pair


def _extend(call: _Call) -> Value:
    more = call.given(0)
    sure = call.items.exact and more.exact and call.receiver.kind != "dict"
    return call.hold(Items((*call.items.values, *more.values), sure))


def _put_first(call: _Call) -> Value:
    """`d.appendleft(x)`, and `d.extendleft(xs)`, which turns them round."""
    more = Items((call.args[0],), True) if call.name == "appendleft" else call.given(0)
    return call.hold(Items((*reversed(more.values), *call.items.values), call.items.exact and more.exact))


def _reorder(call: _Call) -> Value:
    """`reverse()` and `rotate(1)`; after `sort()` nobody knows which is where, nor what `remove(x)` took."""
    values, turn = call.items.values, call.args[0] if call.args else Const(1)
    if call.name == "reverse":
        return call.hold(Items(values[::-1], call.items.exact))
    if call.name == "rotate" and values and isinstance(turn, Const) and type(turn.value) is int:
        place = -turn.value % len(values)
        return call.hold(Items((*values[place:], *values[:place]), call.items.exact))
    return call.hold(Items(values, False))


def _insert(call: _Call) -> Value:
    index, items = call.args[0], call.items
    place = index.value if isinstance(index, Const) and type(index.value) is int else None
    values = (*items.values[: place or 0], call.args[1], *items.values[place or 0 :])
    return call.hold(Items(values, items.exact and items.keys is None and place is not None))


def _rearrange(call: _Call) -> Value:
    """Other methods that change what they are called on: the order is unknown, and what there is of it."""
    places = range(0 if call.name in _ONLY_TAKING else len(call.args))
    more = [value for place in places for value in call.given(place).values]
    return call.hold(Items(at_most_twice((*call.items.values, *more)), False))


def _add_module(call: _Call) -> Value:
    name, items = call.args[0], call.items
    keys = (*items.keys, name.value) if items.keys is not None and isinstance(name, Const) else None
    return call.hold(Items((*items.values, call.args[1]), items.exact, keys))


def _items(call: _Call) -> Value:
    """`items()` of a dictionary: pairs."""
    items = call.items
    if call.receiver.kind not in ("dict", "modules"):
        return UNKNOWN
    if items.keys is not None:
        rows = zip(map(Const, items.keys), items.values, strict=True)
        return call.state.container("list", Items(tuple(map(call.state.tuple_of, rows)), items.exact))
    element = items.element()
    pair = call.state.tuple_of((UNKNOWN, UNKNOWN if element is None else element))
    return call.state.container("list", Items((pair,) if items.values else (), items.exact and not items.values))


def _keys(call: _Call) -> Value:
    exact = call.items.exact and call.items.keys is not None
    keys = tuple(map(Const, call.items.keys or ())) if exact else (UNKNOWN,)
    return call.state.container("list", Items(keys, exact))


def _values(call: _Call) -> Value:
    return call.state.container("list", call.items)


def _copy(call: _Call) -> Value:
    return call.state.container(call.receiver.kind, call.items)


def _pop(call: _Call) -> Value:
    items = call.items
    if call.receiver.kind == "dict":
        return _pop_key(call)
    index = call.args[0] if call.args else Const(0 if call.name == "popleft" else -1)
    position = items.position(index) if items.exact and items.keys is None and items.values else None
    if position is None:
        return _any_item(call)
    without_item(call.state, call.receiver, index)
    return items.values[position]


def _pop_key(call: _Call) -> Value:
    """`d.pop(key)`."""
    place = call.items.position(call.args[0]) if call.args else None
    taken = _get(call)
    without_key(call.state, call.receiver, call.args[0] if call.args and place is not None else UNKNOWN)
    return taken


def without_key(state: State, container: Container, key: Value) -> None:
    """`del d[key]`, or one key of them all where it isn't known."""
    held = state.items.get(container) or Items((), False)
    place = held.position(key) if held.keys is not None else None
    if place is None or held.keys is None:
        state.items[container] = Items(held.values, False)
        return
    keys = (*held.keys[:place], *held.keys[place + 1 :])
    state.items[container] = Items((*held.values[:place], *held.values[place + 1 :]), True, keys)


def without_item(state: State, container: Container, index: Value | None) -> None:
    """`del l[index]`, or of all items where that is None."""
    held = state.items.get(container) or Items((), False)
    if index is None:
        state.items[container] = Items((), True)
        return
    position = held.position(index) if held.exact and held.keys is None and held.values else None
    if position is None:
        state.items[container] = Items(held.values, False)
        return
    place = range(len(held.values))[position]
    state.items[container] = Items((*held.values[:place], *held.values[place + 1 :]), True)


def _pop_any(call: _Call) -> Value:
    taken = _any_item(call)
    without_key(call.state, call.receiver, UNKNOWN)
    return taken


def _clear(call: _Call) -> Value:
    return call.hold(Items((), True, () if call.receiver.kind == "dict" else None))


def _setdefault(call: _Call) -> Value:
    """`d.setdefault(key, value)`: what is there, else the value."""
    held, given = call.items, call.args[1] if len(call.args) > 1 else NONE
    if not call.args or held.position(call.args[0]) is not None:
        return _get(call)
    key = call.args[0]
    absent = held.exact and isinstance(key, Const) and len(held.keys or ()) == len(held.values)
    keys = (*(held.keys or ()), key.value) if absent and isinstance(key, Const) else None
    call.hold(Items((*held.values, given), True, keys) if keys else Items(at_most_twice((*held.values, given)), False))
    return given if absent else _any_item(call)


def _get(call: _Call) -> Value:
    position = call.items.position(call.args[0]) if call.args else None
    return _any_item(call) if position is None else call.items.values[position]


def _any_item(call: _Call) -> Value:
    element = any_item(call.state, call.items)
    return UNKNOWN if element is None else element


def _of_modules(call: _Call) -> Value:
    return module_methods.call(call.m, call.state, call.receiver, call.name, call.args, call.at)


_ONLY_TAKING = ("discard", "move_to_end", "difference_update", "intersection_update")
_METHODS: Mapping[str, Callable[[_Call], Value]] = {
    "append": _append,
    "add": _append,
    "update": _update,
    "extend": _extend,
    "insert": _insert,
    **dict.fromkeys(("appendleft", "extendleft"), _put_first),
    **dict.fromkeys(("reverse", "rotate", "sort", "remove"), _reorder),
    "add_module": _add_module,
    "items": _items,
    "keys": _keys,
    "values": _values,
    "copy": _copy,
    "pop": _pop,
    "popleft": _pop,
    "popitem": _pop_any,
    "clear": _clear,
    **dict.fromkeys((*_ONLY_TAKING, "symmetric_difference_update"), _rearrange),
    **dict.fromkeys(("get", "__getitem__"), _get),
    "setdefault": _setdefault,
    **dict.fromkeys(
        (*objects.OF_MODULES, "requires_grad_"),
        _of_modules,
    ),
}
# How many arguments a call must show for its effect to be known.
_LEAST: Mapping[str, int] = {
    "append": 1,
    "add": 1,
    "appendleft": 1,
    "extendleft": 1,
    "extend": 1,
    "insert": 2,
    "add_module": 2,
}
