"""What a function does to its arguments, read off the interpreter after it has played the function on tensors."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from gradfix.analysis.across import events
from gradfix.analysis.across.played import Played, Player, player, player_of_made
from gradfix.analysis.across.returned import behind_memory, returned
from gradfix.analysis.domain.defined import MODULE
from gradfix.analysis.domain.graph import Node, NodeKind, Passed, Save, reachable
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import WriteRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Origin, Storage
from gradfix.analysis.effects import Effects, Given, Graph, Inner, Kept, Memory, Parameter, Written
from gradfix.analysis.facts import Tracked, WriteForm
from gradfix.analysis.hazards import gradients
from gradfix.analysis.text.one_line import one_line

_MOST_KEPT = 12
_MOST_INNER = 8
_MOST_ALONE = 2  # parameters of which each is tried as the only one that requires grad
_DEPTH = 3


def of_function(
    m: Machine, end: State, name: str, parameters: Sequence[Parameter], given: Given, making: Given | None = None
) -> Effects | None:
    """The effects of a function or method of the module whose top level left `end`; None for what can't be followed.

    `making`: those of a call of what the function returns for these constants.
    """
    play = player(m, end, name, parameters, given) if making is None else player_of_made(m, end, name, making)
    if play is None:
        return None
    played = play(None)
    if played is None:
        return None
    result = returned(played, played.result, _DEPTH)
    saves = list(_saves(played))
    alone = _alone(play, played, saves) if saves else {}
    kept = [_kept(played, save, place, alone) for save, place in saves]
    written = tuple(w for i in sorted(played.arguments) if (w := _written(m, played, i)) is not None)
    inner = _inner(played)
    nodes = played.state.nodes
    graphs = tuple(
        (w.parameter, _graph(played, nodes.get(played.arguments[w.parameter]), saves, inner)) for w in written
    )
    memories = tuple(_memory(played, memory, saves, inner) for memory in played.memories)
    parts = tuple(_part(played, node) for node in inner)
    found = events.of_play(played, lambda node: _graph(played, node, saves, inner))
    return Effects(given, written, graphs, tuple(kept), memories, result, parts, found)


def of_variable(m: Machine, end: State, name: str) -> Effects | None:
    """What reading a variable of the module gives whose top level left `end`; None where it is no value by itself."""
    value = end.variables.get((MODULE, name))
    if value is None:
        return None
    played = Played({}, {}, m, end, value)
    result = returned(played, value, _DEPTH)
    return Effects(memories=tuple(_memory(played, memory, (), ()) for memory in played.memories), returned=result)


def _memory(played: Played, memory: Storage, saves: Sequence[tuple[Save, int]], inner: Sequence[Node]) -> Memory:
    node = played.state.nodes.get(memory)
    is_leaf = node is not None and node.kind is NodeKind.LEAF and node.tracked is Tracked.YES
    outside = memory.origin is not Origin.FRESH
    return Memory(_graph(played, node, saves, inner), outside, behind_memory(played, memory), is_leaf)


def _saves(played: Played) -> Iterator[tuple[Save, int]]:
    """What backward still keeps of arguments and results at the end, and wasn't overwritten since."""
    broken = {save for (save, _), _ in played.state.conflicts.items()}
    ends = [played.state.nodes.get(storage) for storage in (*played.memories, *played.arguments.values())]
    passed = set(map(id, reachable(*ends)))
    for storage in (*played.arguments.values(), *played.memories):
        place = played.place(storage)
        assert place is not None
        found = [s for s in played.state.saves.get(storage) or {} if s not in broken and id(s.node) in passed]
        if place < 0:  # that an unknown module may keep what it returns is no evidence
            found = [save for save in found if save.certain]
        found.sort(key=lambda save: not save.certain)
        yield from ((save, place) for save in found[:_MOST_KEPT])


def _key(save: Save, place: int) -> tuple[int, str, bool, int]:
    return id(save.at), save.op, save.result, place


def _alone(
    play: Player, played: Played, saves: Sequence[tuple[Save, int]]
) -> dict[int, set[tuple[int, str, bool, int]]]:
    """What is kept where only one argument requires grad, by its place; -1: where none does."""
    behind = {id(n): n for n in reachable(*(save.node for save, _ in saves))}
    with_graph = [place for place, node in played.nodes.items() if id(node) in behind]
    leaves = any(n.kind is NodeKind.LEAF for n in behind.values())
    tried = [-1] if leaves else []
    if len(with_graph) > 1:
        tried += with_graph[:_MOST_ALONE]
    found: dict[int, set[tuple[int, str, bool, int]]] = {}
    for only in tried:
        again = play(only)
        if again is not None:
            returned(again, again.result, _DEPTH)
            found[only] = {_key(save, place) for save, place in _saves(again)}
    return found


