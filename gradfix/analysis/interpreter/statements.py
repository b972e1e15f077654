"""Statements: how the state flows through a block."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from gradfix.analysis.domain.flow import Flow, join_all
from gradfix.analysis.domain.joins import join, join_nodes
from gradfix.analysis.domain.layers import Layers
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import Items, State, at_most_twice, merge
from gradfix.analysis.domain.values import (
    NONE,
    UNKNOWN,
    Const,
    Container,
    FunctionInfo,
    Number,
    Suspended,
    Symbol,
    Value,
)
from gradfix.analysis.facts import ConditionKind, Tracked
from gradfix.analysis.interpreter import bindings, conditions, contexts, definitions, generators, patterns, stores
from gradfix.analysis.interpreter import items as item_access
from gradfix.analysis.interpreter.expressions import evaluate
from gradfix.analysis.text.names import imports_of


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
    exits = list(flow.returns)
    if flow.after is not None:
        exits.append((flow.after, NONE))
    if not exits:
        return NONE  # every way raises
    end, result = exits[0]
    for other, value in exits[1:]:
        end = join(end, other, m.statement)
        result = merge(result, value, m.statement)
    state.adopt(end)
    return result


def _expression(m: Machine, state: State, node: ast.Expr) -> None:
    value = evaluate(m, state, node.value)
    if isinstance(value, Symbol) and value.name.startswith("torch.set_grad_enabled("):
        mode = definitions.grad_mode(value)  # called for its effect, it stays in force
        state.grad = Tracked.MAYBE if mode is None or (mode is Tracked.MAYBE and state.grad is not mode) else mode


def _assign(m: Machine, state: State, node: ast.Assign) -> None:
    value = evaluate(m, state, node.value)
    for target in node.targets:
        stores.assign(m, state, target, value, node.value)


def _annotated(m: Machine, state: State, node: ast.AnnAssign) -> None:
    if node.value is not None:
        stores.assign(m, state, node.target, evaluate(m, state, node.value), node.value)


def _augmented(m: Machine, state: State, node: ast.AugAssign) -> None:
    stores.augmented(m, state, node)


def _if(m: Machine, state: State, node: ast.If) -> Flow:
    truth, kind = conditions.test(m, state, node.test)
    if truth is not None:
        return run_block(m, state, node.body if truth else node.orelse)
    if isinstance(node.body[0], ast.Raise) and not node.orelse:  # checks of arguments: nothing comes back from there
        conditions.narrow(m, state, node.test, positive=False)
        return Flow(state)
    other = state.fork()
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
    if flow.after is not None and second.after is not None:
        joined = join(flow.after, second.after, node)
        conditions.note_fills(m, joined, node, kind, before)
        flow.after = joined
    else:
        flow.after = flow.after if second.after is None else second.after
    return flow


def _runs_once(m: Machine) -> bool:
    """Inside a later round of a loop around, one round meets what the earlier ones left, and stands for all."""
    return m.exhausted or m.later_round > 0


def _is_int(value: Value) -> bool:
    return isinstance(value, Number) or (isinstance(value, Const) and type(value.value) is int)


def _for(m: Machine, state: State, node: ast.For | ast.AsyncFor) -> Flow:
    iterable = evaluate(m, state, node.iter)
    if isinstance(iterable, Suspended):
        return generators.loop(m, state, node, iterable)
    items = item_access.iterated(m, state, iterable, node.iter)
    if items.exact and not items.values:
        return run_block(m, state, node.orelse)
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
        bindings.bind(m, current, node.target, rounds[i])

    whole = items.exact and len(rounds) == len(items.values)
    return _loop(m, state, node, len(rounds), enter, certain=certain, whole=whole)


def _widen(m: Machine, state: State, loop: ast.While) -> None:
    """What the body counts (`t += 1`) is any number from the second round on: it stands for all the later ones."""
    for node in ast.walk(loop):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            key = m.scope.frames[0], node.target.id
            held = state.variables.get(key)
            if isinstance(held, Const) and type(held.value) in (int, float):
                state.variables[key] = Number(type(held.value).__name__)


def _while(m: Machine, state: State, node: ast.While) -> Flow:
    kinds: list[ConditionKind] = []

    def enter(current: State, i: int) -> None:
        if i or _runs_once(m):
            _widen(m, current, node)
        kinds.append(conditions.test(m, current, node.test)[1])

    endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
    before = state.nodes.fork()
    flow = _loop(m, state, node, 2, enter, certain=False, endless=endless)
    if flow.after is not None and kinds[0] is not ConditionKind.PYTHON:
        flow.after.nodes = join_nodes(before, flow.after.nodes, node)  # it may not run at all
        conditions.note_fills(m, flow.after, node, kinds[0], before)
    return flow


def _loop(
    m: Machine,
    state: State,
    node: ast.For | ast.AsyncFor | ast.While,
    rounds: int,
    enter: Callable[[State, int], None],
    *,
    certain: bool,
    endless: bool = False,
    whole: bool = False,
) -> Flow:
    """Rounds of a loop; the second and later ones meet what the earlier ones saved and wrote."""
    if _runs_once(m):
        whole = whole and rounds < 2
        rounds = min(rounds, 1)
    result = Flow(None)
    ends: list[State] = []
    current: State | None = state
    before = state.items.fork()
    m.open_loops += not whole
    for i in range(rounds):
        if current is None:
            break
        doubtful = i > 0 and not certain
        m.uncertain_loop += doubtful
        m.later_round += i > 0
        arms = len(m.arms)
        if not certain:
            m.enter_arm()
        enter(current, i)
        inner = run_block(m, current, node.body)
        m.leave_arms(arms, exits=bool(inner.returns))
        m.uncertain_loop -= doubtful
        m.later_round -= i > 0
        m.statement = node
        result.returns.extend(inner.returns)
        ends.extend(inner.breaks)
        current = join_all([s for s in (inner.after, *inner.continues) if s is not None], node)
        if current is not None and not certain and not endless:
            ends.append(current)
            current = current.fork()
    m.open_loops -= not whole
    if certain and current is not None:
        ends.append(current)
    if not ends and current is not None:
        ends.append(current)  # its end comes in a later round
    after = join_all(ends, node)
    if after is not None and not whole:
        _leave_open(after, before)
    if after is not None and node.orelse:
        tail = run_block(m, after, node.orelse)
        result.absorb(tail)
        after = tail.after
    result.after = after
    return result


def _leave_open(after: State, before: Layers[Container, Items]) -> None:
    """What grew in a loop may hold more than the rounds played put there."""
    keys, _ = after.items.changed(before)
    for container in keys:
        held, earlier = after.items.get(container), before.get(container)
        if held is not None and earlier is not None and held.exact and len(held.values) != len(earlier.values):
            values = at_most_twice(held.values)
            grown = held.ordered and held.keys is None and len(values) == len(held.values)
            after.items[container] = Items(values, False, least=held.least, ordered=grown)


def _try(m: Machine, state: State, node: ast.Try) -> Flow:
    before = state.fork()
    flow = run_block(m, state, node.body)
    ends: list[State] = []
    if flow.after is not None and node.orelse:
        tail = run_block(m, flow.after, node.orelse)
        flow.absorb(tail)
        flow.after = tail.after
    reached = join(before, flow.after, node) if flow.after is not None else before
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
    for exits, kept in ((flow.breaks, result.breaks), (flow.continues, result.continues)):
        kept += [after for state in exits if (after := through(state)) is not None]
    result.returns += [(after, value) for state, value in flow.returns if (after := through(state)) is not None]
    return result


def _return(m: Machine, state: State, node: ast.Return) -> Flow:
    value = NONE if node.value is None else evaluate(m, state, node.value)
    if node.value is not None and state.log and isinstance(value, Container):
        stores.note_read(m, state, value, node.value)
    return Flow(None, returns=[(state, value)])


def _raise(m: Machine, state: State, node: ast.Raise) -> Flow:
    return Flow(None)


def _break(m: Machine, state: State, node: ast.Break) -> Flow:
    return Flow(None, breaks=[state])


def _continue(m: Machine, state: State, node: ast.Continue) -> Flow:
    return Flow(None, continues=[state])


def _function(m: Machine, state: State, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    bindings.bind(m, state, ast.Name(node.name, ast.Store()), definitions.function(m, state, node))


def _class(m: Machine, state: State, node: ast.ClassDef) -> None:
    bindings.bind(m, state, ast.Name(node.name, ast.Store()), definitions.klass(m, state, node))


def _import(m: Machine, state: State, node: ast.Import | ast.ImportFrom) -> None:
    for local, qualified in imports_of(node):
        bindings.bind(m, state, ast.Name(local, ast.Store()), Symbol(qualified))


def _assert(m: Machine, state: State, node: ast.Assert) -> None:
    evaluate(m, state, node.test)


def _delete(m: Machine, state: State, node: ast.Delete) -> None:
    for target in node.targets:
        if isinstance(target, ast.Name):
            state.variables[m.scope.frames[0], target.id] = UNKNOWN


Handler = Callable[[Machine, State, ast.stmt], "Flow | None"]
_HANDLERS: dict[type[ast.AST], Handler] = {
    ast.Expr: _expression,  # type: ignore[dict-item]  # each handler takes the node type of its key
    ast.Assign: _assign,  # type: ignore[dict-item]
    ast.AnnAssign: _annotated,  # type: ignore[dict-item]
    ast.AugAssign: _augmented,  # type: ignore[dict-item]
    ast.If: _if,  # type: ignore[dict-item]
    ast.For: _for,  # type: ignore[dict-item]
    ast.AsyncFor: _for,  # type: ignore[dict-item]
    ast.While: _while,  # type: ignore[dict-item]
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
