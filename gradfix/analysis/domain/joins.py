"""Two states become one: what holds when either may have been reached."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace

from gradfix.analysis.domain.graph import Node, NodeKind, Save, Visit, phi, reachable
from gradfix.analysis.domain.layers import Layers
from gradfix.analysis.domain.state import Items, Slots, Stamp, State, at_most_twice, merge
from gradfix.analysis.domain.values import NO_FLOWS, UNKNOWN, Origin, Storage, Tensor, Value, now, options
from gradfix.analysis.facts import Tracked


def join(a: State, b: State, branch: ast.stmt | None) -> State:
    """What holds when either of two states may have been reached; `branch` decides which."""
    result = State.__new__(State)
    result.written, result.unmade = a.written, a.unmade
    result.grad = a.grad if a.grad is b.grad else Tracked.MAYBE
    result.autocast = a.autocast or b.autocast
    result.quiet = a.quiet
    result.under = a.under if a.under == b.under else a.under & b.under
    result.recalled = a.recalled
    if a.recalled is not b.recalled:
        result.recalled = {one: told for one, told in a.recalled.items() if b.recalled.get(one) is told}
    result.off_at = a.off_at if a.off_at is not None else b.off_at
    result.cuts = a.cuts.joined(b.cuts, lambda mine, other: (mine or NO_FLOWS) | (other or NO_FLOWS))
    result.nodes = join_nodes(a.nodes, b.nodes, branch)
    result.saves = _join_saves(a, b)
    result.conflicts = _join_conflicts(a, b)
    result.spent = a.spent.joined(b.spent, _either_spent)
    result.passed = _join_passed(a, b)
    result.late = a.late.joined(b.late, lambda mine, other: (mine or frozenset()) | (other or frozenset()))
    result.kept = a.kept.joined(b.kept, lambda mine, other: tuple(dict.fromkeys((*(mine or ()), *(other or ())))))
    result.given = a.given.joined(b.given, lambda mine, other: mine or other or {})
    result.log = a.log.joined(b.log, _join_logs)
    result.chosen = a.chosen.joined(b.chosen, lambda mine, other: mine if mine == other else None)
    for owner in a.attributes.changed(b.attributes)[0] if a.unmade else ():
        if owner in a.unmade:  # made in one of them: what that changed is told from what the constructor left
            a.slots(owner)
            b.slots(owner)
    merger = _Merger(result, a, b, branch)  # what it merges may become a choice of `result`
    result.variables = a.variables.joined(b.variables, merger.value)
    result.attributes = a.attributes.joined(b.attributes, merger.slots)
    result.items = a.items.joined(b.items, merger.items)
    return result


class _Merger:
    """Merges the values of two states; equal pairs give one and the same value."""

    def __init__(self, result: State, a: State, b: State, branch: ast.stmt | None) -> None:
        self._result, self._a, self._b, self._branch = result, a, b, branch
        self._pairs: dict[tuple[int, int], Value] = {}

    def value(self, mine: Value | None, other: Value | None) -> Value:
        """The value of a variable that holds one or the other; a missing one leaves the other."""
        if mine is None or other is None:
            found = other if mine is None else mine
            return UNKNOWN if found is None else found
        if mine is other:
            return mine
        pair = (id(mine), id(other))
        if pair not in self._pairs:
            merged = self._pairs[pair] = merge(mine, other, self._branch)
            if isinstance(merged, Tensor) and merged is not mine and merged is not other:
                sides = ((self._a, options(mine)), (self._b, options(other)))
                before = _stale(*sides[0]) | _stale(*sides[1])
                if before:
                    self._result.late[merged] = before
                    self._result.given[merged] = _handed(before, sides)
                if isinstance(mine, Tensor) and isinstance(other, Tensor) and mine.choice is not merged.choice:
                    graphs = (self._a.node_of(mine), self._b.node_of(other))
                    self._result.chosen[merged.choice] = (phi(graphs, self._branch), now())
        return self._pairs[pair]

    def slots(self, mine: Slots | None, other: Slots | None) -> Slots:
        """The attributes of an object that has these or those."""
        mine, other = mine or {}, other or {}
        return {name: self.value(mine.get(name), other.get(name)) for name in {**mine, **other}}

    def items(self, mine: Items | None, other: Items | None) -> Items:
        """The items of a container that holds one or the other."""
        if mine is None or other is None or mine is other:
            return other if mine is None and other is not None else mine if mine is not None else Items((), False)
        if mine.exact and other.exact and len(mine.values) == len(other.values) and mine.keys == other.keys:
            values = tuple(self.value(m, o) for m, o in zip(mine.values, other.values, strict=True))
            return Items(values, True, mine.keys)
        longer, shorter = (mine, other) if len(mine.values) > len(other.values) else (other, mine)
        grown = longer.ordered and shorter.ordered and longer.values[: len(shorter.values)] == shorter.values
        values = longer.values if grown else at_most_twice(mine.values, other.values)
        return Items(values, False, ordered=grown)


def _either_spent(a: tuple[ast.Call, bool] | None, b: tuple[ast.Call, bool] | None) -> tuple[ast.Call, bool]:
    """Freed for certain where both freed it."""
    either = a or b
    assert either is not None
    return either[0], bool(a and b and a[1] and b[1])


def _join_logs(a: Stamp | None, b: Stamp | None) -> Stamp | None:
    """The writes of both, newest first."""
    newer: list[Stamp] = []
    while a is not b:
        if b is None or (a is not None and a.tick > b.tick):
            assert a is not None
            newer.append(a)
            a = a.before
        else:
            newer.append(b)
            b = b.before
    for stamp in reversed(newer):
        a = replace(stamp, before=a)
    return a


def _stale(state: State, parts: Iterable[Value]) -> frozenset[Visit]:
    found: frozenset[Visit] = frozenset()
    for part in parts:
        if isinstance(part, Tensor):
            found |= state.missed(part)
    return found


def _handed(missed: Iterable[Visit], sides: Iterable[tuple[State, Iterable[Value]]]) -> dict[int, str]:
    """Of the writes missed, those that every part which misses them is given by the same name."""
    parts = [(state, part) for state, values in sides for part in values if isinstance(part, Tensor)]
    found: dict[int, str] = {}
    for visit in missed:
        names = {(state.given.get(part) or {}).get(visit.key) for state, part in parts if visit in state.missed(part)}
        name = names.pop() if len(names) == 1 else None
        if name is not None:
            found[visit.key] = name
    return found


_MISSING = Node(NodeKind.PHI, "missing", (), Tracked.NO)  # of memory made on the other side


def join_nodes(
    a: Layers[Storage, Node | None], b: Layers[Storage, Node | None], branch: ast.stmt | None
) -> Layers[Storage, Node | None]:
    """The graphs behind each memory when either of two states may have been reached."""
    memo: dict[tuple[int, int], Node | None] = {}

    def either(mine: Node | None, other: Node | None) -> Node | None:
        if mine is other or other is _MISSING:
            return mine
        if mine is _MISSING:
            return other
        key = (id(mine), id(other))
        if key not in memo:
            memo[key] = phi((mine, other), branch)
        return memo[key]

    return a.joined(b, either, _MISSING)


def _join_saves(a: State, b: State) -> Layers[Storage, dict[Save, bool]]:
    keys, result = a.saves.changed(b.saves)
    for storage in keys:
        mine, other = a.saves.get(storage) or {}, b.saves.get(storage) or {}
        absent = not (storage in a.nodes and storage in b.nodes)  # made on one side only: nothing to contradict it
        result[storage] = {save: mine.get(save, absent) and other.get(save, absent) for save in {**mine, **other}}
    return result


def _join_passed(a: State, b: State) -> Layers[Node, bool]:
    """Passed where both passed it: a node made on one side only isn't there on the other."""
    keys, result = a.passed.changed(b.passed)
    one_sided: frozenset[int] | None = None
    for node in keys:
        mine, other = a.passed.get(node), b.passed.get(node)
        if mine is None or other is None:
            if one_sided is None:
                one_sided = _made_in_one(a, b)
            result[node] = bool(mine or other) and id(node) in one_sided
        else:
            result[node] = mine and other
    return result


