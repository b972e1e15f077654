"""Backward passes and steps of optimizers that functions of other files start: what they meet here."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Protocol

from gradfix.analysis.domain.graph import Node
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import result_tensor
from gradfix.analysis.domain.reverse import Reverse
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import NO_FLOWS, Container, Flows, Optimizer, Tensor, Value
from gradfix.analysis.effects import Event, Graph
from gradfix.analysis.facts import Tracked
from gradfix.analysis.graph_ends import Behind
from gradfix.analysis.hazards import cuts, sinks
from gradfix.analysis.operators import optimizers

_Root = tuple[Tensor, ast.expr]  # what is differentiated, and the expression by which it, or the like, was handed over


class Call(Protocol):
    """A call of a function of another file."""

    @property
    def m(self) -> Machine:
        """The machine that meets it."""

    @property
    def state(self) -> State:
        """As it is there."""

    @property
    def at(self) -> ast.Call:
        """The expression."""

    @property
    def bound(self) -> Mapping[int, Value]:
        """The arguments by the places of their parameters."""

    @property
    def nodes(self) -> Mapping[int, Node | None]:
        """The graphs of those that are tensors, lists of them, or networks."""

    def tensors_at(self, place: int) -> list[Tensor]:
        """The tensors of an argument: itself, or its items."""

    def given(self, place: int) -> Sequence[ast.expr]:
        """The expressions handed over for a parameter."""

    def graph(self, graph: Graph | None) -> Node | None:
        """The node of what the function computed."""

    def flows(self, behind: Behind) -> Flows:
        """The cuts behind what the function computed."""


def happen(call: Call, number: int, event: Event) -> None:
    """One of the events of a call, the `number`th."""
    site = _site(call.m, call.at, number, event)
    held = None if event.parameter is None else call.bound.get(event.parameter)
    if event.kind == "backward":
        roots = _roots(call, event)
        certain = event.certain and len(roots) == 1 and not isinstance(held, Container)
        _backward(call, site, event, roots, certain=certain)
    elif isinstance(held, Optimizer) and event.certain:
        optimizers.method(call.m, call.state, held, event.kind, (), site)


def _site(m: Machine, at: ast.Call, number: int, event: Event) -> ast.Call:
    """What stands for the call inside the function: of the first event the call itself, then a copy for each."""
    key = id(at), f"event {event.kind}", number
    if key not in m.notes.hook_calls:
        m.notes.owners.append(at)
        copy = ast.copy_location(ast.Call(at.func, at.args, at.keywords), at)
        if (origin := m.notes.origins.get(id(at))) is not None:
            m.notes.origins[id(copy)] = origin
        m.notes.hook_calls[key] = copy if number else at
    found = m.notes.hook_calls[key]
    m.notes.elsewhere[id(found)] = event.place
    return found


def _roots(call: Call, event: Event) -> list[_Root]:
    """What is differentiated; nothing where nobody knows what was handed over."""
    if event.parameter is not None:
        every, given = call.tensors_at(event.parameter), call.given(event.parameter)
        if not event.behind.is_sure and any(call.state.node_of(tensor) is None for tensor in every):
            return []
        first = given[0] if given else call.at.func
        return list(zip(every, given if len(given) == len(every) else [first] * len(every), strict=True))
    graph = event.graph or Graph()
    if any(place not in call.nodes for place, _ in graph.parameters):
        return []
    node = call.graph(graph)
    if node is None and (graph.own != Tracked.NO.value or not event.behind.is_sure or event.behind.severed):
        return []
    root = result_tensor(call.state, node, call.at)
    cuts.put(call.state, (root,), call.flows(event.behind) if node is None else NO_FLOWS)
    places = [place for place, _ in graph.parameters]
    return [(root, next((one for place in places for one in call.given(place)), call.at.func))]


def _backward(call: Call, site: ast.Call, event: Event, roots: Sequence[_Root], *, certain: bool) -> None:
    m, state = call.m, call.state
    if certain:
        nodes = None if event.ends is None else [call.nodes.get(place) for place in event.ends]
        ends = None if nodes is None else [] if None in nodes else [node for node in nodes if node is not None]
        how = Reverse(event.has_gradient, ends, event.retained, event.accumulates)
        for root, expression in roots:
            sinks.backward(m, state, root, expression, site, how)
        return
    m.saw_backward = True
    m.notes.alarms += 1
    m.notes.open_ended = True  # whom it gives a gradient to isn't known
    sinks.reach(m, state, [root for root, _ in roots], certain=False, total=False)
