"""What a function that was played does to gradients, as its summary tells it: backward passes, steps of optimizers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gradfix.analysis.across.played import Played
from gradfix.analysis.across.returned import behind, place_of
from gradfix.analysis.domain.graph import Node
from gradfix.analysis.domain.happened import Happened
from gradfix.analysis.domain.values import Tensor
from gradfix.analysis.effects import Event, Graph
from gradfix.analysis.text.guards import is_hidden
from gradfix.torch_ops import ViewKind

_MOST = 6

GraphOf = Callable[["Node | None"], "Graph | None"]  # what of a graph a summary tells


def of_play(played: Played, graph_of: GraphOf) -> tuple[Event, ...]:
    """What surely or perhaps happens, in its order; what a `try` may hide, and what is too mixed up, is left out."""
    happened = {id(one.call): one for one in reversed(played.m.happened or ())}
    every = sorted(happened.values(), key=lambda one: one.tick)[:_MOST]
    found = (_event(played, one, graph_of) for one in every if not is_hidden(played.m.tree, one.call))
    return tuple(event for event in found if event is not None)


def unsure(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """The same, where what is differentiated may have been asked to require grad."""
    return tuple(replace(event, behind=replace(event.behind, is_sure=False)) for event in events)


def _event(played: Played, one: Happened, graph_of: GraphOf) -> Event | None:
    written = _written_before(played, one)
    place = place_of(played.m, one.call)
    if written is None:
        return None
    if one.root is None:
        whose = next((number for number, known in played.optimizers.items() if known is one.optimizer), None)
        return None if whose is None else Event(one.kind, place, one.certain, written, whose)
    root = one.root
    parameter = _parameter(played, root)
    graph = graph_of(one.node) if parameter is None else None
    if parameter is None and graph is None:
        return None
    return Event(
        one.kind,
        place,
        one.certain and (root.known or parameter is not None),
        written,
        parameter,
        graph,
        behind(played, one.flows, one.node),
        _ends(played, one),
        one.how.has_gradient,
        one.how.retained,
        one.how.accumulates,
    )


def _parameter(played: Played, root: Tensor) -> int | None:
    """Which argument it is that is differentiated."""
    if root.view is not ViewKind.NONE or root.detached or len(root.storages) > 1:
        return None
    return next((place for place, storage in played.arguments.items() if storage is root.storage), None)


def _ends(played: Played, one: Happened) -> tuple[int, ...] | None:
    if one.how.ends is None:
        return None
    places = {id(node): place for place, node in played.nodes.items()}
    found = [places.get(id(node)) for node in one.how.ends]
    return () if None in found else tuple(place for place in found if place is not None)


def _written_before(played: Played, one: Happened) -> tuple[int, ...] | None:
    """The arguments that are written before; None where one is before and after."""
    found = []
    for place, storage in played.arguments.items():
        ticks, stamp = [], played.state.log.get(storage)
        while stamp is not None:
            ticks.append(stamp.tick < one.tick)
            stamp = stamp.before
        if any(ticks) and not all(ticks):
            return None
        found += [place] if any(ticks) else []
    return tuple(found)
