"""Hooks that backward calls with a gradient: what they write to may be one cell for many elements, or others' too.

Measured (2.13): `sum` gives back an expanded gradient, on which most writes raise and those to some elements reach all.
`+` of tensors of one shape gives its own gradient to both operands, so that a write reaches the one whose turn comes
later. Every other operation, and a tensor that is used twice, gives a gradient of its own.
"""

from __future__ import annotations

import ast

from gradfix.analysis.domain.graph import Node, NodeKind, Passed
from gradfix.analysis.domain.hooked import Given, Hooked, Passing
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import result_tensor
from gradfix.analysis.domain.records import HazardNote, WriteRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import NONE, Function, Tensor, Value
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards import overlaps
from gradfix.findings import HazardKind

SHARING, SPREADING = "+", "sum"
_UNIFORM = frozenset({"zero_", "fill_"})  # leave every element with the same number, whichever cells they share


def register(m: Machine, state: State, tensor: Tensor, hook: Value, at: ast.Call, given: Given | None = None) -> None:
    """`tensor.register_hook(hook)`, where every run comes by, in a file that removes no hooks."""
    node = state.node_of(tensor)
    if node is None or m.arms or not isinstance(hook, Function) or ".remove()" in m.source.text:
        return
    place = ast.copy_location(ast.Call(at.func, [], []), at)
    m.notes.owners += (node, place)
    hooked = Hooked(hook, tensor.shape, place, given or (lambda _, gradient: [gradient]))
    known = m.notes.gradient_hooks.setdefault(id(node), (node, {}))[1]
    known.setdefault((id(hook.info.node), id(at)), hooked)


def run(m: Machine, state: State, root: Node | None) -> None:
    """Backward from `root` calls the hooks it comes by."""
    if not m.notes.gradient_hooks or root is None:
        return
    passed = Passed(root)
    for node, hooks in list(m.notes.gradient_hooks.values()):
        passing = _passing(passed, node) if id(node) in passed.nodes and passed.surely(node) else None
        for hooked in hooks.values() if passing is not None else ():
            if passing is not None and (passing.op == SHARING or _is_spread(hooked.shape)):
                passing = _called(m, state, hooked, passing)


def _called(m: Machine, state: State, hooked: Hooked, passing: Passing) -> Passing | None:
    """Call one hook; how the next one gets its gradient, None where this one made another."""
    grad, off_at, state.grad, state.off_at = state.grad, state.off_at, Tracked.NO, None
    gradient = result_tensor(state, None, hooked.place, shape=hooked.shape)
    m.notes.gradients[gradient.storage] = passing
    result = m.call_value(state, hooked.hook, hooked.given(state, gradient), {}, hooked.place)
    state.grad, state.off_at = grad, off_at
    same = isinstance(result, Tensor) and result.storages == gradient.storages
    return passing if same or result == NONE else None


def written(m: Machine, record: WriteRecord, tensor: Tensor) -> None:
    """A write to a tensor, which a hook may have been given as a gradient."""
    passing = m.notes.gradients.get(tensor.storage) if len(tensor.storages) == 1 else None
    if passing is None or (passing.op == SPREADING and record.method in _UNIFORM and not tensor.is_view):
        return
    loud = passing.op == SPREADING and overlaps.is_refused(record.form, record.index, record.method, tensor.shape)
    note = HazardNote(HazardKind.GRADIENT_WRITTEN, passing.op, passing.at, result=loud)
    m.notes.add_hazard(record, note, m.passage(), loud and not tensor.is_view and not m.uncertain_loop)


def _passing(passed: Passed, node: Node) -> Passing | None:
    """How the gradient of `node` comes to it, where it is no tensor of its own."""
    shared: Passing | None = None
    while True:
        users = passed.users(node)
        if len(users) != 1 or users[0].kind is NodeKind.PHI:
            return shared
        user = users[0]
        if user.op == SPREADING:
            return Passing(SPREADING, user.at)
        if not user.even:
            return shared
        if len(user.inputs) > 1 and shared is None:
            shared = Passing(SHARING, user.at)
        node = user


def _is_spread(shape: tuple[int | None, ...] | None) -> bool:
    return bool(shape) and all(size is not None and size > 1 for size in shape or ())
