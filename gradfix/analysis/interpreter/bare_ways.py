"""Values that come on several ways, of which some bring a tensor without a graph: those are remembered."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import NamedTuple

from gradfix.analysis.domain.graph import Node, phi, reachable
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import facts_of
from gradfix.analysis.domain.records import BareRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import UNKNOWN, Tensor, Value, now
from gradfix.analysis.hazards.cuts import flows_of
from gradfix.analysis.operators import objects
from gradfix.analysis.tensor_facts import Tracked
from gradfix.analysis.text.names import used_as_tensors
from gradfix.analysis.text.nodes import every_node
from gradfix.analysis.text.sure_names import unsure_names
from gradfix.analysis.way_facts import Operand
from gradfix.torch_ops import method_names


class Way(NamedTuple):
    """One way to a value."""

    state: State
    value: Value
    spelled: ast.expr  # what gives it
    statement: ast.stmt
    branch: ast.If | ast.IfExp | None  # the innermost one on tensor data that decides whether it is taken
    records: bool  # whether autograd may record what is computed there


class _Bare(NamedTuple):
    way: Way
    tensor: Tensor
    branch: ast.If | ast.IfExp


def told_apart(m: Machine, end: State, result: Value, ways: Sequence[Way], names: Iterable[ast.Name]) -> None:
    """Give the `result` of one of `ways`, in the state `end`, a graph of which each way without one is a branch.

    `names` may stand for what connects the other ways to the leaves.
    """
    graphs = [way.state.node_of(way.value) if isinstance(way.value, Tensor) else None for way in ways]
    connected = [graph for graph in graphs if graph is not None]
    deciding = next((w.branch for w, graph in zip(ways, graphs, strict=True) if graph and w.branch), None)
    bare = [_bare(way, deciding) for way, graph in zip(ways, graphs, strict=True) if graph is None]
    if not isinstance(result, Tensor) or not connected or not bare:
        return
    graph = phi(connected, m.statement)
    assert graph is not None
    behind = {id(node) for node in reachable(graph)}
    told: list[tuple[_Bare, Node]] = []
    for one in bare:
        if one is None:
            return
        graph = phi((graph, None), one.branch)  # type: ignore[arg-type]  # only its identity counts
        assert graph is not None
        told.append((one, graph))
    loaded = list(names)
    for one, graph in told:
        _remember(m, one, graph, _operands(m, one, behind, loaded))
    if len(result.storages) == 1:
        end.nodes[result.storage] = graph
    else:
        end.chosen[result.choice] = (graph, now())


def bound_apart(m: Machine, joined: State, branch: ast.If, ends: tuple[State, State]) -> None:
    """The same of names that both arms of `branch`, where tensor data decide, bind last to different values."""
    first, second = (_last_bound(arm) for arm in (branch.body, branch.orelse))
    both = [name for name in first if name in second]  # in the order of the text
    for name in both:
        place = (m.scope.frames[0], name)
        values, merged = [end.variables.get(place) for end in ends], joined.variables.get(place)
        bound = (first[name], second[name])
        ways = [
            Way(end, value, at.value, at, branch, end.grad is not Tracked.NO)
            for end, value, at in zip(ends, values, bound, strict=True)
            if value is not None
        ]
        if len(ways) == 2 and isinstance(merged, Tensor) and ways[0].value is not ways[1].value:
            read = (n for n in every_node(branch) if isinstance(n, ast.Name) and n.id != name)
            told_apart(m, joined, merged, ways, read)


def _last_bound(arm: Sequence[ast.stmt]) -> dict[str, ast.Assign]:
    """The last assignments in it to a name alone."""
    plain = (s for s in arm if isinstance(s, ast.Assign) and len(s.targets) == 1)
    return {s.targets[0].id: s for s in plain if isinstance(s.targets[0], ast.Name)}


def _bare(way: Way, deciding: ast.If | ast.IfExp | None) -> _Bare | None:
    """None where nothing is known of the tensor, a cut is to blame, or tensor data don't decide."""
    branch, tensor = way.branch or deciding, way.value
    if branch is None or not isinstance(tensor, Tensor) or not tensor.known or tensor.made_by is None:
        return None
    return None if flows_of(way.state, tensor) else _Bare(way, tensor, branch)


def _remember(m: Machine, bare: _Bare, graph: Node, operands: tuple[Operand, ...]) -> None:
    way, tensor, branch = bare
    key = (id(branch), id(way.spelled))
    record = m.notes.bare.get(key)
    if record is None:
        facts = facts_of(way.state, tensor)
        scope = None if m.scope.info is None else m.scope.info.node
        record = BareRecord(way.spelled, way.statement, branch, m.scope.qualname, facts, operands, way.records, scope)
        m.notes.bare[key] = record
    else:
        known = {operand.name: operand for operand in operands}
        record.records = record.records and way.records
        record.operands = tuple(_either(o, known[o.name]) for o in record.operands if o.name in known)
    m.notes.phis[id(graph)] = record
    m.notes.owners.append(graph)


def _either(a: Operand, b: Operand) -> Operand:
    tensor = a.tensor if a.tensor == b.tensor else replace(a.tensor, shape=None, dtype=None)
    return Operand(a.name, tensor, a.same_dtype and b.same_dtype)


def _operands(m: Machine, bare: _Bare, behind: Set[int], names: Iterable[ast.Name]) -> tuple[Operand, ...]:
    """The tensors in scope that the other ways go back to; of two of which one goes into the other, that."""
    state = bare.way.state
    scope = m.tree if m.scope.info is None else m.scope.info.node
    unsure = unsure_names(m.tree, scope, bare.way.statement)
    found: dict[str, tuple[Node, Tensor]] = {}
    for name in {name.id: name for name in names}.values():
        value = UNKNOWN if name.id in unsure else m.look(state, name)
        node = state.node_of(value) if isinstance(value, Tensor) else None
        if node is not None and id(node) in behind and isinstance(value, Tensor):
            found[name.id] = (node, value)
    if not all(value.known for _, value in found.values()):
        used = used_as_tensors(scope, method_names(), objects.ATTRIBUTES, lambda i: _is_known(m.look(state, i)))
        found = {name: pair for name, pair in found.items() if pair[1].known or name in used}
    computed = {name: pair for name, pair in found.items() if pair[1].known or pair[0].inputs}
    found = computed or found  # what a call gave rather than a batch that is as unknown
    return tuple(
        Operand(name, facts_of(state, value), value.dtype is not None and value.dtype == bare.tensor.dtype)
        for name, value in _fewest(found)
    )


def _is_known(value: Value) -> bool:
    return isinstance(value, Tensor) and value.known


def _fewest(found: Mapping[str, tuple[Node, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """As few as go back to all that the others go back to, of two of which one goes into the other that."""
    inner = {id(n) for node, _ in found.values() for n in reachable(node) if n is not node}
    ends = {
        name: {id(n) for n in reachable(node) if not n.inputs}
        for name, (node, _) in found.items()
        if id(node) not in inner
    }
    missing = set[int]().union(*ends.values())
    while missing:
        name = max(ends, key=lambda name: len(ends[name] & missing))
        missing -= ends.pop(name)
        yield name, found[name][1]
