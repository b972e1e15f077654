"""What is true at one point of the program: variables, heap, graph, saves, overwritten saves, grad mode.

A branch works on a `fork`; `joins.join` brings two branches together. Dictionaries of frames and objects are shared
between forks until one of them is written.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gradfix.analysis.domain.graph import Node, Save, Visit, phi
from gradfix.analysis.domain.indexing import joined_shape
from gradfix.analysis.domain.layers import Layers
from gradfix.analysis.domain.values import (
    HOLDING,
    NO_FLOWS,
    UNKNOWN,
    Choice,
    Const,
    Container,
    Flows,
    Instance,
    Layer,
    Number,
    Opaque,
    Storage,
    Tensor,
    Unknown,
    Value,
    options,
    tensors,
)
from gradfix.analysis.facts import Tracked
from gradfix.analysis.text.repeated_tests import NOTHING, Assumption
from gradfix.torch_ops import ViewKind

Slots = dict[str, Value]
MAX_STORAGES = 6
LAYERED = tuple(
    "variables attributes items kept nodes saves conflicts log late given chosen cuts spent passed".split()
)  # `State.fork` names them, too: it is called all the time
_MAX_OPTIONS = 4


def at_most_twice(*alternatives: Sequence[Value]) -> tuple[Value, ...]:
    """What a container of unknown size holds, or one of several; twice what several of its places share."""
    most: dict[Value, int] = {}
    for values in alternatives:
        counts: dict[Value, int] = {}
        for value in values:
            counts[value] = counts.get(value, 0) + 1
        most.update((value, max(most.get(value, 0), min(count, 2))) for value, count in counts.items())
    return tuple(value for value, count in most.items() for _ in range(count))


class Items:
    """The items of a container: exact ones, or a summary of what may be in it, `least` of them for certain.

    `ordered`: they are the first ones, as far as there are any, and the last one stands for all that follow it.
    """

    __slots__ = ("exact", "keys", "least", "ordered", "values")

    def __init__(
        self,
        values: tuple[Value, ...],
        exact: bool,
        keys: tuple[object, ...] | None = None,
        least: int = 0,
        *,
        ordered: bool = False,
    ) -> None:
        self.values = values
        self.exact = exact
        self.keys = keys
        self.least = len(values) if exact else least
        self.ordered = ordered or exact

    def element(self) -> Value | None:
        """Any item."""
        rows = dict.fromkeys(self.values) if len(self.values) > _MAX_OPTIONS else {}
        if len(rows) > _MAX_OPTIONS and all(isinstance(row, Container) for row in rows):
            return Opaque(holds=tuple(rows))
        found: Value | None = None
        for value in self.values:
            found = value if found is None else merge(found, value)
        return found

    def position(self, index: Value) -> int | None:
        """Which of `values` a key or a position names; None when that can't be told."""
        if not isinstance(index, Const):
            return None
        key = index.value
        if self.keys is not None:
            return self.keys.index(key) if self.exact and key in self.keys else None
        if type(key) is not int:
            return None
        length = len(self.values) if self.exact else len(self.values) - 1
        lowest = -length if self.exact else 0
        return key if (self.exact or self.ordered) and lowest <= key < length else None


@dataclass(frozen=True, eq=False, slots=True)
class Stamp:
    """One write to a storage, and those before it."""

    tick: int
    visit: Visit
    arms: tuple[int, ...]  # the branches the write stands in, as the machine numbers them
    before: Stamp | None


class Unmade:
    """An object whose constructor is played where somebody asks for what the object holds: mostly nobody does."""

    __slots__ = ("_before", "_made", "_make")

    def __init__(self, before: State, make: Callable[[State], None]) -> None:
        self._before = before  # where the object is built
        self._make = make  # plays the constructor
        self._made: State | None = None

    def put_into(self, state: State) -> None:
        """Let a state know all that the constructor made."""
        if self._made is None:
            self._made = self._before.fork()
            self._make(self._made)
        for name in LAYERED:
            before, made, held = getattr(self._before, name), getattr(self._made, name), getattr(state, name)
            for key in before.changed(made)[0]:
                if key not in held:
                    held[key] = made.get(key)


