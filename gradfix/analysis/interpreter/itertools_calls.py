"""Calls of `itertools`: what they hand on are the very objects that went in."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import (
    combinations,
    combinations_with_replacement,
    islice,
    pairwise,
    permutations,
    zip_longest,
)

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import Items, State, at_most_twice
from gradfix.analysis.domain.values import UNKNOWN, Const, Symbol, Value
from gradfix.analysis.interpreter import items as item_access

_MOST = 64  # items told apart
_PLAYED = 6  # calls of a function that is handed item after item


def call(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Mapping[str, Value], at: ast.Call
) -> Value | None:
    """`itertools.name(…)`; None where nothing is known of it."""
    parts = [item_access.iterated(m, state, value, at) for value in args] if name in _ITERATING else []
    if name == "repeat" and args:
        times = args[1] if len(args) > 1 else keywords.get("times")
        return state.container("list", _repeated(args[0], times))
    if name == "chain.from_iterable" and args:
        inner = item_access.iterated(m, state, args[0], at)
        parts = [item_access.iterated(m, state, value, at) for value in inner.values]
        return state.container("list", _joined(parts, whole=inner.exact))
    if name in _ITERATING and parts:
        return state.container("list", _ITERATING[name](state, parts))
    if name in (*_PICKS, "pairwise") and args:
        size = args[1] if len(args) > 1 else keywords.get("r", UNKNOWN)
        return state.container("list", _picked(state, name, item_access.iterated(m, state, args[0], at), size))
    if name == "accumulate" and args:
        return state.container("list", _accumulated(m, state, args, keywords, at))
    if name == "islice" and args:
        held = item_access.iterated(m, state, args[0], at)
        numbers = [value.value for value in args[1:] if isinstance(value, Const)]
        bounds = [number for number in numbers if number is None or isinstance(number, int)]
        known = held.exact and 0 < len(bounds) == len(args) - 1 < 4 and 0 not in bounds[2:]
        return state.container("list", Items(held.values[slice(*bounds)], True) if known else _loose(held))
    return None


def _accumulated(m: Machine, state: State, args: Sequence[Value], keywords: Mapping[str, Value], at: ast.Call) -> Items:
    """What each step gives, from the first item on; a sum, unless a function says otherwise."""
    function = args[1] if len(args) > 1 else keywords.get("func", Symbol("operator.add"))
    held = item_access.iterated(m, state, args[0], at)
    values = [*([keywords["initial"]] if "initial" in keywords else []), *held.values[:_PLAYED]]
    found = values[:1]
    for value in values[1:]:
        found.append(m.call_value(state, function, [found[-1], value], {}, at))
    return Items(tuple(found), held.exact and len(held.values) <= _PLAYED, ordered=held.ordered)


def _repeated(value: Value, times: Value | None) -> Items:
    """One object, again and again."""
    count = times.value if isinstance(times, Const) else None
    if isinstance(count, int) and count <= _MOST:
        return Items((value,) * count, True)
    return Items((value, value), False, ordered=True)


def _joined(parts: Sequence[Items], *, whole: bool = True) -> Items:
    values = tuple(value for part in parts for value in part.values)
    if whole and all(part.exact for part in parts):
        return Items(values, True)
    return Items(at_most_twice(values), False, least=sum(part.least for part in parts))


def _loose(items: Items) -> Items:
    return Items(items.values, False, ordered=items.ordered)


def _chained(state: State, parts: Sequence[Items]) -> Items:
    return _joined(parts)


def _cycled(state: State, parts: Sequence[Items]) -> Items:
    values = parts[0].values
    return Items(at_most_twice(values, values * 2), False)


def _paired(state: State, parts: Sequence[Items]) -> Items:
    """`zip_longest` and `product` of what is known; rows of anything else aren't told apart."""
    columns = [part.values or (UNKNOWN,) for part in parts]
    rows = [state.tuple_of(row) for row in zip_longest(*columns, fillvalue=UNKNOWN)]
    return Items(tuple(rows), all(part.exact for part in parts))


_PICKS: Mapping[str, Callable[[Iterable[Value], int], Iterable[tuple[Value, ...]]]] = {
    "combinations": combinations,
    "permutations": permutations,
    "combinations_with_replacement": combinations_with_replacement,
}


def _picked(state: State, name: str, items: Items, size: Value) -> Items:
    """`pairwise`, and rows of `size` out of the items; of many, the first rows."""
    if name == "pairwise":
        found: Iterable[tuple[Value, ...]] = pairwise(items.values)
    elif isinstance(size, Const) and isinstance(size.value, int) and size.value >= 0:
        found = _PICKS[name](items.values, size.value)
    else:
        return Items((UNKNOWN,), False)
    rows = list(islice(found, _MOST + 1))
    return Items(tuple(state.tuple_of(row) for row in rows[:_MOST]), items.exact and len(rows) <= _MOST)


_ITERATING: dict[str, Callable[[State, Sequence[Items]], Items]] = {
    "chain": _chained,
    "cycle": _cycled,
    "zip_longest": _paired,
}
