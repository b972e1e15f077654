"""Calls of networks that nobody here has made, and of the optimizers that update them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from gradfix.analysis.domain.graph import Node, NodeKind
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.networks import Network, Run
from gradfix.analysis.domain.operations import save
from gradfix.analysis.domain.records import StepRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Function, Optimizer, Tensor, Value, tensors
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards.networks import whole_of
from gradfix.analysis.hazards.writes import overwrite_saves
from gradfix.analysis.operators import optimizers
from gradfix.analysis.text.trainers import Roles, detached_in, names_of, roles_in, tells_whose

_PLACES = (ast.Name, ast.Attribute, ast.Subscript)
_METHODS = frozenset({"step", "zero_grad"})
# What people call the state that a recurrent network hands on from one call to the next.
_HIDDEN = re.compile(r"hidden|(^|[._])(hx|cx|hn|cn|hs|h_?[nt0]?|c_?[nt0]?|(rnn|lstm|gru)_?state)s?([._]|$)")


def called(
    m: Machine,
    state: State,
    callee: Value,
    result: Value,
    args: Sequence[Value],
    keywords: Mapping[str, Value],
    at: ast.Call,
) -> None:
    """Something unknown, perhaps a method of it, was called and gave `result`."""
    if isinstance(at.func, ast.Attribute) and method(m, state, at.func.attr, args, at):
        return
    node = state.node_of(result) if isinstance(result, Tensor) else None
    if node is None or not isinstance(callee, Tensor) or callee.known:
        return
    network = _network(m, callee, at.func)
    if network is not None:
        given = [*zip(at.args, args, strict=False)]
        given += [(k.value, keywords[k.arg]) for k in at.keywords if k.arg is not None and k.arg in keywords]
        _run(m, state, network, given, node, at)


def method(m: Machine, state: State, name: str, args: Sequence[Value], at: ast.Call) -> bool:
    """Whether it is a method of what trains: `optimizer.step()`, `scaler.step(optimizer)`, `network.zero_grad()`."""
    if name not in _METHODS or not m.trains or not isinstance(at.func, ast.Attribute):
        return False
    if name == "step" and args and isinstance(args[0], Optimizer):
        m.uncertain_loop += 1  # a scaler leaves some steps out
        optimizers.step(m, state, args[0], at)
        m.uncertain_loop -= 1
        return True
    handed = name == "step" and bool(at.args)
    if handed and args and isinstance(args[0], Function):
        m.call_value(state, args[0], [], {}, at)
        handed = False
    expression = at.args[0] if handed else at.func.value
    if isinstance(expression, _PLACES):
        for thing in tensors(m.look(state, expression))[:1]:
            _over(m, state, thing, expression, name, at)
    return True


def _run(
    m: Machine,
    state: State,
    network: Network,
    given: Sequence[tuple[ast.expr, Value]],
    node: Node,
    at: ast.Call,
) -> None:
    """A call of a network, whose result has the graph `node`, keeps its parameters."""
    inputs, carried = [], []
    for expression, value in given:
        for behind in filter(None, map(state.node_of, tensors(value))):
            if behind.kind is not NodeKind.OP or behind in m.networks.detached:
                continue
            if whole_of(m.networks, behind) is None:
                inputs.append(behind)
            elif _HIDDEN.search(m.spelling(expression).lower()) and not _is_detached(m, expression):
                carried.append(behind)
    m.networks.met[network] = None
    m.networks.runs[node] = Run(network, tuple(inputs), tuple(carried))
    save(state, node, Tensor((network.weights,)), m.spelling(at.func), at, Tracked.MAYBE, result=False)


def _is_detached(m: Machine, hidden: ast.expr) -> bool:
    """Whether the function detaches this state, or a part of it, if only where a test says so."""
    detached = detached_in(m.tree if m.scope.info is None else m.scope.info.node)
    return not detached.isdisjoint(names_of(hidden))


def _over(m: Machine, state: State, thing: Tensor, expression: ast.expr, name: str, at: ast.Call) -> None:
    if name == "zero_grad" and (network := m.networks.known.get(thing.storage)) is not None:
        state.passed[network.leaf] = False
        return
    record = None
    for network in _updated(m, thing, expression):
        if name == "zero_grad":
            state.passed[network.leaf] = False
        elif state.passed.get(network.leaf):
            record = record or m.notes.optimizer_steps.setdefault(id(at), StepRecord(at, m.statement, m.scope.qualname))
            m.networks.steps.setdefault(network.weights, []).append(at)
            overwrite_saves(m, state, record, id(at), (network.weights,), None, certain=False)


def _updated(m: Machine, optimizer: Tensor, expression: ast.expr) -> list[Network]:
    """The networks met so far that an optimizer is for."""
    by_name = {name: network for network in m.networks.met for name in network.names}
    found: list[Network] = []
    for name, roles in _names(m, optimizer, expression):
        if name in roles.optimizers:
            stepped = [by_name[other] for other in sorted(roles.stepped_by(name, by_name))]
            if tells_whose(name):
                return list(dict.fromkeys(stepped))
            found = found or stepped
    return list(dict.fromkeys(found))


def _network(m: Machine, callee: Tensor, expression: ast.expr) -> Network | None:
    """The network that is called, where something shows that it learns."""
    for name, roles in _names(m, callee, expression):
        if name in roles.networks:
            return m.networks.network(callee.storage, name)
    return None


def _names(m: Machine, thing: Tensor, expression: ast.expr) -> Iterator[tuple[str, Roles]]:
    """What something is called here, and by those who handed it on, and what the text around says of such names."""
    spelled = m.spelling(expression)
    infos = [*([] if m.scope.info is None else [m.scope.info]), *reversed(m.calls)]
    names = (spelled, *((thing.storage.name,) if thing.storage.name else ()))
    for info in infos:
        for name in names:
            yield name, roles_in(info.node)
            if name.startswith("self.") and info.owner is not None:
                yield name, roles_in(info.owner.node)
    if not infos:
        yield spelled, roles_in(m.tree)
