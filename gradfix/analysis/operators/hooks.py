"""Hooks that modules call around their forward: what they call may write to what goes in or comes out."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gradfix.analysis.domain.joins import join
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import outside, tracked, view_of
from gradfix.analysis.domain.state import Items, State, merge
from gradfix.analysis.domain.values import (
    NONE,
    UNKNOWN,
    Const,
    Container,
    Function,
    Instance,
    Layer,
    Symbol,
    Tensor,
    Unknown,
    Value,
)
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards import gradient_hooks
from gradfix.analysis.hazards.reads import read
from gradfix.analysis.imports import Callee
from gradfix.analysis.view_facts import OF_BACKWARD_HOOK
from gradfix.torch_ops import ViewKind

Module = Instance | Layer | Container
_AROUND_BACKWARD = "<around backward>"
_SLOTS = {
    "register_forward_pre_hook": "<before forward>",
    "register_forward_hook": "<after forward>",
    "register_full_backward_hook": _AROUND_BACKWARD,
    "register_full_backward_pre_hook": _AROUND_BACKWARD,
}
NAMES = frozenset(_SLOTS)
HANDLE = "handle"  # the kind of container that stands for what `register_forward_hook` gives
_BEFORE, _AFTER = "<before forward>", "<after forward>"
_PERHAPS = "?"  # after the slot of hooks that not every run registers
_EVERY = (*_SLOTS.values(), *(slot + _PERHAPS for slot in _SLOTS.values()))


def register(
    m: Machine, state: State, owner: Module, name: str, args: Sequence[Value], keywords: Mapping[str, Value]
) -> Value:
    """`owner.register_forward_hook(hook)`; the handle that it gives knows both."""
    hook = args[0] if args else keywords.get("hook", UNKNOWN)
    if keywords.get("with_kwargs", Const(False)) != Const(False) or isinstance(hook, Unknown):
        return UNKNOWN
    slot = _SLOTS[name] + (_PERHAPS if m.arms else "")
    held = _held(state, owner, slot)
    first = keywords.get("prepend", Const(False)) == Const(True)
    _hold(state, owner, slot, (hook, *held) if first else (*held, hook))
    return state.container(HANDLE, Items((owner, hook), True))


def perhaps_registered(state: State, callee: Callee, given: Sequence[Value]) -> None:
    """What a function of another file does to modules it is given: it may register hooks, of which nothing is known."""
    modules = [value for value in given if isinstance(value, (Instance, Layer)) or _is_chain(value)]
    for module in modules if modules and callee.may_hook() else ():
        if isinstance(module, (Instance, Layer, Container)):
            _hold(state, module, _AFTER, (*_held(state, module, _AFTER), UNKNOWN))


def _is_chain(value: Value) -> bool:
    return isinstance(value, Container) and value.kind == "layers"


def remove(m: Machine, state: State, handle: Container) -> Value:
    """`handle.remove()`: the hook isn't called any more, by some runs where only some come by here."""
    known = state.items.get(handle)
    owner, hook = (UNKNOWN, UNKNOWN) if known is None else known.values
    if not isinstance(owner, (Instance, Layer, Container)):
        return NONE
    for slot in _EVERY:
        held = _held(state, owner, slot)
        if hook in held:
            _hold(state, owner, slot, tuple(other for other in held if other is not hook))
            if m.arms:
                kept = slot.removesuffix(_PERHAPS) + _PERHAPS
                _hold(state, owner, kept, (*_held(state, owner, kept), hook))
    return NONE


def _held(state: State, owner: Module, slot: str) -> tuple[Value, ...]:
    held = state.slots(owner).get(slot)
    items = state.items.get(held) if isinstance(held, Container) else None
    return () if items is None else items.values


def _hold(state: State, owner: Module, slot: str, hooks: tuple[Value, ...]) -> None:
    state.attributes_of(owner)[slot] = state.container("list", Items(hooks, True))