class State:
    """One point of the program."""

    __slots__ = (
        "attributes",
        "autocast",
        "chosen",
        "conflicts",
        "cuts",
        "given",
        "grad",
        "items",
        "kept",
        "late",
        "log",
        "nodes",
        "off_at",
        "passed",
        "quiet",
        "recalled",
        "saves",
        "spent",
        "under",
        "unmade",
        "variables",
        "written",
    )

    def __init__(self) -> None:
        self.variables: Layers[tuple[int, str], Value] = Layers()  # by frame and name
        self.attributes: Layers[Instance | Tensor | Layer | Container, Slots] = Layers()
        self.items: Layers[Container, Items] = Layers()
        self.kept: Layers[Value, tuple[Tensor, ...]] = Layers()  # what an object may hold that nobody followed there
        self.nodes: Layers[Storage, Node | None] = Layers()
        self.saves: Layers[Storage, dict[Save, bool]] = Layers()
        self.conflicts: Layers[tuple[Save, int], tuple[Visit, bool]] = Layers()
        self.log: Layers[Storage, Stamp | None] = Layers()  # the writes to a storage, newest first
        self.spent: Layers[Node, tuple[ast.Call, bool]] = Layers()  # freed by which backward; True: for certain
        self.passed: Layers[Node, bool] = Layers()  # by a backward, which freed it or left a gradient there
        self.late: Layers[Tensor, frozenset[Visit]] = Layers()  # writes a tensor missed before it was made
        self.given: Layers[Tensor, dict[int, str]] = Layers()  # writes missed that a replay hands on, by whose name
        self.chosen: Layers[object, tuple[Node | None, int] | None] = Layers()  # graph of one of several, and when
        self.cuts: Layers[Storage, Flows] = Layers()  # where what is in a storage lost its graph
        self.written: set[Storage] = set()  # all memory that has a log in this state or another of the same analysis
        self.unmade: dict[Instance, Unmade] = {}  # by object, in any state of the same analysis
        self.grad = Tracked.YES
        self.off_at: ast.AST | None = None  # what turned gradients off
        self.autocast = False  # matmul-like operations may work on half-precision copies
        self.under = NOTHING  # how tests came out that are made more than once
        # By how such a test comes out: names that a branch on it gave values, what they hold since, and held then.
        self.recalled: Mapping[Assumption, Mapping[tuple[int, str], tuple[Value, Value]]] = {}
        self.quiet = False  # looking at a value without reading it

    def fork(self) -> State:
        """A copy that can be changed on its own."""
        twin = State.__new__(State)
        twin.variables, twin.attributes = self.variables.fork(), self.attributes.fork()
        twin.items, twin.nodes, twin.saves = self.items.fork(), self.nodes.fork(), self.saves.fork()
        twin.conflicts, twin.log, twin.late = self.conflicts.fork(), self.log.fork(), self.late.fork()
        twin.kept = self.kept.fork()
        twin.given, twin.chosen, twin.cuts = self.given.fork(), self.chosen.fork(), self.cuts.fork()
        twin.spent, twin.passed = self.spent.fork(), self.passed.fork()
        twin.written, twin.unmade = self.written, self.unmade
        twin.grad = self.grad
        twin.off_at = self.off_at
        twin.autocast = self.autocast
        twin.under, twin.recalled = self.under, self.recalled
        twin.quiet = self.quiet
        return twin

    def adopt(self, other: State) -> None:
        """Become what `other` is: expressions change the state they are given."""
        for slot in self.__slots__:
            setattr(self, slot, getattr(other, slot))

    def container(self, kind: str, items: Items, default: Value | None = None) -> Container:
        """A new container that holds these items."""
        made = Container(kind, default)
        self.items[made] = items
        return made

    def hold(self, container: Container, items: Items) -> None:
        """Let a container hold these from now on; those of `vars(object)` are the attributes of the object."""
        self.items[container] = items
        if container.names is not None and items.keys is not None:
            named = ((key, value) for key, value in zip(items.keys, items.values, strict=True) if isinstance(key, str))
            self.attributes_of(container.names).update(named)

    def tuple_of(self, values: Iterable[Value]) -> Container:
        """A new tuple of these."""
        return self.container("tuple", Items(tuple(values), True))

    def slots(self, owner: Instance | Tensor | Layer | Container) -> Slots:
        """The attributes of an object, to be read."""
        found = self.attributes.get(owner)
        if found is None and self.unmade and isinstance(owner, Instance) and owner in self.unmade:
            self.unmade[owner].put_into(self)
            found = self.attributes.get(owner)
        return found or {}

    def attributes_of(self, owner: Instance | Tensor | Layer | Container) -> Slots:
        """The attributes of an object, to be written."""
        slots = self.attributes[owner] = dict(self.slots(owner))
        return slots

    def saves_of(self, storage: Storage) -> dict[Save, bool]:
        """What was saved of a storage, to be written."""
        saves = self.saves[storage] = dict(self.saves.get(storage) or {})
        return saves

    def may_miss(self, tensor: Tensor) -> bool:
        """False where `missed` finds nothing, which costs little to tell."""
        return not self.written.isdisjoint(tensor.storages) or self.late.get(tensor) is not None

    def missed(self, tensor: Tensor) -> frozenset[Visit]:
        """The writes to its memory after which a rewrite would leave this tensor with old values."""
        found = self.late.get(tensor) or frozenset()
        for storage in tensor.storages:
            stamp = self.log.get(storage) if storage in self.written else None
            while stamp is not None and stamp.tick > tensor.born:
                found |= {stamp.visit}
                stamp = stamp.before
        return found

    def note_write(self, storage: Storage, stamp: Stamp) -> None:
        """Put a write on top of those to the same memory."""
        self.written.add(storage)
        self.log[storage] = stamp

    def reset(self, tensor: Tensor) -> None:
        """What its memories hold says again which graph stands behind a tensor that is one of several."""
        if tensor.choice is not None:
            self.chosen[tensor.choice] = None

    def node_of(self, tensor: Tensor) -> Node | None:
        """The graph behind a tensor."""
        if tensor.detached:
            return None if tensor.own is None else self.nodes.get(tensor.own)
        if len(tensor.storages) == 1:
            return self.nodes.get(tensor.storages[0])
        written = self.chosen.get(tensor.choice) if tensor.choice is not None else None
        logs = (self.log.get(s) for s in tensor.storages)
        if written is not None and all(log is None or log.tick <= written[1] for log in logs):
            return written[0]
        at = tensor.made_by
        return phi((self.nodes.get(s) for s in tensor.storages), at if isinstance(at, ast.stmt) else None)


