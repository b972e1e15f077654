"""A function of another file, played on tensors and lists of them."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from gradfix.analysis.across.signatures import parameters_of
from gradfix.analysis.domain.annotations import counted, promised
from gradfix.analysis.domain.defined import MODULE
from gradfix.analysis.domain.definitions import ClassInfo, FunctionInfo
from gradfix.analysis.domain.graph import Node, NodeKind
from gradfix.analysis.domain.machine import Machine, Scope
from gradfix.analysis.domain.operations import outside
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import (
    Choice,
    Class,
    Const,
    Container,
    Function,
    Instance,
    Layer,
    Optimizer,
    Origin,
    Storage,
    Tensor,
    Value,
)
from gradfix.analysis.effects import LISTS, NETWORK, OPTIMIZER, Given, Parameter
from gradfix.analysis.facts import Tracked
from gradfix.analysis.interpreter import calls, classes, objects_elsewhere, roots
from gradfix.analysis.operators import custom_functions, objects
from gradfix.analysis.text.names import other_uses
from gradfix.analysis.text.parameters import annotations_of, positional_of
from gradfix.torch_ops import method_names


@dataclass(slots=True)
class Played:
    """A function after it has run: the memory of its arguments, the end, the result."""

    arguments: dict[int, Storage]
    nodes: dict[int, Node | None]
    m: Machine
    state: State
    result: Value
    optimizers: dict[int, Optimizer] = field(default_factory=dict)  # among the arguments
    memories: list[Storage] = field(default_factory=list)  # that it hands out, in the order in which they are met

    def place(self, storage: Storage) -> int | None:
        """How a summary calls a memory."""
        for number, argument in self.arguments.items():
            if argument is storage:
                return number
        return next((~i for i, memory in enumerate(self.memories) if memory is storage), None)


Player = Callable[[int | None], "Played | None"]  # takes the only argument that requires grad; -1: none; None: all


def player(m: Machine, end: State, name: str, parameters: Sequence[Parameter], given: Given) -> Player | None:
    """What plays a function or method of the module whose top level left `end`; None for what can't be followed."""
    owner, _, method = name.rpartition(".")
    held = end.variables.get((MODULE, owner or name))
    if not owner:
        if not isinstance(held, Function) or held.info.is_generator or isinstance(held.info.node, ast.Lambda):
            return None
        if held.info in m.defined.altered:
            return None
        return lambda only: _play(copy.copy(m), end.fork(), held, None, parameters, given, only)
    if not isinstance(held, Class):
        return None
    info = held.info
    if method == "apply" and info.derives_from(*calls.CUSTOM_FUNCTIONS):
        return lambda only: _play_custom(copy.copy(m), end.fork(), held, parameters, only)
    found = info.method(method)
    if found is None and method == "forward":
        return _player_of_layer(m, end, info)
    if found is None or found.is_generator or found not in m.defined.functions or found in m.defined.altered:
        return None
    closed = m.defined.bound(found, None)

    def play(only: int | None) -> Played | None:
        own, state, made = copy.copy(m), end.fork(), None
        if not roots.is_static(found):
            own.begin(id(found.node))
            own.calls, own.steps = [], 0
            made, state = roots.self_of(own, state, info)
        return _play(own, state, closed, made, parameters, given, only)

    return play


def player_of_made(m: Machine, end: State, name: str, given: Given) -> Player | None:
    """What plays a call of the module that a function returns for these constants."""
    held = end.variables.get((MODULE, name))
    if not isinstance(held, Function) or held.info.is_generator or isinstance(held.info.node, ast.Lambda):
        return None
    function, parameters, call = held, parameters_of(held.info.node), _call_at(held.info.node)

    def play(only: int | None) -> Played | None:
        own = copy.copy(m)
        made = _play(own, end.fork(), function, None, parameters, given, None)
        return None if made is None else _play_module(own, made.state, made.result, call, only)

    return play


def _player_of_layer(m: Machine, end: State, info: ClassInfo) -> Player:
    """What plays a call of an object whose class leaves its `forward` to one of torch.nn."""
    call = _call_at(info.node)

    def play(only: int | None) -> Played | None:
        own, state = copy.copy(m), end.fork()
        own.begin(id(info.node))
        own.calls, own.steps = [], 0
        made, state = roots.self_of(own, state, info)
        layer = classes.layer_of(state, made)
        return None if layer is None else _play_module(own, state, layer, call, only)

    return play


def _call_at(at: ast.AST) -> ast.Call:
    """The call of a module on what it is given; one for all plays, which are compared by it."""
    call = ast.Call(ast.Name("module", ast.Load()), [ast.Name("input", ast.Load())], [])
    for part in (call, call.func, *call.args):
        ast.copy_location(part, at)
    return call


def _play_module(m: Machine, state: State, module: Value, at: ast.Call, only: int | None) -> Played | None:
    """Run a module on a tensor."""
    if not _is_module(module):
        return None
    tensor = _argument(state, 0, "input", requires=only is None or only == 0, known=True)
    node = state.nodes.get(tensor.storage)
    m.calls, m.steps, m.yield_to, m.severed = [], 0, None, {}
    state.grad, state.off_at = Tracked.YES, None
    result = m.call_value(state, module, [tensor], {}, at)
    return None if m.exhausted else Played({0: tensor.storage}, {0: node}, m, state, result)


def _is_module(value: Value) -> bool:
    if isinstance(value, Container):
        return value.kind == "layers"
    if isinstance(value, Choice):
        return all(map(_is_module, value.options))
    return isinstance(value, Layer) or (isinstance(value, Instance) and value.info is not None)


