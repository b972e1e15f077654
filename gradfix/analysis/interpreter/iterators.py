"""Iterators of Python: `zip`, `enumerate`, `map` and their like, played at once."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from gradfix.analysis.domain import holders
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import outside
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import UNKNOWN, Const, Container, Method, Number, Origin, Suspended, Tensor, Value
from gradfix.analysis.interpreter import items as item_access


def iterator(m: Machine, state: State, name: str, args: Sequence[Value], at: ast.Call) -> Value:
    """`zip(…)`, `list(…)`, `map(…)` and the others."""
    if args and isinstance(args[0], Suspended) and name in ("enumerate", "iter"):
        return replace(args[0], numbered=args[0].numbered or name == "enumerate")
    if args and isinstance(args[0], Tensor) and args[0].known and name == "reversed":
        args = [m.call_value(state, Method(args[0], "flip"), [Const(0)], {}, at)]  # what Tensor.__reversed__ does
    made = Container(name if name in ("tuple", "deque") else "list")
    parts = [item_access.iterated(m, state, value, at) for value in args]
    if name == "enumerate" and parts:
        state.items[made] = _numbered(state, parts[0])
    elif name == "zip":
        state.items[made] = _zipped(state, parts)
    elif name == "map" and len(args) > 1:
        holders.keep(state, made, [v for part in parts[1:] for v in part.values])  # which it computes with later
        state.items[made] = _mapped(m, state, args[0], parts[1:], at)
    elif name in ("map", "filter"):
        state.items[made] = Items(parts[-1].values if parts else (UNKNOWN,), False)
    elif parts:
        values = tuple(reversed(parts[0].values)) if name == "reversed" else parts[0].values
        keep = name in ("list", "tuple", "deque", "iter")
        exact = parts[0].exact and (keep or name == "reversed")
        state.items[made] = Items(values, exact, least=parts[0].least, ordered=parts[0].ordered and keep)
    else:
        state.items[made] = Items((), True)
    return made


def _numbered(state: State, items: Items) -> Items:
    if items.ordered and items.values:
        last = len(items.values) - 1
        numbers = [Const(i) if i < last or items.exact else Number("int") for i in range(last + 1)]
        pairs = tuple(state.tuple_of(row) for row in zip(numbers, items.values, strict=True))
        return Items(pairs, items.exact, least=items.least, ordered=True)
    element = items.element()
    both = state.tuple_of((Number("int"), UNKNOWN if element is None else element))
    return Items((both,), False, least=items.least)


def _zipped(state: State, parts: Sequence[Items]) -> Items:
    if parts and all(part.exact for part in parts):
        rows = zip(*(part.values for part in parts), strict=False)
        return Items(tuple(state.tuple_of(row) for row in rows), True)
    least = min((part.least for part in parts), default=0)
    if any(part.ordered and part.values for part in parts):
        length = min(len(part.values) for part in parts if part.ordered and part.values)
        columns = [_column(state, part, length) for part in parts]
        rows = zip(*columns, strict=True)
        return Items(tuple(state.tuple_of(row) for row in rows), False, least=least, ordered=True)
    elements = [part.element() for part in parts]
    both = state.tuple_of([UNKNOWN if e is None else e for e in elements])
    return Items((both,), False, least=least)


def _column(state: State, items: Items, length: int) -> Sequence[Value]:
    """The first items, as far as they are known; of something unknown, as many of its items as are asked for."""
    if items.ordered and items.values:
        return items.values[:length]
    element = items.element()
    if isinstance(element, Tensor) and not element.known and element.storage.origin is Origin.OUTSIDE:
        return [element, *(outside(state, "item") for _ in range(length - 1))]
    return [UNKNOWN if element is None else element] * length


def _mapped(m: Machine, state: State, function: Value, parts: Sequence[Items], at: ast.Call) -> Items:
    """`map(function, …)`: called for each item, or for two of many."""
    rows = list(zip(*(part.values for part in parts), strict=False))
    exact = all(part.exact for part in parts) and len(rows) <= 6
    if not all(part.ordered for part in parts) or not rows:
        elements = [part.element() for part in parts]
        rows = [tuple(UNKNOWN if e is None else e for e in elements)] * 2
    values = tuple(m.call_value(state, function, list(row), {}, at) for row in rows[:6])
    return Items(values, exact, ordered=True)


def reduced(m: Machine, state: State, args: Sequence[Value], at: ast.Call) -> Value:
    """`functools.reduce(function, items, initial)`."""
    values = [*args[2:3], *item_access.iterated(m, state, args[1], at).values]
    result = values[0] if values else UNKNOWN
    for value in values[1:6]:
        result = m.call_value(state, args[0], [result, value], {}, at)
    return result