def _kept(played: Played, save: Save, place: int, alone: dict[int, set[tuple[int, str, bool, int]]]) -> Kept:
    must = (played.state.saves.get(save.storage) or {}).get(save, False)
    key = _key(save, place)
    behind = set(map(id, reachable(save.node)))
    tensors = [number for number, node in played.nodes.items() if id(node) in behind]
    tried = len(tensors) > 1
    when: tuple[int, ...] | None = tuple(n for n in tensors if not tried or key in alone.get(n, ()))
    if key in alone.get(-1, ()):
        when = None
    elif not when:
        when = tuple(tensors)  # only several together
        must = False
    return Kept(place, save.op, getattr(save.at, "lineno", 0), bool(must and save.certain), when, tuple(tensors))


def _inner(played: Played) -> list[Node]:
    """Of the operations that keep something, one for each set of results that surely have it behind them."""
    behind: dict[int, tuple[Node, list[int]]] = {}
    for place, memory in enumerate(played.memories):
        for node in Passed(played.state.nodes.get(memory)).always():
            if node.kind is NodeKind.OP and gradients.keeps(played.m, node):
                behind.setdefault(id(node), (node, []))[1].append(place)
    found: dict[tuple[int, ...], Node] = {}
    for node, places in behind.values():
        known = found.get(tuple(places))
        if known is None or _is_surer(node, known):
            found[tuple(places)] = node
    return list(found.values())[:_MOST_INNER]


def _is_surer(node: Node, known: Node) -> bool:
    """Whether it is surer that the one keeps something than that the other does."""
    ranks = [(n.tracked is Tracked.YES, gradients.surely_keeps(n)) for n in (node, known)]
    return ranks[0] > ranks[1]


def _part(played: Played, node: Node) -> Inner:
    passed = Passed(node)
    keeps = Tracked.YES if gradients.surely_keeps(node) else Tracked.MAYBE
    return Inner(_parameters(played, passed), _own(played, passed).value, keeps.value)


def _parameters(played: Played, passed: Passed) -> tuple[tuple[int, bool], ...]:
    """The arguments that backward gets to, and whether it does on every way."""
    return tuple(
        (place, passed.surely(own))
        for place, own in played.nodes.items()
        if own is not None and id(own) in passed.nodes
    )


def _own(played: Played, passed: Passed) -> Tracked:
    """Whether backward gets to leaves of the function's own."""
    mine = set(map(id, played.nodes.values()))
    ends = [n for n in passed.nodes.values() if n.kind in (NodeKind.LEAF, NodeKind.ASSUMED) and id(n) not in mine]
    others = [n for n in ends if n.op != "call"]  # what nobody knows hardly has leaves of its own
    sure = any(n.tracked is Tracked.YES and passed.surely(n) for n in others)
    return Tracked.YES if sure else Tracked.MAYBE if others else Tracked.NO


def _graph(played: Played, node: Node | None, saves: Sequence[tuple[Save, int]], inner: Sequence[Node]) -> Graph | None:
    if node is None:
        return None
    passed = Passed(node)
    kept = tuple((i, passed.surely(save.node)) for i, (save, _) in enumerate(saves) if id(save.node) in passed.nodes)
    parts = tuple(i for i, part in enumerate(inner) if passed.surely(part))
    return Graph(_parameters(played, passed), kept, parts, _own(played, passed).value)


def _written(m: Machine, played: Played, place: int) -> Written | None:
    stamp = played.state.log.get(played.arguments[place])
    found: tuple[bool, WriteRecord] | None = None
    off = True
    while stamp is not None:
        record = m.notes.writes.get(stamp.visit.key)
        if record is not None and record.form not in (WriteForm.DATA, WriteForm.ARRAY):
            certain = not stamp.arms and stamp.visit.certain and len(stamp.visit.storages) == 1
            off = off and stamp.visit.node is None
            if found is None or certain >= found[0]:
                found = certain, record
        stamp = stamp.before
    if found is None:
        return None
    certain, record = found
    node = next((made for made in record.makers if isinstance(made, ast.Call)), record.node)
    text = one_line(m.source.span_of(node).text(m.source.text))
    view = bool(record.index) or not isinstance(record.target, (ast.Name, ast.Attribute)) or record.named_view
    off = off and played.nodes[place] is not None
    behind = behind_memory(played, played.arguments[place])
    return Written(place, getattr(node, "lineno", 0), text, certain, view, off, behind)
