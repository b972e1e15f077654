"""Loops: two or three rounds stand for all, and the later ones meet what the earlier ones saved and wrote."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gradfix.analysis.domain.flow import Flow, join_all
from gradfix.analysis.domain.graph import tracked_of
from gradfix.analysis.domain.joins import join_nodes
from gradfix.analysis.domain.layers import Layers
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import Items, State, at_most_twice
from gradfix.analysis.domain.values import (
    UNKNOWN,
    Const,
    Container,
    Number,
    Origin,
    Storage,
    Suspended,
    Tensor,
    Value,
)
from gradfix.analysis.facts import ConditionKind, Tracked
from gradfix.analysis.interpreter import bindings, conditions, generators, protocols
from gradfix.analysis.interpreter import items as item_access
from gradfix.analysis.interpreter.expressions import evaluate
from gradfix.analysis.text.nodes import every_node


def _runs_once(m: Machine) -> bool:
    """Inside a later round of a loop around, one round meets what the earlier ones left, and stands for all."""
    return m.exhausted or m.later_round > 0


def _is_int(value: Value) -> bool:
    return isinstance(value, Number) or (isinstance(value, Const) and type(value.value) is int)


def run_for(m: Machine, state: State, node: ast.For | ast.AsyncFor) -> Flow:
    """Run a `for`."""
    iterable = protocols.iterator(m, state, evaluate(m, state, node.iter), node.iter)
    if isinstance(iterable, Suspended):
        return generators.loop(m, state, node, iterable)
    items = item_access.iterated(m, state, iterable, node.iter)
    least = items.least
    if items.exact and not items.values:
        return m.run_block(state, node.orelse)
    if items.exact:
        rounds: list[Value] = list(items.values[:3])
        if len(items.values) > 3:
            rounds[2] = Items(items.values[2:], False).element() or UNKNOWN
            rounds[2] = Number("int") if isinstance(rounds[2], (Const, Number)) else rounds[2]
        if _runs_once(m) and len(rounds) > 1 and all(_is_int(value) for value in rounds):
            rounds = [Number("int")]
        certain = True
    elif items.ordered and len(items.values) > 1:
        rounds = list(items.values[:3])
        certain = items.least >= len(rounds)
    else:
        element = items.element()
        rounds = [UNKNOWN if element is None else element] * 2
        certain = items.least > 1

    def enter(current: State, i: int) -> None:
        value = rounds[i] if i < len(rounds) else _one_more(current, rounds[-1], rounds[-2:-1])
        bindings.bind(m, current, node.target, value)

    whole = items.exact and len(rounds) == len(items.values)
    return _loop(m, state, _Loop(node, len(rounds), enter, certain=certain, least=least, whole=whole))


def _one_more(state: State, last: Value, before: Sequence[Value]) -> Value:
    """The item of a round behind those planned: like the `last`, in memory of its own where that was in its own."""
    other = before[0] if before else last
    if isinstance(last, Tensor) and isinstance(other, Tensor) and set(last.storages).isdisjoint(other.storages):
        return replace(last, storages=tuple(_like(state, storage) for storage in last.storages))
    if last is other or not isinstance(last, Container) or not isinstance(other, Container):
        return last
    held, others = state.items.get(last), state.items.get(other)
    if held is None or others is None or len(held.values) != len(others.values):
        return last
    pairs = zip(held.values, others.values, strict=True)
    parts = tuple(_one_more(state, value, (earlier,)) for value, earlier in pairs)
    return state.container(last.kind, Items(parts, held.exact, held.keys, held.least, ordered=held.ordered))


def _like(state: State, storage: Storage) -> Storage:
    """Other memory with the same graph behind it, of which nothing was saved; a parameter is always itself."""
    if storage.origin is Origin.PARAMETER:
        return storage
    twin = Storage(storage.origin, storage.name, storage.made_by)
    state.nodes[twin] = state.nodes.get(storage)
    if cuts := state.cuts.get(storage):
        state.cuts[twin] = cuts
    return twin


def _widen(m: Machine, state: State, loop: ast.While) -> None:
    """What the body counts (`t += 1`) is any number from the second round on: it stands for all the later ones."""
    for node in every_node(loop):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            key = m.scope.frames[0], node.target.id
            held = state.variables.get(key)
            if isinstance(held, Const) and type(held.value) in (int, float):
                state.variables[key] = Number(type(held.value).__name__)


def run_while(m: Machine, state: State, node: ast.While) -> Flow:
    """Run a `while`."""
    kinds: list[ConditionKind] = []

    def enter(current: State, i: int) -> None:
        if i or _runs_once(m):
            _widen(m, current, node)
        kinds.append(conditions.test(m, current, node.test)[1])

    def over(current: State) -> bool:
        return conditions.test(m, current.fork(), node.test)[0] is False

    endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
    before = state.nodes.fork()
    flow = _loop(m, state, _Loop(node, 2, enter, certain=False, endless=endless, over=over))
    if flow.after is not None and kinds[0] is not ConditionKind.PYTHON:
        flow.after.nodes = join_nodes(before, flow.after.nodes, node)  # it may not run at all
        conditions.note_fills(m, flow.after, node, kinds[0], before)
    return flow


@dataclass(frozen=True, slots=True)
class _Loop:
    """How a loop is played: the second and later rounds meet what the earlier ones saved and wrote."""

    node: ast.For | ast.AsyncFor | ast.While
    rounds: int
    enter: Callable[[State, int], None]  # begins a round
    certain: bool  # all these rounds happen
    least: int = 0  # rounds that happen for certain
    endless: bool = False  # only `break` and `return` lead out
    whole: bool = False  # and there are no others
    over: Callable[[State], bool] = lambda _: False  # whether it has surely ended, asked after a round


def _loop(m: Machine, state: State, loop: _Loop) -> Flow:
    """Play the rounds, then the `else`."""
    if _runs_once(m):
        loop = replace(loop, rounds=min(loop.rounds, 1), whole=loop.whole and loop.rounds < 2)
    result = Flow(None)
    before = state.items.fork()
    m.open_loops += not loop.whole
    ends, breaks = _rounds(m, state, loop, result)
    m.open_loops -= not loop.whole
    for end in (*ends, *breaks):
        if not loop.whole:
            _leave_open(end, before)
    if loop.node.orelse and (over := join_all(ends, loop.node)) is not None:
        ends = _else(m, over, loop.node, result, certain=not breaks)
    result.after = join_all([*ends, *breaks], loop.node)
    return result


def _else(
    m: Machine, state: State, node: ast.For | ast.AsyncFor | ast.While, result: Flow, *, certain: bool
) -> list[State]:
    """Run the `else`, which a `break` leaves out; the state at its end, if it has one."""
    arms = len(m.arms)
    if not certain:
        m.enter_arm()
    tail = m.run_block(state, node.orelse)
    m.leave_arms(arms, exits=tail.leaves)
    result.absorb(tail)
    return [] if tail.after is None else [tail.after]


def _rounds(m: Machine, state: State, loop: _Loop, result: Flow) -> tuple[list[State], list[State]]:
    """Play the rounds: the states in which the loop may end, by itself and by `break`; `result` gets what returns."""
    ends: list[State] = []
    breaks: list[State] = []
    current: State | None = state
    begun = state.fork()
    rounds = loop.rounds
    i = 0
    while i < rounds and current is not None and not (i and loop.over(current)):
        inner = _round(m, current, loop, i)
        result.returns.extend(inner.returns)
        result.raises.extend(inner.raises)
        breaks.extend(inner.breaks)
        current = join_all([s for s in (inner.after, *inner.continues) if s is not None], loop.node)
        if i == 0 and rounds == 2 and not loop.whole and current is not None:
            rounds += _gained_graphs(begun, current)
        if current is not None and not loop.certain and not loop.endless:
            ends.append(current)
            current = current.fork()
        i += 1
    if current is not None and (loop.certain or not (ends or breaks)):  # else its end comes in a later round
        ends.append(current)
    return ends, breaks


def _gained_graphs(begun: State, now: State) -> bool:
    """Whether a variable got a graph in the first round: only the second saves what it meets, the third writes it."""
    keys, _ = now.variables.changed(begun.variables)
    for key in keys:
        before, after = begun.variables.get(key), now.variables.get(key)
        was_bare = isinstance(before, Tensor) and begun.node_of(before) is None
        if was_bare and isinstance(after, Tensor) and tracked_of(now.node_of(after)) is not Tracked.NO:
            return True
    return False


def _round(m: Machine, state: State, loop: _Loop, i: int) -> Flow:
    certain = loop.certain and (i < 2 or i < max(loop.rounds, loop.least))
    doubtful = i > 0 and not certain
    m.uncertain_loop += doubtful
    m.later_round += i > 0
    arms = len(m.arms)
    if not certain:
        m.enter_arm()
    loop.enter(state, i)
    flow = m.run_block(state, loop.node.body)
    m.leave_arms(arms, exits=bool(flow.returns))
    m.uncertain_loop -= doubtful
    m.later_round -= i > 0
    m.statement = loop.node
    return flow


def _leave_open(after: State, before: Layers[Container, Items]) -> None:
    """What grew in a loop may hold more than the rounds played put there."""
    keys, _ = after.items.changed(before)
    for container in keys:
        held, earlier = after.items.get(container), before.get(container)
        if held is not None and earlier is not None and held.exact and len(held.values) != len(earlier.values):
            values = at_most_twice(held.values)
            grown = held.ordered and held.keys is None and len(values) == len(held.values)
            after.items[container] = Items(values, False, least=held.least, ordered=grown)
