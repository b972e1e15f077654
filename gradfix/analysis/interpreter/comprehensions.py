"""What a comprehension makes: item by item where those it goes over are known, else two of many."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import Items, State, at_most_twice
from gradfix.analysis.domain.values import UNKNOWN, Const, Suspended, Value
from gradfix.analysis.interpreter import bindings
from gradfix.analysis.interpreter import items as item_access

Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
_PLAYED = 6  # items played one by one


def items(m: Machine, state: State, node: Comprehension) -> Items:
    """The items, in the frame made for the comprehension."""
    first, *inner = node.generators
    source = m.evaluate(state, first.iter)
    if isinstance(source, Suspended) and not inner:
        return _as_yielded(m, state, node, source)
    over = item_access.iterated(m, state, source, first.iter)
    if inner or first.ifs or not over.ordered or not over.values or m.exhausted:
        return _some(m, state, node, over)
    values = list(over.values)
    if len(values) > _PLAYED or (m.later_round and len(values) > 2):
        shortened = over.element()
        values = [values[0], UNKNOWN if shortened is None else shortened]
    exact = over.exact and len(values) == len(over.values)
    keys: list[Value] = []
    made = [_item(m, state, node, first, value, keys) for value in values]
    if len(values) == 1 and not exact:  # the second round meets what the first one saved
        made.append(_item(m, state, node, first, values[0], keys))
    if not isinstance(node, ast.DictComp):
        return Items(tuple(made), exact, least=over.least, ordered=True)
    known = [key.value for key in keys if isinstance(key, Const)]
    exact = exact and len(set(known)) == len(made)
    return Items(tuple(made), exact, tuple(known) if exact else None, over.least)


def _item(
    m: Machine, state: State, node: Comprehension, generator: ast.comprehension, value: Value, keys: list[Value]
) -> Value:
    bindings.bind(m, state, generator.target, value)
    if isinstance(node, ast.DictComp):
        keys.append(m.evaluate(state, node.key))
        return m.evaluate(state, node.value)
    return m.evaluate(state, node.elt)


def _as_yielded(m: Machine, state: State, node: Comprehension, source: Suspended) -> Items:
    """The items over a generator: each is made between one `yield` and the next."""
    generator = node.generators[0]
    made: list[Value] = []
    keys: list[Value] = []
    arms, loops = len(m.arms), m.open_loops
    exact = not generator.ifs and not isinstance(node, ast.DictComp)

    def each(current: State, value: Value) -> None:
        nonlocal exact
        exact = exact and len(m.arms) == arms and m.open_loops == loops
        bindings.bind(m, current, generator.target, value)
        for test in generator.ifs:
            m.evaluate(current, test)
        made.append(_item(m, current, node, generator, value, keys))

    m.run_generator(state, source, each)
    return Items(tuple(made) if exact else at_most_twice(made), exact, ordered=not isinstance(node, ast.DictComp))


def _some(m: Machine, state: State, node: Comprehension, over: Items) -> Items:
    made = []
    for turn in range(2):
        for generator in node.generators:
            if generator is not node.generators[0]:
                over = item_access.iterated(m, state, m.evaluate(state, generator.iter), generator.iter)
            bindings.bind(m, state, generator.target, _any(over, turn))
            for test in generator.ifs:
                m.evaluate(state, test)
        made.append(m.evaluate(state, node.value if isinstance(node, ast.DictComp) else node.elt))
    return Items(at_most_twice(made), False, ordered=not isinstance(node, ast.DictComp))


def _any(over: Items, turn: int) -> Value:
    values: Sequence[Value] = over.values
    element = values[turn] if over.ordered and turn < len(values) - 1 else over.element()
    return UNKNOWN if element is None else element
