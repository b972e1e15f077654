"""What a function does to its arguments, read off the interpreter after it has played the function on tensors."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from gradfix.analysis.domain.annotations import counted, promised
from gradfix.analysis.domain.defined import MODULE
from gradfix.analysis.domain.graph import Node, NodeKind, Save, must_reach, reachable
from gradfix.analysis.domain.machine import Machine, Scope
from gradfix.analysis.domain.operations import outside
from gradfix.analysis.domain.records import WriteRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import (
    Class,
    Const,
    Container,
    Function,
    Instance,
    Number,
    Origin,
    Storage,
    Tensor,
    Value,
    options,
)
from gradfix.analysis.facts import Tracked, WriteForm
from gradfix.analysis.interpreter import calls, roots
from gradfix.analysis.operators import custom_functions, objects
from gradfix.analysis.summaries import Effects, Given, Graph, Kept, Memory, Parameter, Returned, Written
from gradfix.analysis.text.names import other_uses
from gradfix.analysis.text.parameters import annotations_of
from gradfix.analysis.text.targets import VIEW_ATTRIBUTES
from gradfix.torch_ops import method_names

_OF_TENSORS = objects.METADATA | objects.QUIET_METHODS | VIEW_ATTRIBUTES | {"grad", "grad_fn"}  # beside methods
_MOST_KEPT = 12
_MOST_ALONE = 2  # parameters of which each is tried as the only one that requires grad
_DEPTH = 3


@dataclass(slots=True)
class _Played:
    """A function after it has run: the memory of its arguments, the end, the result."""

    arguments: dict[int, Storage]
    nodes: dict[int, Node | None]
    state: State
    result: Value
    memories: list[Storage] = field(default_factory=list)  # that it hands out, in the order in which they are met

    def place(self, storage: Storage) -> int | None:
        """How a summary calls a memory."""
        for number, argument in self.arguments.items():
            if argument is storage:
                return number
        return next((~i for i, memory in enumerate(self.memories) if memory is storage), None)


def of_function(m: Machine, end: State, name: str, parameters: Sequence[Parameter], given: Given) -> Effects | None:
    """The effects of a function or method of the module whose top level left `end`; None for what can't be followed."""
    play = _player(m, end, name, parameters, given)
    if play is None:
        return None
    played = play(None)
    if played is None:
        return None
    returned = _returned(played, played.result, _DEPTH)
    saves = list(_saves(played))
    alone = _alone(play, played, saves) if saves else {}
    kept = [_kept(played, save, place, alone) for save, place in saves]
    written = tuple(w for i in sorted(played.arguments) if (w := _written(m, played, i)) is not None)
    graphs = tuple((w.parameter, _graph(played, played.arguments[w.parameter], saves)) for w in written)
    memories = tuple(
        Memory(_graph(played, memory, saves), memory.origin is not Origin.FRESH) for memory in played.memories
    )
    return Effects(given, written, graphs, tuple(kept), memories, returned)


Player = Callable[[int | None], "_Played | None"]  # takes the only argument that requires grad; -1: none; None: all


def _player(m: Machine, end: State, name: str, parameters: Sequence[Parameter], given: Given) -> Player | None:
    owner, _, method = name.rpartition(".")
    held = end.variables.get((MODULE, owner or name))
    if not owner:
        if not isinstance(held, Function) or held.info.is_generator or isinstance(held.info.node, ast.Lambda):
            return None
        return lambda only: _play(copy.copy(m), end.fork(), held, None, parameters, given, only)
    if not isinstance(held, Class):
        return None
    info = held.info
    if method == "apply":
        return lambda only: _play_custom(copy.copy(m), end.fork(), held, parameters, only)
    found = info.method(method)
    if found is None or found.is_generator or found not in m.defined.functions:
        return None
    closed = m.defined.bound(found, None)

    def play(only: int | None) -> _Played | None:
        own, state, made = copy.copy(m), end.fork(), None
        if not roots.is_static(found):
            own.begin(id(found.node))
            own.calls, own.steps = [], 0
            made, state = roots.self_of(own, state, info)
        return _play(own, state, closed, made, parameters, given, only)

    return play


