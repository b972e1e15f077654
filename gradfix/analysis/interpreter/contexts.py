"""`with`: grad modes, autocast, and context managers of the file, whose two halves run around the body."""

from __future__ import annotations

import ast

from gradfix.analysis.domain import grad_modes
from gradfix.analysis.domain.flow import Flow, join_all
from gradfix.analysis.domain.holders import perhaps_held_in
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import UNKNOWN, Instance, Suspended, Value
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards.reads import read
from gradfix.analysis.interpreter import bindings
from gradfix.analysis.interpreter.definitions import switched_elsewhere
from gradfix.analysis.text.guards import swallows

_SWITCHES = ("torch.no_grad", "torch.inference_mode")


def run(m: Machine, state: State, node: ast.With | ast.AsyncWith) -> Flow:
    """The statement, with what its contexts do before and after."""
    return _enter(m, state, node, 0)


def _enter(m: Machine, state: State, node: ast.With | ast.AsyncWith, index: int) -> Flow:
    if index == len(node.items):
        with m.within(node):
            flow = m.run_block(state, node.body)
        if flow.raises and swallows(node):
            flow.after = join_all([*([] if flow.after is None else [flow.after]), *flow.raises], node)
            flow.raises.clear()
        return flow
    item = node.items[index]
    before = state.grad, state.off_at, state.autocast
    value = m.evaluate(state, item.context_expr)
    if isinstance(value, Suspended):
        flow = _around(m, state, node, index, value)
    else:
        mode, casts = grad_modes.grad_mode(value), grad_modes.autocast(value)
        off_at: ast.AST | None = node
        if mode is None and isinstance(call := item.context_expr, ast.Call):
            switched = switched_elsewhere(m, state, call.func)
            if switched is not None:
                mode, off_at = grad_modes.inside(switched, state.grad), state.off_at
        if isinstance(value, Instance) and value.info is not None and value.info.derives_from(*_SWITCHES):
            mode = Tracked.NO
        if mode is not None:
            state.grad, state.off_at = mode, off_at
        if casts is not None:
            state.autocast = casts
        given = _call(m, state, value, ("__enter__", "__aenter__"), 0, node)
        if item.optional_vars is not None:
            bindings.bind(m, state, item.optional_vars, value if given is None else given)
        flow = _enter(m, state, node, index + 1)
        for end in flow.ends():
            _call(m, end, value, ("__exit__", "__aexit__"), 3, node)
            if end.log and perhaps_held_in(end, value):  # `stack.callback(print, y)`
                read(m, end, value, item.context_expr, m.spelling(item.context_expr))
    for end in flow.ends():
        end.grad, end.off_at, end.autocast = before
    return flow


def _call(m: Machine, state: State, value: Value, names: tuple[str, str], count: int, node: ast.stmt) -> Value | None:
    """Call one half of a context manager of this file; None for any other."""
    if not isinstance(value, Instance) or value.info is None:
        return None
    found = next((method for name in names if (method := value.info.method(name)) is not None), None)
    if found is None:
        return None
    return m.call_function(state, m.defined.bound(found, value), [UNKNOWN] * count, {}, node)


def _around(m: Machine, state: State, node: ast.With | ast.AsyncWith, index: int, made: Suspended) -> Flow:
    """A generator under `@contextmanager`: the body runs at its `yield`."""
    result = Flow(None)
    alive = True

    def each(current: State, value: Value) -> None:
        nonlocal alive
        target = node.items[index].optional_vars
        if target is not None:
            bindings.bind(m, current, target, value)
        inner = _enter(m, current, node, index + 1)
        m.statement = node
        result.absorb(inner)
        alive = inner.after is not None
        if inner.after is not None:
            current.adopt(inner.after if inner.after is not current else inner.after.fork())

    m.run_generator(state, made, each)
    result.after = state if alive else None
    return result
