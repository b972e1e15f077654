"""Statements: how the state flows through a block."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from gradfix.analysis.domain import grad_modes
from gradfix.analysis.domain.definitions import FunctionInfo
from gradfix.analysis.domain.flow import Exit, Flow, join_all
from gradfix.analysis.domain.holders import escape
from gradfix.analysis.domain.joins import join
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import outside
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import NONE, UNKNOWN, Container, Symbol, Value
from gradfix.analysis.facts import Tracked
from gradfix.analysis.interpreter import (
    assumptions,
    bare_ways,
    bindings,
    conditions,
    container_methods,
    contexts,
    data_tests,
    definitions,
    foreign,
    loops,
    patterns,
    ranks,
    returns,
    stores,
)
from gradfix.analysis.interpreter.expressions import evaluate
from gradfix.analysis.text.names import imports_of, stars_of


def run_block(m: Machine, state: State, body: Sequence[ast.stmt]) -> Flow:
    """Run statements one after the other."""
    flow = Flow(state)
    for statement in body:
        if flow.after is None:
            break
        m.statement = statement
        m.steps += 1
        handler = _HANDLERS.get(type(statement))
        if handler is None:
            continue
        inner = handler(m, flow.after, statement)
        if inner is not None:
            flow.absorb(inner)
            flow.after = inner.after
    return flow


def run_body(m: Machine, state: State, info: FunctionInfo) -> Value:
    """Run the body of a function in the frame made for it; `state` becomes the state after it."""
    if isinstance(info.node, ast.Lambda):
        return evaluate(m, state, info.node.body)
    flow = run_block(m, state.fork() if info.may_not_return else state, info.node.body)
    if flow.after is None and not flow.returns:
        return NONE  # every way raises
    end, result = returns.joined(m, flow)
    state.adopt(end)
    return result


def _expression(m: Machine, state: State, node: ast.Expr) -> None:
    value = evaluate(m, state, node.value)
    if isinstance(value, Symbol) and value.name.startswith("torch.set_grad_enabled("):
        mode = grad_modes.grad_mode(value)  # called for its effect, it stays in force
        state.grad = Tracked.MAYBE if mode is None or (mode is Tracked.MAYBE and state.grad is not mode) else mode


def _assign(m: Machine, state: State, node: ast.Assign) -> None:
    value = evaluate(m, state, node.value)
    for target in node.targets:
        stores.assign(m, state, target, value, node.value)
    ranks.learn(m, state, node)


def _annotated(m: Machine, state: State, node: ast.AnnAssign) -> None:
    if node.value is not None:
        stores.assign(m, state, node.target, evaluate(m, state, node.value), node.value)


def _augmented(m: Machine, state: State, node: ast.AugAssign) -> None:
    stores.augmented(m, state, node)


def _if(m: Machine, state: State, node: ast.If) -> Flow:
    truth, kind = conditions.test(m, state, node.test)
    if truth is not None:
        return run_block(m, state, node.body if truth else node.orelse)
    taken, passed = assumptions.of_arms(m, state, node)
    if isinstance(node.body[0], ast.Raise) and not node.orelse:  # checks of arguments: nothing comes back from there
        conditions.narrow(m, state, node.test, positive=False)
        assumptions.assume(state, passed)
        return Flow(state)
    by_data = data_tests.depends_on_data(m, state, node.test, kind)
    other = state.fork()
    assumptions.assume(state, taken)
    assumptions.assume(other, passed)
    conditions.narrow(m, state, node.test, positive=True)
    conditions.narrow(m, other, node.test, positive=False)
    before = state.nodes.fork()
    arms = len(m.arms)
    m.enter_arm()
    flow = run_block(m, state, node.body)
    m.statement = node
    m.leave_arms(arms)
    m.enter_arm()
    second = run_block(m, other, node.orelse)
    flow.absorb(second)
    m.statement = node
    m.leave_arms(arms, exits=bool(flow.returns or flow.breaks or flow.continues))
    if by_data:
        flow.returns = returns.decided_by(node, flow.returns)
    if flow.after is not None and second.after is not None:
        joined = join(flow.after, second.after, node)
        assumptions.remember(joined, taken, flow.after, passed, second.after, node.test)
        conditions.note_fills(m, joined, node, kind, before)
        conditions.note_rebound(m, joined, node, kind, before)
        if by_data and node.orelse:
            bare_ways.bound_apart(m, joined, node, (flow.after, second.after))
        flow.after = joined
    else:
        flow.after = flow.after if second.after is None else second.after
    return flow


def _try(m: Machine, state: State, node: ast.Try) -> Flow:
    before = state.fork()
    with m.within(node):
        flow = run_block(m, state, node.body)
    ends: list[State] = []
    raised = [*flow.raises]
    if node.handlers:
        flow.raises.clear()
    if flow.after is not None and node.orelse:
        tail = run_block(m, flow.after, node.orelse)
        flow.absorb(tail)
        flow.after = tail.after
    reached = join_all([before, *([] if flow.after is None else [flow.after]), *raised], node) or before
    if flow.after is not None:
        ends.append(flow.after)
    for handler in node.handlers:
        entry = reached.fork()
        if handler.name:
            bindings.bind(m, entry, ast.Name(handler.name, ast.Store()), UNKNOWN)
        arms = len(m.arms)
        m.enter_arm()
        inner = run_block(m, entry, handler.body)
        m.leave_arms(arms, exits=bool(inner.returns or inner.breaks or inner.continues))
        flow.absorb(inner)
        if inner.after is not None:
            ends.append(inner.after)
    flow.after = join_all(ends, node)
    return _finally(m, flow, node.finalbody) if node.finalbody else flow


def _finally(m: Machine, flow: Flow, body: Sequence[ast.stmt]) -> Flow:
    """Every way out of a `try` leads through its `finally`."""
    result = Flow(None)

    def through(state: State) -> State | None:
        tail = run_block(m, state, body)
        result.absorb(tail)
        return tail.after

    result.after = None if flow.after is None else through(flow.after)
    ways = (flow.breaks, result.breaks), (flow.continues, result.continues), (flow.raises, result.raises)
    for exits, kept in ways:
        kept += [after for state in exits if (after := through(state)) is not None]
    result.returns += [e._replace(state=after) for e in flow.returns if (after := through(e.state)) is not None]
    return result


def _return(m: Machine, state: State, node: ast.Return) -> Flow:
    value = NONE if node.value is None else evaluate(m, state, node.value)
    if node.value is not None and state.log and isinstance(value, Container):
        stores.note_read(m, state, value, node.value)
    return Flow(None, returns=[Exit(state, value, node, state.grad is not Tracked.NO)])


def _raise(m: Machine, state: State, node: ast.Raise) -> Flow:
    for given in node.exc.args if isinstance(node.exc, ast.Call) else ():
        escape(state, m.look(state, given))  # whoever catches the error has it
    return Flow(None, raises=[state])


def _break(m: Machine, state: State, node: ast.Break) -> Flow:
    return Flow(None, breaks=[state])


def _continue(m: Machine, state: State, node: ast.Continue) -> Flow:
    return Flow(None, continues=[state])


def _function(m: Machine, state: State, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    bindings.bind(m, state, ast.Name(node.name, ast.Store()), definitions.function(m, state, node))


def _class(m: Machine, state: State, node: ast.ClassDef) -> None:
    bindings.bind(m, state, ast.Name(node.name, ast.Store()), definitions.klass(m, state, node))


def _import(m: Machine, state: State, node: ast.Import | ast.ImportFrom) -> None:
    for star in stars_of(node) if m.imports is not None else ():
        for local, qualified in m.imports.starred(star).items() if m.imports is not None else ():
            bindings.bind(m, state, ast.Name(local, ast.Store()), Symbol(qualified))
    for local, qualified in imports_of(node):
        if m.is_abroad and qualified.startswith("."):
            bindings.bind(m, state, ast.Name(local, ast.Store()), outside(state, local))
            continue
        held = foreign.variable(m, state, qualified, node) if isinstance(node, ast.ImportFrom) else None
        bindings.bind(m, state, ast.Name(local, ast.Store()), Symbol(qualified) if held is None else held)


def _assert(m: Machine, state: State, node: ast.Assert) -> None:
    evaluate(m, state, node.test)


def _delete(m: Machine, state: State, node: ast.Delete) -> None:
    for target in node.targets:
        if isinstance(target, ast.Name):
            state.variables[m.scope.frames[0], target.id] = UNKNOWN
        elif isinstance(target, ast.Subscript):
            held = m.look(state, target.value)
            if isinstance(held, Container) and held.kind == "dict":
                container_methods.without_key(state, held, m.look(state, target.slice))
            elif isinstance(held, Container) and held.kind in ("list", "deque"):
                whole = isinstance(target.slice, ast.Slice) and ast.unparse(target.slice) == ":"
                container_methods.without_item(state, held, None if whole else m.look(state, target.slice))


Handler = Callable[[Machine, State, ast.stmt], "Flow | None"]
_HANDLERS: dict[type[ast.AST], Handler] = {
    ast.Expr: _expression,  # type: ignore[dict-item]  # each handler takes the node type of its key
    ast.Assign: _assign,  # type: ignore[dict-item]
    ast.AnnAssign: _annotated,  # type: ignore[dict-item]
    ast.AugAssign: _augmented,  # type: ignore[dict-item]
    ast.If: _if,  # type: ignore[dict-item]
    ast.For: loops.run_for,  # type: ignore[dict-item]
    ast.AsyncFor: loops.run_for,  # type: ignore[dict-item]
    ast.While: loops.run_while,  # type: ignore[dict-item]
    ast.With: contexts.run,  # type: ignore[dict-item]
    ast.AsyncWith: contexts.run,  # type: ignore[dict-item]
    ast.Try: _try,  # type: ignore[dict-item]
    ast.Match: patterns.run,  # type: ignore[dict-item]
    ast.Return: _return,  # type: ignore[dict-item]
    ast.Raise: _raise,  # type: ignore[dict-item]
    ast.Break: _break,  # type: ignore[dict-item]
    ast.Continue: _continue,  # type: ignore[dict-item]
    ast.FunctionDef: _function,  # type: ignore[dict-item]
    ast.AsyncFunctionDef: _function,  # type: ignore[dict-item]
    ast.ClassDef: _class,  # type: ignore[dict-item]
    ast.Import: _import,  # type: ignore[dict-item]
    ast.ImportFrom: _import,  # type: ignore[dict-item]
    ast.Assert: _assert,  # type: ignore[dict-item]
    ast.Delete: _delete,  # type: ignore[dict-item]
}
if hasattr(ast, "TryStar"):
    _HANDLERS[ast.TryStar] = _try  # type: ignore[assignment]
