"""One operation of torch on the state: its result, the node it makes, and what it saves for backward."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.domain.dtypes import is_floating
from gradfix.analysis.domain.graph import Node, NodeKind, Save, assumed, leaf, operation, tracked_of
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Choice, Const, Number, Origin, Storage, Tensor, Value, tensors
from gradfix.analysis.facts import TensorFacts, Tracked, ValueFacts, ValueKind
from gradfix.torch_ops import ViewKind

_ORDERING = frozenset("view reshape flatten unflatten contiguous".split())  # what transposed views are mostly copied by
_FLAT = frozenset("view reshape flatten unflatten unsqueeze squeeze contiguous detach".split())  # keep memory order
_OTHER_NUMBERS = frozenset({"view", "real", "imag", "view_as_real", "view_as_complex"})  # or may be

# measured on torch 2.13
_VIEW_OR_ITSELF = frozenset(
    "flatten contiguous real atleast_1d atleast_2d atleast_3d conj resolve_conj positive".split()
)


def strongest(levels: Sequence[Tracked]) -> Tracked:
    """YES if any is, else MAYBE if any is."""
    return Tracked.YES if Tracked.YES in levels else Tracked.MAYBE if Tracked.MAYBE in levels else Tracked.NO


def tracked(state: State, tensor: Tensor) -> Tracked:
    """Whether a graph stands behind a tensor."""
    return tracked_of(state.node_of(tensor))


def outside(state: State, name: str, origin: Origin = Origin.OUTSIDE, *, known: bool = False) -> Tensor:
    """Something from outside of what is interpreted: perhaps a tensor, perhaps with a graph."""
    storage = Storage(origin, name)
    state.nodes[storage] = assumed(name)
    return Tensor((storage,), known=known)


def part_of(state: State, base: Tensor, name: str) -> Tensor:
    """Something that an object nobody knows holds.

    It has the graph of a call that gave the object; none where that was detached, or given with gradients off.
    """
    held = outside(state, name)
    held.holders = base.holders
    if (base.module_call or base.detached) and tracked(state, base) is Tracked.NO:
        held.module_call = base.module_call
        clear_graph(state, held)
    elif base.module_call and (node := state.node_of(base)) is not None:
        held.module_call = True
        state.nodes[held.storage] = operation("item", (node,), None)
    return held


def ask_grad(state: State, tensor: Tensor, wanted: Value, at: ast.AST) -> None:
    """`tensor.requires_grad = wanted`, at that place."""
    state.reset(tensor)
    for storage in tensor.graph_keys:
        node = state.nodes.get(storage)
        if node is not None and node.inputs:
            continue  # no leaf: asking for what it has changes nothing, anything else raises
        if wanted == Const(True) and node is None:
            state.nodes[storage] = leaf(storage.name or "leaf", at)
        elif wanted == Const(False):
            state.nodes[storage] = None
        elif not isinstance(wanted, Const):
            state.nodes[storage] = maybe = leaf(storage.name or "leaf", at)
            maybe.tracked = Tracked.MAYBE


def clear_graph(state: State, tensor: Tensor) -> None:
    """Nothing stands behind a tensor after all."""
    state.reset(tensor)
    for key in tensor.graph_keys:
        state.nodes[key] = None


def facts_of(state: State, tensor: Tensor) -> TensorFacts:
    """What codemods are told of a tensor."""
    node = state.node_of(tensor)
    is_leaf = node is not None and node.kind is NodeKind.LEAF and not tensor.is_view and not tensor.detached
    dtype = None if tensor.dtype is None or tensor.dtype.startswith("?") else tensor.dtype
    floating = is_floating(tensor)
    lies = (tensor.expanded, tensor.transposed)
    return TensorFacts(tracked_of(node), is_leaf, dtype, floating, tensor.shape, *lies, device=tensor.device)


def _is_alike(a: Tensor, b: Tensor) -> bool:
    """Views of one memory that show its numbers in the dtype they have."""
    same = len(a.storages) == 1 and a.storages == b.storages and ViewKind.MAYBE not in (a.view, b.view)
    return same and _OTHER_NUMBERS.isdisjoint((*a.path, *b.path))


def value_facts(state: State, value: Value, target: Tensor | None = None) -> ValueFacts:
    """What codemods are told of a value that is written to `target`."""
    if isinstance(value, Tensor) and value.known:
        same = target is not None and value.dtype == target.dtype and (bool(value.dtype) or _is_alike(value, target))
        return ValueFacts(ValueKind.TENSOR, facts_of(state, value), same_dtype=same)
    if isinstance(value, Number):
        return ValueFacts(ValueKind.NUMBER, None, value.type)
    if isinstance(value, Const) and isinstance(value.value, (bool, int, float)):
        return ValueFacts(ValueKind.NUMBER, None, type(value.value).__name__)
    if isinstance(value, Choice):
        kinds = [value_facts(state, option) for option in value.options]
        if all(kind.kind is ValueKind.NUMBER for kind in kinds):
            return ValueFacts(ValueKind.NUMBER)
    return ValueFacts(ValueKind.UNKNOWN)


def save(
    state: State,
    node: Node,
    tensor: Tensor,
    op: str,
    at: ast.AST,
    level: Tracked,
    *,
    result: bool,
    guarded: bool = True,
    must: bool = True,
) -> None:
    """Note that `node` keeps `tensor` for backward; `must`: whichever way the program took to here."""
    if level is Tracked.NO or tensor.silent:
        return
    certain = level is Tracked.YES and tensor.known
    node.keeps = strongest([node.keeps, level])
    choice = object() if tensor.choice is None and len(tensor.storages) > 1 else tensor.choice
    branch = tensor.made_by if len(tensor.storages) > 1 and isinstance(tensor.made_by, ast.If) else None
    for storage in tensor.storages:
        state.saves_of(storage)[Save(node, storage, op, result, at, certain, choice, branch, guarded, state.under)] = (
            must
        )


def graph_node(state: State, op: str, operands: Sequence[Tensor], at: ast.AST) -> Node | None:
    """The node of an operation over tensors, or None when gradients are off or nothing has a graph."""
    if state.grad is Tracked.NO:
        return None
    node = operation(op, (state.node_of(t) for t in operands), at)
    if node is not None and state.grad is Tracked.MAYBE and node.tracked is Tracked.YES:
        node.tracked = Tracked.MAYBE
    return node


def result_tensor(
    state: State,
    node: Node | None,
    at: ast.AST,
    *,
    known: bool = True,
    dtype: str | None = None,
    shape: tuple[int | None, ...] | None = None,
    device: str | None = None,
    origin: Origin = Origin.FRESH,
) -> Tensor:
    """A tensor over new memory."""
    storage = Storage(origin, made_by=at)
    state.nodes[storage] = node
    return Tensor((storage,), known=known, dtype=dtype, shape=shape, device=device, made_by=at)


def view_of(
    state: State,
    base: Tensor,
    kind: ViewKind,
    op: str,
    at: ast.AST,
    *,
    shape: tuple[int | None, ...] | None = None,
    dtype: str | None = None,
    expanded: bool = False,
    transposed: bool = False,
) -> Tensor:
    """A view of `base`; MAYBE views may also be a copy."""
    storages = (*base.storages, _copied(state, base, op, at)) if kind is ViewKind.MAYBE else base.storages
    detached, own = base.detached, base.own
    if state.grad is Tracked.NO and kind is not ViewKind.MAYBE and not detached:
        detached, own = True, _leaf_of_its_own(state, base)
    return Tensor(
        storages,
        known=base.known,
        dtype=dtype or base.dtype,
        floating=base.floating and dtype in (None, base.dtype),
        shape=shape,
        view=ViewKind.MULTI if base.view is ViewKind.MULTI else kind,
        path=(*base.path, op),
        detached=detached,
        own=own,
        silent=base.silent,
        no_grad_view=base.no_grad_view or (state.grad is Tracked.NO),
        expanded=base.expanded or expanded,
        dense=base.dense and op in _FLAT,
        transposed=transposed or (base.transposed and op not in _ORDERING),
        device=base.device,
        made_by=at,
        holders=base.holders,
        split_by=base.split_by or (at if kind is ViewKind.MULTI else None),
        choice=object() if kind is ViewKind.MAYBE else base.choice,
        flows=base.flows,
        lineage=(*base.lineage, object()),
    )


def _copied(state: State, base: Tensor, op: str, at: ast.AST) -> Storage:
    """The memory of the copy that `op` may have made of `base`."""
    copy = Storage(Origin.FRESH)
    state.nodes[copy] = graph_node(state, op, (base,), at)
    if state.cuts and (here := [f for s in base.storages if (f := state.cuts.get(s))]):
        state.cuts[copy] = here[0].union(*here)
    return copy


def _leaf_of_its_own(state: State, base: Tensor) -> Storage:
    """What a view made under `no_grad` has for a graph: it requires grad as its base does, and nothing is behind it."""
    key = Storage(Origin.FRESH, base.storage.name)
    level = tracked(state, base)
    graph = None if level is Tracked.NO else leaf(base.storage.name or "view")
    if graph is not None:
        graph.tracked = level
    state.nodes[key] = graph
    return key


def is_surely_view(tensor: Tensor) -> bool:
    """False for what is the tensor itself where there is nothing to change, as `flatten` of one dimension gives it."""
    return tensor.is_view and last_op(tensor) not in _VIEW_OR_ITSELF


def last_op(tensor: Tensor) -> str:
    """The operation that made a view."""
    return tensor.path[-1] if tensor.path else "view"


def all_tensors(values: Sequence[Value]) -> list[Tensor]:
    """The tensors among operands, one of each."""
    return [t for value in values for t in tensors(value)[:1]]
