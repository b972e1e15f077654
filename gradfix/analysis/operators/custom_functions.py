"""`torch.autograd.Function` of the same file: its `forward` is followed with gradients off, as torch runs it.

Measured (2.4, 2.13): what `forward` gives has the node of the Function. Where it shares the memory of an argument that
isn't marked as dirty, the argument itself included, it is a view that can't be written, nor used once its base was
written. Where no argument requires grad it is a view made under `no_grad`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradfix.analysis.domain.definitions import ClassInfo
from gradfix.analysis.domain.graph import Node, NodeKind
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors, graph_node, result_tensor, save, view_of
from gradfix.analysis.domain.records import HazardNote
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import (
    NO_FLOWS,
    NONE,
    Const,
    Container,
    Flows,
    Instance,
    Method,
    Origin,
    Storage,
    Tensor,
    Value,
    is_whole,
)
from gradfix.analysis.facts import Tracked
from gradfix.analysis.operators.operators import members
from gradfix.analysis.view_facts import OF_FUNCTION
from gradfix.findings import HazardKind
from gradfix.torch_ops import ViewKind

CONTEXT = "torch.autograd.function.FunctionCtx"
_TELLING = ("save_for_backward", "mark_dirty", "mark_non_differentiable")


def apply(m: Machine, state: State, info: ClassInfo, args: Sequence[Value], at: ast.Call) -> Value:
    """`Name.apply(…)`: one node, what its forward saves, and results that may share memory with the arguments."""
    node = graph_node(state, info.node.name, all_tensors(args), at)
    forward = info.method("forward")
    if forward is None or isinstance(forward.node, ast.Lambda):
        m.notes.unfollowed.add(id(at))
        return result_tensor(state, node, at)
    given = {storage: state.cuts.get(storage) for tensor in all_tensors(args) for storage in tensor.storages}
    before = {storage: state.log.get(storage) for storage in given}
    context = Instance(None, named=CONTEXT)
    state.attributes_of(context).update((name, Method(context, name)) for name in _TELLING)
    returned = _run(m, state, info, context, args, at)
    results = _Results(m, state, f"{info.node.name}{OF_FUNCTION}", node, at, given, context)
    made = results.of(returned)
    shared = any(not given.keys().isdisjoint(tensor.storages) for tensor in members(state, made))
    if shared or any(state.log.get(storage) is not stamp for storage, stamp in before.items()):
        m.notes.unfollowed.add(id(at))  # a copy of an argument wouldn't do for it
    if node is not None:
        results.save(returned, made)
    return made


def tell(state: State, context: Instance, name: str, args: Sequence[Value]) -> Value:
    """`ctx.save_for_backward(…)` and the like."""
    state.attributes_of(context)[_what(name)] = state.tuple_of(args)
    return NONE


def _what(name: str) -> str:
    """Under which name the context holds what it was told by a method."""
    return f"{name}()"


def _run(m: Machine, state: State, info: ClassInfo, context: Instance, args: Sequence[Value], at: ast.Call) -> Value:
    """What `forward` returns; a Function that has `setup_context` is given the context there alone."""
    forward, setup = info.method("forward"), info.method("setup_context")
    assert forward is not None
    before, state.grad = (state.grad, state.off_at), Tracked.NO
    given = list(args) if setup is not None else [context, *args]
    returned = m.call_function(state, m.defined.bound(forward, None), given, {}, at)
    if setup is not None:
        told: list[Value] = [context, state.tuple_of(args), returned]
        m.call_function(state, m.defined.bound(setup, None), told, {}, at)
    state.grad, state.off_at = before
    return returned


@dataclass(frozen=True, slots=True)
class _Results:
    """What `forward` returned, made into what `apply` returns."""

    m: Machine
    state: State
    name: str
    node: Node | None
    at: ast.Call
    given: Mapping[Storage, Flows | None]  # memories of the arguments, and what had lost its graph there before
    context: Instance

    def of(self, returned: Value) -> Value:
        """A tuple of tensors, or one."""
        items = self.state.items.get(returned) if isinstance(returned, Container) else None
        if items is not None and items.exact:
            parts = (replace(self, name=f"{self.name}[{place}]") for place in range(len(items.values)))
            return self.state.tuple_of(part.of(item) for part, item in zip(parts, items.values, strict=True))
        if isinstance(returned, Const):
            return returned
        if not isinstance(returned, Tensor) or returned.module_call:
            self.m.notes.unfollowed.add(id(self.at))
            return result_tensor(self.state, self.node, self.at, known=False)
        return self._tensor(returned)

    def save(self, returned: Value, made: Value) -> None:
        """Note what backward needs of what others can write: arguments and results."""
        results = dict(zip(members(self.state, returned), members(self.state, made), strict=False))
        for tensor in self._told("save_for_backward"):
            result = results.get(tensor)
            if self.node is not None and (result is not None or not self.given.keys().isdisjoint(tensor.storages)):
                kept = tensor if result is None else result
                save(self.state, self.node, kept, self.node.op, self.at, self.node.tracked, result=result is not None)

    def _told(self, name: str) -> list[Tensor]:
        """What the context was told by its method of that name."""
        told = self.state.slots(self.context).get(_what(name))
        return [] if told is None else members(self.state, told)

    def _tensor(self, returned: Tensor) -> Tensor:
        ends = is_whole(returned.dtype) or returned in self._told("mark_non_differentiable")
        node = None if ends else self.node
        if self.given.keys().isdisjoint(returned.storages) or returned.view is ViewKind.MAYBE:
            return result_tensor(
                self.state, node, self.at, known=returned.known, dtype=returned.dtype, shape=returned.shape
            )
        if any(tensor.storages == returned.storages for tensor in self._told("mark_dirty")):
            return self._written(returned, node)
        if node is None:
            return self._view(returned)
        own = Storage(Origin.FRESH, made_by=self.at)
        self.state.nodes[own] = node
        if "detach" in returned.path:  # no view for autograd
            return replace(returned, own=own, flows=NO_FLOWS)
        return replace(
            self._view(returned),
            view=ViewKind.MULTI,
            detached=True,
            own=own,
            no_grad_view=False,
            split_by=self.at,
            flows=NO_FLOWS,
        )

    def _written(self, returned: Tensor, node: Node | None) -> Tensor:
        """An argument that `forward` wrote, and said so: a write that autograd records, and refuses for a leaf."""
        for storage in returned.storages:
            if node is None or not self._note_leaf(returned, storage):
                self.state.nodes[storage] = node
                self.state.cuts[storage] = self.given.get(storage) or NO_FLOWS
        return returned

    def _note_leaf(self, returned: Tensor, storage: Storage) -> bool:
        """Whether this is the memory of a leaf, which it stays; the last write to it is to blame."""
        leaf, stamp = self.state.nodes.get(storage), self.state.log.get(storage)
        record = None if stamp is None else self.m.notes.writes.get(stamp.visit.key)
        if record is None or leaf is None or leaf.kind is not NodeKind.LEAF:
            return False
        kind = HazardKind.LEAF_VIEW_WRITTEN if returned.is_view else HazardKind.LEAF_WRITTEN
        certain = leaf.tracked is Tracked.YES and len(returned.storages) == 1
        self.m.notes.add_hazard(record, HazardNote(kind, leaf.op, None, leaf=leaf.at), self.m.passage(), certain)
        return True

    def _view(self, returned: Tensor) -> Tensor:
        before, self.state.grad = self.state.grad, Tracked.NO
        view = view_of(self.state, returned, ViewKind.VIEW, self.name, self.at, shape=returned.shape)
        self.state.grad = before
        return view