def _made_in_one(a: State, b: State) -> frozenset[int]:
    """Ids of the graphs over memory that only one of two states has."""
    keys, _ = a.nodes.changed(b.nodes)
    alone = (storage for storage in keys if not (storage in a.nodes and storage in b.nodes))
    return frozenset(id(node) for storage in alone if (node := a.nodes.get(storage) or b.nodes.get(storage)))


def _join_conflicts(a: State, b: State) -> Layers[tuple[Save, int], tuple[Visit, bool]]:
    keys, result = a.conflicts.changed(b.conflicts)
    held: dict[int, set[int]] = {}
    for key in keys:
        mine, other = a.conflicts.get(key), b.conflicts.get(key)
        if mine is None or other is None:
            found = other if mine is None else mine
            side = b if mine is None else a
            of_parameter = key[0].storage.origin is Origin.PARAMETER
            if of_parameter and id(side) not in held:
                held[id(side)] = _graphs_held(side)
            # a loss that names have let go of is differentiated by nobody, though the other way may still hold it
            if found is not None and not (of_parameter and id(key[0].node) not in held[id(side)]):
                result[key] = found
        else:
            result[key] = (mine[0], mine[1] or other[1])
    return result


def _graphs_held(state: State) -> set[int]:
    """Ids of the nodes behind all tensors that something holds."""
    values = [value for _, value in state.variables.items()]
    values += [value for _, items in state.items.items() for value in items.values]
    values += [value for _, slots in state.attributes.items() for value in slots.values()]
    roots = [state.node_of(option) for value in values for option in options(value) if isinstance(option, Tensor)]
    return {id(node) for node in reachable(*roots)}