@lru_cache(maxsize=64)
def _others(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> frozenset[str]:
    return other_uses(node, method_names() | _OF_TENSORS)


def _arguments(
    state: State, function: Function, parameters: Sequence[Parameter], given: Given, only: int | None
) -> tuple[dict[str, Value], dict[int, Storage]]:
    constants = {place: value for place, _, value in given}
    node = function.info.node
    annotations = annotations_of(node.args)
    others = _others(node)
    values: dict[str, Value] = {}
    memories: dict[int, Storage] = {}
    for place, parameter in enumerate(parameters):
        promise = promised(state, parameter.name, annotations.get(parameter.name))
        if place in constants:
            values[parameter.name] = Const(constants[place])
        elif promise is not None and counted(promise):
            values[parameter.name] = promise
        else:
            tensor = Tensor((Storage(Origin.ARGUMENT, parameter.name),), known=parameter.name not in others)
            tensor.dtype = f"?{parameter.name}"
            requires = only is None or only == place
            node_of = Node(NodeKind.ASSUMED, parameter.name, (), Tracked.YES) if requires else None
            state.nodes[tensor.storage] = node_of
            values[parameter.name], memories[place] = tensor, tensor.storage
    return values, memories


def _play(
    m: Machine,
    state: State,
    function: Function,
    receiver: Instance | None,
    parameters: Sequence[Parameter],
    given: Given,
    only: int | None,
) -> _Played | None:
    """Run a function on tensors, of which one, all or none require grad."""
    info = function.info
    values, memories = _arguments(state, function, parameters, given, only)
    nodes = {place: state.nodes.get(storage) for place, storage in memories.items()}
    m.begin(id(info.node))
    m.calls, m.steps, m.yield_to = [info], 0, None
    frame = m.new_frame()
    before = [receiver] if receiver is not None else []
    calls.bind_parameters(
        m, state, info, frame, before, {}, function, lambda name: values.get(name) or outside(state, name)
    )
    state.grad = Tracked.NO if function.no_grad else Tracked.YES
    with m.inside(Scope(info.qualname, (frame, *function.frames), info)):
        result = m.run_body(state, info)
    return None if m.exhausted else _Played(memories, nodes, state, result)


def _play_custom(
    m: Machine, state: State, held: Class, parameters: Sequence[Parameter], only: int | None
) -> _Played | None:
    """Run `apply` of an autograd Function."""
    forward = held.info.method("forward")
    if forward is None:
        return None
    values, memories = _arguments(state, m.defined.bound(forward, None), parameters, (), only)
    nodes = {place: state.nodes.get(storage) for place, storage in memories.items()}
    m.begin(id(forward.node))
    at = ast.copy_location(ast.Call(ast.Name(held.info.node.name, ast.Load()), [], []), forward.node)
    result = custom_functions.apply(m, state, held.info, list(values.values()), at)
    return _Played(memories, nodes, state, result)


def _returned(played: _Played, value: Value, depth: int) -> Returned:
    if isinstance(value, Tensor):
        return _returned_tensor(played, value)
    if isinstance(value, Number):
        return Returned("number", type=value.type)
    if isinstance(value, Const) and isinstance(value.value, (bool, int, float, str, type(None))):
        return Returned("constant", value=value.value)
    if isinstance(value, Container) and value.kind in ("tuple", "list") and depth:
        held = played.state.items.get(value)
        if held is not None and held.exact and len(held.values) <= 8:
            return Returned(value.kind, items=tuple(_returned(played, item, depth - 1) for item in held.values))
    several = options(value)
    if len(several) > 1 and depth:
        return Returned("one of", items=tuple(_returned(played, option, depth - 1) for option in several))
    return Returned("unknown")


def _returned_tensor(played: _Played, tensor: Tensor) -> Returned:
    places = []
    for storage in tensor.storages:
        if played.place(storage) is None:
            played.memories.append(storage)
        places.append(played.place(storage))
    if not tensor.known and any(place < 0 for place in places if place is not None):
        return Returned("unknown")
    dtype = tensor.dtype if tensor.dtype is not None and not tensor.dtype.startswith("?") else None
    return Returned(
        "tensor",
        tuple(place for place in places if place is not None),
        view=tensor.view.value,
        detached=tensor.detached,
        dtype=dtype,
        floating=tensor.floating,
    )


def _saves(played: _Played) -> Iterator[tuple[Save, int]]:
    """What backward still keeps of arguments and results at the end, and wasn't overwritten since."""
    broken = {save for (save, _), _ in played.state.conflicts.items()}
    ends = [n for s in (*played.memories, *played.arguments.values()) if (n := played.state.nodes.get(s)) is not None]
    passed = {id(node) for end in ends for node in reachable(end)}
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
    play: Player, played: _Played, saves: Sequence[tuple[Save, int]]
) -> dict[int, set[tuple[int, str, bool, int]]]:
    """What is kept where only one argument requires grad, by its place; -1: where none does."""
    behind = {id(n): n for save, _ in saves for n in reachable(save.node)}
    with_graph = [place for place, node in played.nodes.items() if id(node) in behind]
    leaves = any(n.kind is NodeKind.LEAF for n in behind.values())
    tried = [-1] if leaves else []
    if len(with_graph) > 1:
        tried += with_graph[:_MOST_ALONE]
    found: dict[int, set[tuple[int, str, bool, int]]] = {}
    for only in tried:
        again = play(only)
        if again is not None:
            _returned(again, again.result, _DEPTH)
            found[only] = {_key(save, place) for save, place in _saves(again)}
    return found


def _kept(played: _Played, save: Save, place: int, alone: dict[int, set[tuple[int, str, bool, int]]]) -> Kept:
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
    return Kept(place, save.op, getattr(save.at, "lineno", 0), bool(must and save.certain), when)


def _graph(played: _Played, storage: Storage, saves: Sequence[tuple[Save, int]]) -> Graph | None:
    node = played.state.nodes.get(storage)
    if node is None:
        return None
    passed = {id(n): n for n in reachable(node)}
    parameters = tuple(
        (place, must_reach(node, own, None))
        for place, own in played.nodes.items()
        if own is not None and id(own) in passed
    )
    kept = tuple((i, must_reach(node, save.node, None)) for i, (save, _) in enumerate(saves) if id(save.node) in passed)
    mine = set(map(id, played.nodes.values()))
    ends = [n for n in passed.values() if n.kind in (NodeKind.LEAF, NodeKind.ASSUMED) and id(n) not in mine]
    others = [n for n in ends if n.op != "call"]  # what nobody knows hardly has leaves of its own
    sure = any(n.tracked is Tracked.YES and must_reach(node, n, None) for n in others)
    own = Tracked.YES if sure else Tracked.MAYBE if others else Tracked.NO
    return Graph(parameters, kept, own.value)


def _written(m: Machine, played: _Played, place: int) -> Written | None:
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
    node = record.node
    text = " ".join(m.source.span_of(node).text(m.source.text).split())
    view = bool(record.index) or not isinstance(record.target, (ast.Name, ast.Attribute)) or record.named_view
    short = text if len(text) <= 60 else text[:59] + "…"
    return Written(place, getattr(node, "lineno", 0), short, certain, view, off and played.nodes[place] is not None)