@lru_cache(maxsize=64)
def _others(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> frozenset[str]:
    return other_uses(node, method_names() | objects.ATTRIBUTES)


def _arguments(
    state: State, function: Function, parameters: Sequence[Parameter], given: Given, only: int | None
) -> tuple[dict[str, Value], dict[int, Storage]]:
    """The arguments by name, and the memory of those that are tensors or lists of them."""
    kinds = {place: (kind, value) for place, kind, value in given}
    node = function.info.node
    annotations = annotations_of(node.args)
    others = _others(node)
    values: dict[str, Value] = {}
    memories: dict[int, Storage] = {}
    for place, parameter in enumerate(parameters):
        kind, constant = kinds.get(place, ("tuple" if parameter.gathers else "", None))
        promise = promised(state, parameter.name, annotations.get(parameter.name))
        if kind in (NETWORK, OPTIMIZER):
            continue
        if kind and kind not in LISTS:
            values[parameter.name] = Const(constant)
        elif not kind and promise is not None and counted(promise):
            values[parameter.name] = promise
        else:
            known = bool(kind) or parameter.name not in others
            tensor = _argument(state, place, parameter.name, requires=only is None or only == place, known=known)
            memories[place] = tensor.storage
            values[parameter.name] = state.container(kind, Items((tensor,), False)) if kind else tensor
    return values, memories


def _network(m: Machine, state: State, place: int, name: str, only: int | None) -> tuple[Value, Node | None]:
    """A module that a function is given, and the graph of its parameters."""
    made = objects_elsewhere.network_of(m, state, name)
    weights = objects_elsewhere.learnt(state, made)
    for tensor in weights if only is not None and only != place else ():
        state.nodes[tensor.storage] = None
    return made, state.node_of(weights[0]) if weights else None


def _argument(state: State, place: int, name: str, *, requires: bool, known: bool) -> Tensor:
    """A tensor that a function is given, with the graph of somebody else where it `requires` one."""
    tensor = Tensor((Storage(Origin.ARGUMENT, name),), known=known)
    tensor.dtype = f"?{name}"
    state.nodes[tensor.storage] = Node(NodeKind.ASSUMED, name, (), Tracked.YES) if requires else None
    state.cuts[tensor.storage] = frozenset({(~place, True)})
    return tensor


def _play(
    m: Machine,
    state: State,
    function: Function,
    receiver: Instance | None,
    parameters: Sequence[Parameter],
    given: Given,
    only: int | None,
) -> Played | None:
    """Run a function on tensors, of which one, all or none require grad."""
    info = function.info
    values, memories = _arguments(state, function, parameters, given, only)
    nodes = {place: state.nodes.get(storage) for place, storage in memories.items()}
    optimizers: dict[int, Optimizer] = {}
    for place, kind, name in given:
        if kind == NETWORK:
            values[parameters[place].name], nodes[place] = _network(m, state, place, str(name or ""), only)
        elif kind == OPTIMIZER:
            values[parameters[place].name] = optimizers[place] = Optimizer((Storage(Origin.PARAMETER, "optimizer"),))
    values, spilled = _by_position(values, parameters, info, receiver is not None)
    m.begin(id(info.node))
    m.calls, m.steps, m.yield_to, m.severed, m.happened = [info], 0, None, {}, []
    frame = m.new_frame()
    before = [receiver] if receiver is not None else []
    calls.bind_parameters(
        m, state, info, frame, before, {}, function, lambda name: values.get(name) or outside(state, name)
    )
    rest = info.node.args.vararg
    if rest is not None and rest.arg in values:
        state.variables[frame, rest.arg] = values[rest.arg]
    elif rest is not None and spilled:
        state.variables[frame, rest.arg] = state.tuple_of(spilled)
    state.grad, state.off_at = Tracked.YES, None
    if function.grad is not None:
        state.grad = function.grad
        state.off_at = None if id(info.node) in m.notes.off_elsewhere else info.node
    with m.inside(Scope(info.qualname, (frame, *function.frames), info)):
        result = m.run_body(state, info)
    return None if m.exhausted else Played(memories, nodes, m, state, result, optimizers=optimizers)


def _by_position(
    values: dict[str, Value], parameters: Sequence[Parameter], info: FunctionInfo, is_method: bool
) -> tuple[dict[str, Value], list[Value]]:
    """The arguments as a function takes them that a decorator put in the place of the one with these `parameters`:
    by its own names, and those beyond them."""
    if all(p.name in info.parameters or p.gathers for p in parameters):
        return values, []
    names = [one.arg for one in positional_of(info.node.args)][is_method:]
    every = [values[p.name] for p in parameters if p.by_position and p.name in values]
    return dict(zip(names, every, strict=False)), every[len(names) :]


def _play_custom(
    m: Machine, state: State, held: Class, parameters: Sequence[Parameter], only: int | None
) -> Played | None:
    """Run `apply` of an autograd Function."""
    forward = held.info.method("forward")
    if forward is None:
        return None
    values, memories = _arguments(state, m.defined.bound(forward, None), parameters, (), only)
    nodes = {place: state.nodes.get(storage) for place, storage in memories.items()}
    m.begin(id(forward.node))
    m.severed = {}
    at = ast.copy_location(ast.Call(ast.Name(held.info.node.name, ast.Load()), [], []), forward.node)
    result = custom_functions.apply(m, state, held.info, list(values.values()), at)
    return Played(memories, nodes, m, state, result)