def join_tensors(a: Tensor, b: Tensor, branch: ast.stmt | None) -> Tensor:
    """A tensor that is one of two."""
    storages = tuple(dict.fromkeys((*a.storages, *b.storages)))[:MAX_STORAGES]
    is_same_part = a.lineage == b.lineage
    return Tensor(
        storages,
        known=a.known and b.known,
        dtype=a.dtype if a.dtype == b.dtype else None,
        floating=a.floating and b.floating,
        shape=joined_shape(a.shape, b.shape),
        view=a.view if a.view is b.view else ViewKind.MAYBE,
        path=a.path if a.path == b.path else (),
        detached=a.detached and b.detached,
        own=a.own if a.own is b.own else None,
        silent=a.silent or b.silent,
        no_grad_view=a.no_grad_view and b.no_grad_view,
        expanded=a.expanded or b.expanded,
        dense=a.dense and b.dense,
        transposed=a.transposed or b.transposed,
        device=a.device if a.device == b.device else None,
        part=a.part if a.part == b.part else None,
        made_by=a.made_by if branch is None or (is_same_part and len(storages) == 1) else branch,
        split_by=a.split_by if a.split_by is b.split_by else None,
        choice=a.choice if a.choice == b.choice and a.storages == b.storages else object(),
        module_call=a.module_call and b.module_call,
        holders=a.holders if a.holders == b.holders else tuple(dict.fromkeys((*a.holders, *b.holders))),
        flows=a.flows | b.flows,
        lineage=a.lineage if is_same_part else (),
    )


def merge(a: Value, b: Value, branch: ast.stmt | None = None) -> Value:
    """A value that is one of two."""
    if a is b or (not isinstance(a, Tensor) and a == b):
        return a
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return join_tensors(a, b, branch)
    if isinstance(a, Unknown) or isinstance(b, Unknown):
        return _merge_unknown(a, b)
    if isinstance(a, (Const, Number)) and isinstance(b, (Const, Number)) and _number(a) and _number(b):
        kind = _number(a) if _number(a) == _number(b) else None
        numbers = [n for n in (a, b) if isinstance(n, Number)]
        return Number(kind, any(n.of_data for n in numbers), flows=NO_FLOWS.union(*(n.flows for n in numbers)))
    if isinstance(a, Layer) and isinstance(b, Layer) and a.saves_as(b):
        return a
    if isinstance(a, Instance) and isinstance(b, Instance) and a.info is b.info and a.info is not None:
        return a
    parts: list[Value] = []
    for option in (*options(a), *options(b)):
        if isinstance(option, Tensor) and (same := next((p for p in parts if isinstance(p, Tensor)), None)):
            parts[parts.index(same)] = same if same is option else join_tensors(same, option, branch)
        elif option not in parts:
            parts.append(option)
    if len(parts) > _MAX_OPTIONS:
        held = tuple(part for part in parts if part.__class__ in HOLDING)
        return Opaque(holds=held) if held else UNKNOWN
    return Choice(tuple(parts)) if len(parts) > 1 else parts[0]


def _merge_unknown(a: Value, b: Value) -> Value:
    """One of two of which one is nothing that is followed; who holds a tensor, goes on holding it."""
    if isinstance(a, Unknown) and isinstance(b, Tensor) and not b.known:
        return b
    if isinstance(a, Tensor):
        return replace(a, known=False) if isinstance(b, Opaque) and a.known else a
    parts = [value for value in (a, b) if isinstance(value, Opaque) or value.__class__ in HOLDING]
    if not parts:
        return UNKNOWN
    if len(parts) == 1 and isinstance(parts[0], Opaque):
        return parts[0]
    first, *rest = parts
    if isinstance(first, Opaque) and all(part in first.holds for part in rest):
        return first
    return Opaque(holds=tuple(parts))


def _number(value: Const | Number) -> str | None:
    if isinstance(value, Number):
        return value.type or "number"
    return type(value.value).__name__ if isinstance(value.value, (bool, int, float)) else None


def any_item(state: State, items: Items) -> Value | None:
    """Any of several items, with the writes that each of them missed."""
    found = items.element()
    if isinstance(found, Tensor) and all(found is not value for value in items.values):
        missed = frozenset[Visit]().union(*(state.missed(t) for value in items.values for t in tensors(value)))
        if missed:
            state.late[found] = missed
    return found
