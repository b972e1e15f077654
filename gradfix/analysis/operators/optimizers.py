"""Optimizers of torch.optim: `step` writes, in place, every parameter that has got a gradient."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from gradfix.analysis.cut_kinds import Elsewhere
from gradfix.analysis.domain.graph import Node, NodeKind
from gradfix.analysis.domain.happened import Happened
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors
from gradfix.analysis.domain.records import StepRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import (
    NONE,
    UNKNOWN,
    Container,
    Function,
    Optimizer,
    Storage,
    Tensor,
    Value,
    now,
)
from gradfix.analysis.hazards.writes import overwrite_saves
from gradfix.analysis.text.one_line import one_line
from gradfix.analysis.text.trainers import parameter_owners
from gradfix.analysis.updates import EarlyStep
from gradfix.findings import Hazard, HazardKind, Severity

_DEPTH = 3  # groups are dicts in a list


def over(m: Machine, state: State, name: str, value: Value, at: ast.Call) -> Optimizer:
    """The optimizer of what its constructor is given."""
    given = [s for tensor in _given(state, value, _DEPTH) for s in tensor.storages]
    return Optimizer(tuple(dict.fromkeys((*given, *(_of_networks(m, state, at) if m.trains else ())))), name == "LBFGS")


def _of_networks(m: Machine, state: State, at: ast.Call) -> Iterator[Storage]:
    """The parameters of networks that nobody here has made."""
    for owner in parameter_owners(at):
        found = m.look(state, owner)
        if isinstance(found, Tensor) and not found.known:
            yield m.networks.network(found.storage, m.spelling(owner)).weights


def _given(state: State, value: Value, depth: int) -> list[Tensor]:
    if depth and isinstance(value, Container) and (held := state.items.get(value)) is not None:
        return [tensor for item in held.values for tensor in _given(state, item, depth - 1)]
    return all_tensors([value])


def method(m: Machine, state: State, optimizer: Optimizer, name: str, args: Sequence[Value], at: ast.Call) -> Value:
    """Call `optimizer.name(…)`."""
    if name == "step":
        closure = args[0] if args and isinstance(args[0], Function) else None
        loss = NONE if closure is None else m.call_value(state, closure, [], {}, at)
        if closure is not None and optimizer.repeats:
            m.uncertain_loop += 1
            m.call_value(state, closure, [], {}, at)
            m.uncertain_loop -= 1
        step(m, state, optimizer, at)
        return loss
    if name == "zero_grad":
        _note_happened(m, name, optimizer, at)
        zero_grad(m, state, optimizer)
    return UNKNOWN


def _note_happened(m: Machine, kind: str, optimizer: Optimizer, at: ast.Call) -> None:
    if m.happened is not None and not m.later_round:
        m.happened.append(Happened(kind, at, not (m.arms or m.uncertain_loop), now(), optimizer=optimizer))


def step(m: Machine, state: State, optimizer: Optimizer, at: ast.Call) -> None:
    """`optimizer.step()`."""
    origin = m.notes.origins.get(id(at))
    if origin is not None and isinstance(origin.call, ast.Call):
        m.notes.elsewhere[id(origin.call)] = Elsewhere(origin.file, origin.line, one_line(ast.unparse(at)))
        at = origin.call
    _note_happened(m, "step", optimizer, at)
    with m.at_home():
        made = StepRecord(at, m.statement, m.scope.qualname)
    record = m.notes.optimizer_steps.setdefault(id(at), made)
    if m.saw_backward and not (m.calls and m.calls[0].owner is not None):  # other methods may feed what an object holds
        nodes = [state.nodes.get(storage) for storage in optimizer.parameters]
        if nodes and all(node is not None and node.kind is NodeKind.LEAF for node in nodes):
            m.notes.stepped.add(frozenset(map(id, nodes)))
    for storage in optimizer.parameters:
        node = _leaf(m, state, storage)
        if node is not None and state.passed.get(node):
            m.networks.steps.setdefault(storage, []).append(at)
            overwrite_saves(m, state, record, id(at), (storage,), None, certain=not m.uncertain_loop)


def zero_grad(m: Machine, state: State, optimizer: Optimizer) -> None:
    """`optimizer.zero_grad()`: none has a gradient any more."""
    for storage in optimizer.parameters:
        if (node := _leaf(m, state, storage)) is not None:
            state.passed[node] = False


def _leaf(m: Machine, state: State, storage: Storage) -> Node | None:
    return state.nodes.get(storage) or m.networks.leaves.get(storage)


def facts_of_steps(m: Machine, ordinals: Mapping[int, int]) -> tuple[EarlyStep, ...]:
    """Steps over parameters that a later backward needs, in source order."""
    found = []
    for record in sorted(m.notes.optimizer_steps.values(), key=lambda r: (r.node.lineno, r.node.col_offset)):
        if record.hazards:
            severity = Severity.ERROR if record.is_proven() else Severity.WARNING
            hazards = tuple(
                Hazard(
                    HazardKind.SAVED_THEN_WRITTEN,
                    m.place(record.node, "the parameters are updated in place here"),
                    None if note.save is None else m.place(note.save, f"`{note.op}` saved them for backward here"),
                    ast.unparse(record.node.func),
                )
                for note in sorted(record.hazards, key=lambda note: not any(record.hazards[note].values()))
            )
            ordinal = ordinals.get(id(record.statement), 0)
            there = m.notes.elsewhere.get(id(record.node))
            found.append(EarlyStep(record.node, record.statement, record.function, ordinal, severity, hazards, there))
    return tuple(found)
