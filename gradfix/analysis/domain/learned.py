"""The parameters that a module and those inside it hold, and copies of modules with parameters of their own."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import replace

from gradfix.analysis.domain.graph import leaf
from gradfix.analysis.domain.operations import ask_grad
from gradfix.analysis.domain.state import Items, State, merge
from gradfix.analysis.domain.values import Container, Instance, Layer, Origin, Storage, Tensor, Value, options

_DEPTH = 8  # modules inside each other
_PLAYED = 3  # parameters told apart where a loop goes over them


def parameters(state: State, module: Value) -> tuple[Storage, ...]:
    """The memory of the parameters below a module, as far as it is followed; one piece for each layer of torch.nn."""
    return tuple(dict.fromkeys(_below(state, module, _DEPTH)))


def _below(state: State, value: Value, depth: int) -> Iterator[Storage]:
    if not depth:
        return
    for option in options(value):
        if isinstance(option, Tensor):
            yield from (s for s in option.storages if s.origin is Origin.PARAMETER)
        elif isinstance(option, Layer):
            yield from option.weights
        elif isinstance(option, Container):
            for item in _items(state, option):
                yield from _below(state, item, depth - 1)
        elif isinstance(option, Instance):
            for held in state.slots(option).values():
                yield from _below(state, held, depth - 1)


def _items(state: State, container: Container) -> tuple[Value, ...]:
    held = state.items.get(container)
    return held.values if held is not None else ()


def iterated(state: State, module: Value) -> Items:
    """What `module.parameters()` gives: the first ones, and one that stands for all the others."""
    each: list[Value] = [Tensor((storage,)) for storage in parameters(state, module)]
    if len(each) > _PLAYED:
        rest = each[_PLAYED - 1]
        for other in each[_PLAYED:]:
            rest = merge(rest, other)
        return Items((*each[: _PLAYED - 1], rest), False, least=len(each), ordered=True)
    return Items(tuple(each), False, least=len(each), ordered=True)


def ask(state: State, module: Value, wanted: Value, at: ast.AST) -> None:
    """`module.requires_grad_(wanted)`."""
    for storage in parameters(state, module):
        ask_grad(state, Tensor((storage,)), wanted, at)


def deep_copy(state: State, value: Value, depth: int = _DEPTH) -> Value:
    """`copy.deepcopy(value)` of modules and containers: the same, over parameters of its own."""
    return _copied(state, value, depth, {})


def shallow_copy(state: State, value: Value) -> Value:
    """`copy.copy(value)`: another object that holds the same."""
    if isinstance(value, Container):
        container = Container(value.kind, value.default)
        if (held := state.items.get(value)) is not None:
            state.items[container] = held
        return container
    if isinstance(value, Instance):
        instance = Instance(value.info, value.foreign, value.named)
        state.attributes[instance] = dict(state.slots(value))
        return instance
    return value


def _copied(state: State, value: Value, depth: int, memo: dict[int, Value]) -> Value:
    if not depth or not isinstance(value, (Tensor, Layer, Container, Instance)):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, Tensor):
        return replace(value, storages=tuple(_twin(state, storage) for storage in value.storages))
    if isinstance(value, Layer):
        twins = tuple(_twin(state, storage) for storage in value.weights)
        memo[id(value)] = layer = replace(value, weights=twins)
        return layer
    if isinstance(value, Container):
        memo[id(value)] = container = Container(value.kind, value.default)
        if (held := state.items.get(value)) is not None:
            values = tuple(_copied(state, item, depth - 1, memo) for item in held.values)
            state.items[container] = Items(values, held.exact, held.keys, held.least, ordered=held.ordered)
        return container
    memo[id(value)] = instance = Instance(value.info, value.foreign, value.named)
    slots = state.slots(value)
    state.attributes[instance] = {name: _copied(state, held, depth - 1, memo) for name, held in slots.items()}
    return instance


def _twin(state: State, storage: Storage) -> Storage:
    twin = Storage(storage.origin, storage.name, storage.made_by)
    node = state.nodes.get(storage)
    copied = None if node is None or node.inputs else leaf(node.op, node.at)
    if copied is not None and node is not None:
        copied.tracked = node.tracked
    state.nodes[twin] = copied
    return twin


def of_named_tuple(state: State, receiver: Instance, name: str, keywords: Mapping[str, Value]) -> Value:
    """`p._asdict()`, and `p._replace(h=…)`: another one that holds the same but for what is given."""
    if name == "_asdict":
        slots = dict(state.slots(receiver))
        return state.container("dict", Items(tuple(slots.values()), True, tuple(slots)))
    made = shallow_copy(state, receiver)
    if isinstance(made, Instance):
        state.attributes_of(made).update(keywords)
    return made
