"""Generators: their body runs where they are consumed, and what consumes them runs at each `yield`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradfix.analysis.domain import grad_modes
from gradfix.analysis.domain.definitions import FunctionInfo
from gradfix.analysis.domain.flow import Flow, join_all
from gradfix.analysis.domain.holders import keep
from gradfix.analysis.domain.machine import DEPTH, Each, Machine, Scope
from gradfix.analysis.domain.operations import outside
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import Number, Suspended, Value
from gradfix.analysis.interpreter import abroad, bindings
from gradfix.analysis.interpreter.calls import bind_parameters


def run(m: Machine, state: State, suspended: Suspended, each: Each) -> None:
    """Run the body of a generator; `each` is what happens to every value it yields."""
    callee = suspended.callee
    info = callee.info
    if info in m.calls or len(m.calls) >= DEPTH or m.exhausted:
        m.open_loops += 1  # who knows how often it yields
        each(state, outside(state, "item"))
        m.open_loops -= 1
        return
    m.defined.covered.add(info)
    m.steps += 1
    frame = m.new_frame()
    receiver = [] if callee.receiver is None else [callee.receiver]
    bind_parameters(m, state, info, frame, [*receiver, *suspended.args], dict(suspended.keywords), callee)
    before = state.grad, state.off_at
    if callee.grad is not None:
        state.grad = grad_modes.inside(callee.grad, state.grad)
        state.off_at = state.off_at if id(info.node) in m.notes.off_elsewhere else info.node
    here = m.whereabouts()

    def handle(current: State, value: Value) -> None:
        there = m.whereabouts()
        m.go_to(here)
        each(current, _numbered(current, value) if suspended.numbered else value)
        m.go_to(there)

    home = abroad.brought(m, callee, suspended.at)[1]
    with m.called(suspended.at, info), m.inside(Scope(info.qualname, (frame, *callee.frames), info)):
        m.yield_to, m.home = handle, home
        m.run_body(state, info)
    keep(state, suspended, _left_in(state, info, frame))
    state.grad, state.off_at = before


def _left_in(state: State, info: FunctionInfo, frame: int) -> Iterator[Value]:
    """What its variables hold, which it goes on with where it is consumed further."""
    for name in info.local_names:
        if (value := state.variables.get((frame, name))) is not None:
            yield value


def _numbered(state: State, value: Value) -> Value:
    return state.tuple_of((Number("int"), value))


def collected(m: Machine, state: State, suspended: Suspended) -> Items:
    """All that a generator yields, run to its end at once."""
    found: list[Value] = []
    arms = len(m.arms)
    open_loops = m.open_loops
    exact = True

    def each(current: State, value: Value) -> None:
        nonlocal exact
        exact = exact and len(m.arms) == arms and m.open_loops == open_loops
        found.append(value)

    run(m, state, suspended, each)
    return Items(tuple(found), exact, ordered=True)


def loop(m: Machine, state: State, node: ast.For | ast.AsyncFor, suspended: Suspended) -> Flow:
    """`for target in generator(…)`: the body runs at each `yield`."""
    result = Flow(None)
    stopped: list[State] = []
    alive = True

    def each(current: State, value: Value) -> None:
        nonlocal alive
        bindings.bind(m, current, node.target, value)
        inner = m.run_block(current, node.body)
        m.statement = node
        result.returns.extend(inner.returns)
        stopped.extend(inner.breaks)
        after = join_all([s for s in (inner.after, *inner.continues) if s is not None], node)
        alive = alive and after is not None
        if after is not None:
            current.adopt(after if after is not current else after.fork())

    run(m, state, suspended, each)
    after = join_all([*([state] if alive else []), *stopped], node)
    if after is not None and node.orelse:
        tail = m.run_block(after, node.orelse)
        result.absorb(tail)
        after = tail.after
    result.after = after
    return result