def around(
    m: Machine,
    state: State,
    owner: Module,
    args: Sequence[Value],
    at: ast.Call,
    forward: Callable[[Sequence[Value]], Value],
) -> Value:
    """Call `forward` on what the hooks before it make of the arguments, and the hooks after it on its result."""
    slots = state.slots(owner)
    if slots is None or slots.keys().isdisjoint(_EVERY):
        return forward(args)
    for hook in _registered(m, state, owner, _BEFORE, at):
        made = _run(m, state, hook, [owner, state.tuple_of(args)])
        for value, part in zip(args, at.args, strict=False) if made in (NONE, UNKNOWN) else ():
            read(m, state, value, part, m.spelling(part))
        args = _taken(state, made, args)
    hooked = {slot for slot in (_AROUND_BACKWARD, _AROUND_BACKWARD + _PERHAPS) if _held(state, owner, slot)}
    if _AROUND_BACKWARD in hooked:
        args = [_view(state, value, at) for value in args]
    result = forward(args)
    for hook in _registered(m, state, owner, _AFTER, at):
        made = _run(m, state, hook, [owner, state.tuple_of(args), result])
        if made not in (NONE, UNKNOWN):
            result = made
        else:
            read(m, state, result, at, m.spelling(at))
    if hooked:
        for value in _held(state, owner, _AROUND_BACKWARD):
            if isinstance(result, Tensor):
                gradient_hooks.register(m, state, result, value, at, partial(_gradients, owner, value))
        viewed = _view(state, result, at)
        return viewed if _AROUND_BACKWARD in hooked else merge(viewed, result, m.statement)
    return result


def _gradients(owner: Module, hook: Value, state: State, gradient: Tensor) -> list[Value]:
    """What a hook around backward is given: the module, the gradients of its inputs if it wants them, of its result."""
    after = isinstance(hook, Function) and len(hook.info.parameters) - (hook.receiver is not None) > 2
    return [owner, *([outside(state, "grad_input")] if after else []), state.tuple_of((gradient,))]


def _view(state: State, value: Value, at: ast.Call) -> Value:
    """What goes into a module with hooks around its backward, or comes out: a view that can't be written."""
    items = state.items.get(value) if isinstance(value, Container) and value.kind == "tuple" else None
    if items is not None and items.exact:
        return state.tuple_of(_view(state, item, at) for item in items.values)
    if not isinstance(value, Tensor) or state.grad is Tracked.NO or tracked(state, value) is Tracked.NO:
        return value
    return view_of(state, value, ViewKind.MULTI, OF_BACKWARD_HOOK, at, shape=value.shape)


@dataclass(frozen=True, slots=True)
class _Registered:
    """A hook, and the call of its own that stands for the module's calling it."""

    hook: Value
    place: ast.Call
    certain: bool


def _registered(m: Machine, state: State, owner: Module, slot: str, at: ast.Call) -> list[_Registered]:
    found = []
    for name in (slot, slot + _PERHAPS):
        hooks = _held(state, owner, name)
        found += [_Registered(hook, _place(m, at, name, i), name == slot) for i, hook in enumerate(hooks)]
    return found


def _run(m: Machine, state: State, registered: _Registered, args: Sequence[Value]) -> Value:
    if isinstance(registered.hook, (Symbol, Unknown)):  # of another file: what it gets has no expression of its own
        return m.unknown_call(state, args, registered.place, by_name=False)
    if registered.certain:
        return m.call_value(state, registered.hook, args, {}, registered.place)
    branch, arms = state.fork(), len(m.arms)
    m.enter_arm()
    made = m.call_value(branch, registered.hook, args, {}, registered.place)
    m.leave_arms(arms)
    state.adopt(join(state, branch, m.statement))
    return made


def _place(m: Machine, at: ast.Call, slot: str, number: int) -> ast.Call:
    key = (id(at), slot, number)
    if key not in m.notes.hook_calls:
        m.notes.owners.append(at)
        given = [at.func, ast.copy_location(ast.Tuple(at.args, ast.Load()), at), at]
        m.notes.hook_calls[key] = ast.copy_location(ast.Call(at.func, given, []), at)
    return m.notes.hook_calls[key]


def _taken(state: State, made: Value, args: Sequence[Value]) -> Sequence[Value]:
    """The arguments that forward gets: what a hook returns, where that is something."""
    if made in (NONE, UNKNOWN):
        return args
    items = state.items.get(made) if isinstance(made, Container) and made.kind == "tuple" else None
    if items is not None and items.exact:
        return items.values
    return [made, *args[1:]]
