"""What is true at one point of the program: variables, heap, graph, saves, overwritten saves, grad mode.

A branch works on a `fork`; `join` brings two branches together. Dictionaries of frames and objects are shared
between forks until one of them is written.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from gradfix.analysis.facts import Tracked
from gradfix.analysis.graph import Node, Save, Visit, phi
from gradfix.analysis.values import (
    UNKNOWN,
    Choice,
    Const,
    Container,
    Instance,
    Layer,
    Number,
    Origin,
    Storage,
    Tensor,
    Unknown,
    Value,
    options,
)
from gradfix.torch_ops import ViewKind

Slots = dict[str, Value]
_MAX_STORAGES = 6
_MAX_OPTIONS = 4


class Items:
    """The items of a container: exact ones, or a summary of what may be in it."""

    __slots__ = ("exact", "keys", "values")

    def __init__(self, values: tuple[Value, ...], exact: bool, keys: tuple[object, ...] | None = None) -> None:
        self.values = values
        self.exact = exact
        self.keys = keys

    def element(self) -> Value | None:
        """Any item."""
        found: Value | None = None
        for value in self.values:
            found = value if found is None else merge(found, value)
        return found


class State:
    """One point of the program."""

    __slots__ = ("_shared", "attributes", "conflicts", "frames", "grad", "items", "nodes", "saves", "stale")

    def __init__(self) -> None:
        self.frames: dict[int, Slots] = {}
        self.attributes: dict[Instance | Tensor, Slots] = {}
        self.items: dict[Container | Tensor, Items] = {}
        self.nodes: dict[Storage, Node | None] = {}
        self.saves: dict[Storage, dict[Save, bool]] = {}
        self.conflicts: dict[tuple[Save, int], tuple[Visit, bool]] = {}
        self.stale: dict[Tensor, frozenset[int]] = {}  # tensors that would keep old values, by write record
        self.grad = Tracked.YES
        self._shared: set[int] = set()

    def fork(self) -> State:
        """A copy that can be changed on its own."""
        twin = State.__new__(State)
        for mapping in (self.frames, self.attributes, self.saves):
            self._shared.update(map(id, mapping.values()))
        twin.frames = dict(self.frames)
        twin.attributes = dict(self.attributes)
        twin.items = dict(self.items)
        twin.nodes = dict(self.nodes)
        twin.saves = dict(self.saves)
        twin.conflicts = dict(self.conflicts)
        twin.stale = dict(self.stale)
        twin.grad = self.grad
        twin._shared = set(self._shared)
        return twin

    def adopt(self, other: State) -> None:
        """Become what `other` is: expressions change the state they are given."""
        for slot in self.__slots__:
            setattr(self, slot, getattr(other, slot))

    def frame(self, number: int) -> Slots:
        """The variables of a frame, to be written."""
        slots = self.frames[number]
        if id(slots) in self._shared:
            slots = self.frames[number] = dict(slots)
        return slots

    def attributes_of(self, owner: Instance | Tensor) -> Slots:
        """The attributes of an object, to be written."""
        slots = self.attributes.setdefault(owner, {})
        if id(slots) in self._shared:
            slots = self.attributes[owner] = dict(slots)
        return slots

    def saves_of(self, storage: Storage) -> dict[Save, bool]:
        """What was saved of a storage, to be written."""
        saves = self.saves.setdefault(storage, {})
        if id(saves) in self._shared:
            saves = self.saves[storage] = dict(saves)
        return saves

    def node_of(self, tensor: Tensor) -> Node | None:
        """The graph behind a tensor."""
        if tensor.detached:
            return None
        if len(tensor.storages) == 1:
            return self.nodes.get(tensor.storages[0])
        at = tensor.made_by
        return phi((self.nodes.get(s) for s in tensor.storages), at if isinstance(at, ast.stmt) else None)


def join_tensors(a: Tensor, b: Tensor, branch: ast.stmt | None) -> Tensor:
    """A tensor that is one of two."""
    storages = tuple(dict.fromkeys((*a.storages, *b.storages)))[:_MAX_STORAGES]
    shape: tuple[int | None, ...] | None = None
    if a.shape is not None and b.shape is not None and len(a.shape) == len(b.shape):
        shape = tuple(m if m == n else None for m, n in zip(a.shape, b.shape, strict=True))
    return Tensor(
        storages,
        known=a.known and b.known,
        dtype=a.dtype if a.dtype == b.dtype else None,
        shape=shape,
        view=a.view if a.view is b.view else ViewKind.MAYBE,
        path=a.path if a.path == b.path else (),
        detached=a.detached and b.detached,
        silent=a.silent or b.silent,
        no_grad_view=a.no_grad_view and b.no_grad_view,
        expanded=a.expanded or b.expanded,
        made_by=branch if branch is not None else a.made_by,
        module_call=a.module_call and b.module_call,
    )


def merge(a: Value, b: Value, branch: ast.stmt | None = None) -> Value:
    """A value that is one of two."""
    if a is b or (not isinstance(a, Tensor) and a == b):
        return a
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return join_tensors(a, b, branch)
    if isinstance(a, Unknown) or isinstance(b, Unknown):
        return b if isinstance(a, Unknown) and isinstance(b, Tensor) and not b.known else a if isinstance(a, Tensor) else UNKNOWN
    if isinstance(a, (Const, Number)) and isinstance(b, (Const, Number)) and _number(a) and _number(b):
        kind = _number(a) if _number(a) == _number(b) else None
        return Number(kind, any(isinstance(n, Number) and n.of_data for n in (a, b)))
    if isinstance(a, Layer) and isinstance(b, Layer) and a.made_by is b.made_by:
        return a
    if isinstance(a, Instance) and isinstance(b, Instance) and a.info is b.info and a.info is not None:
        return a
    parts: list[Value] = []
    for option in (*options(a), *options(b)):
        if isinstance(option, Tensor) and (same := next((p for p in parts if isinstance(p, Tensor)), None)):
            parts[parts.index(same)] = same if same is option else join_tensors(same, option, branch)
        elif option not in parts:
            parts.append(option)
    return Choice(tuple(parts)) if 1 < len(parts) <= _MAX_OPTIONS else parts[0] if len(parts) == 1 else UNKNOWN


def _number(value: Const | Number) -> str | None:
    if isinstance(value, Number):
        return value.type or "number"
    return type(value.value).__name__ if isinstance(value.value, (bool, int, float)) else None


def join(a: State, b: State, branch: ast.stmt | None) -> State:
    """What holds when either of two states may have been reached; `branch` decides which."""
    result = a.fork()
    result.grad = a.grad if a.grad is b.grad else Tracked.MAYBE
    result.nodes = _join_nodes(a, b, branch)
    result.saves = _join_saves(a, b)
    result.conflicts = {**b.conflicts, **a.conflicts}
    for key in a.conflicts.keys() & b.conflicts.keys():
        visit, certain = a.conflicts[key]
        result.conflicts[key] = (visit, certain or b.conflicts[key][1])
    result.stale = dict(a.stale)
    for tensor, writes in b.stale.items():
        result.stale[tensor] = result.stale.get(tensor, frozenset()) | writes
    pairs: dict[tuple[int, int], Value] = {}
    for number, slots in b.frames.items():
        _join_slots(result.frames, number, slots, result, a, b, branch, pairs)
    for owner, slots in b.attributes.items():
        _join_slots(result.attributes, owner, slots, result, a, b, branch, pairs)
    _join_items(result, a, b, branch, pairs)
    return result


def _join_slots(  # noqa: PLR0913
    mapping: dict[object, Slots] | dict[int, Slots] | dict[Instance | Tensor, Slots],
    key: object,
    slots: Slots,
    result: State,
    a: State,
    b: State,
    branch: ast.stmt | None,
    pairs: dict[tuple[int, int], Value],
) -> None:
    table: dict[object, Slots] = mapping  # type: ignore[assignment]  # the three mappings differ in their keys only
    mine = table.get(key)
    if mine is None:
        table[key] = slots
        result._shared.add(id(slots))
        return
    if mine is slots:
        return
    joined = dict(mine)
    for name, value in slots.items():
        joined[name] = _join_values(mine.get(name), value, result, a, b, branch, pairs)
    table[key] = joined


def _join_values(
    mine: Value | None,
    other: Value,
    result: State,
    a: State,
    b: State,
    branch: ast.stmt | None,
    pairs: dict[tuple[int, int], Value],
) -> Value:
    if mine is None or mine is other:
        return other
    pair = (id(mine), id(other))
    if pair not in pairs:
        value = pairs[pair] = merge(mine, other, branch)
        if isinstance(value, Tensor) and value is not mine and value is not other:
            before = _stale(a, options(mine)) | _stale(b, options(other))
            if before:
                result.stale[value] = before
    return pairs[pair]


def _stale(state: State, parts: Iterable[Value]) -> frozenset[int]:
    found: frozenset[int] = frozenset()
    for part in parts:
        if isinstance(part, Tensor):
            found |= state.stale.get(part, frozenset())
    return found


def _join_nodes(a: State, b: State, branch: ast.stmt | None) -> dict[Storage, Node | None]:
    result = dict(a.nodes)
    memo: dict[tuple[int, int], Node | None] = {}
    for storage, node in b.nodes.items():
        mine = a.nodes.get(storage, node)
        if mine is node:
            result[storage] = node
            continue
        key = (id(mine), id(node))
        if key not in memo:
            memo[key] = phi((mine, node), branch)
        result[storage] = memo[key]
    return result


def _join_saves(a: State, b: State) -> dict[Storage, dict[Save, bool]]:
    result = dict(a.saves)
    for storage, saves in b.saves.items():
        mine = a.saves.get(storage)
        if mine is saves:
            continue
        known_to_both = storage in a.nodes and storage in b.nodes
        mine = mine or {}
        result[storage] = {
            save: (mine.get(save, not known_to_both) and saves.get(save, not known_to_both))
            for save in {**mine, **saves}
        }
    for storage, saves in a.saves.items():
        if storage not in b.saves and storage in b.nodes:
            result[storage] = dict.fromkeys(saves, False)
    return result


def _join_items(
    result: State, a: State, b: State, branch: ast.stmt | None, pairs: dict[tuple[int, int], Value]
) -> None:
    for container, other in b.items.items():
        mine = a.items.get(container)
        if mine is None or mine is other:
            result.items[container] = other
        elif mine.exact and other.exact and len(mine.values) == len(other.values) and mine.keys == other.keys:
            values = tuple(
                _join_values(m, o, result, a, b, branch, pairs)
                for m, o in zip(mine.values, other.values, strict=True)
            )
            result.items[container] = Items(values, True, mine.keys)
        else:
            result.items[container] = Items(tuple(dict.fromkeys((*mine.values, *other.values))), False)


def fresh_tensor(state: State, node: Node | None, at: ast.AST | None, **facts: object) -> Tensor:
    """A tensor over new memory."""
    storage = Storage(Origin.FRESH)
    state.nodes[storage] = node
    return Tensor((storage,), made_by=at, **facts)  # type: ignore[arg-type]  # keyword facts of Tensor
