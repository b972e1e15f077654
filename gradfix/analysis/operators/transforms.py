"""Functions that differentiate a function: `torch.func.grad(loss)(x)`, `torch.autograd.functional.jacobian(f, x)`.

Measured (2.13): in reverse mode what the function is given are leaves, and gradients flow back from what it returns, so
that writes fail there as they do before `backward`; gradients are on, whatever is set around. Only what depends on
these leaves is passed. In forward mode (`jvp`, `jacfwd`) nothing is saved, and every write is right. What `vmap` maps a
function over has a batch inside of it (`batches` says what follows), and its results have the graphs they have there.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradfix.analysis.domain.graph import Node, NodeKind, leaf, operation, reachable
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import result_tensor
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import (
    UNKNOWN,
    Const,
    Container,
    Origin,
    Partial,
    Storage,
    Symbol,
    Tensor,
    Value,
    is_whole,
)
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards import batches, cuts, sinks
from gradfix.analysis.operators import mapped
from gradfix.analysis.operators.operators import members

Keywords = Mapping[str, Value]
_DEPTH = 4  # containers in containers
# Those that give a function, and what stands for that function once it is called.
_MAKERS = frozenset("grad grad_and_value jacrev hessian jacfwd".split())
_CALLED = "gradfix.transformed."
_MAPS = frozenset({"torch.vmap", "torch.func.vmap", "functorch.vmap"})
_FUNC = ("torch.func.", "functorch.")
_FUNCTIONAL = {  # and where `create_graph` stands
    f"torch.autograd.functional.{short}": 2 if short in ("jacobian", "hessian") else 3
    for short in ("jacobian", "hessian", "vjp", "jvp", "vhp", "hvp")
}
_CHECKS = frozenset({"torch.autograd.gradcheck", "torch.autograd.gradgradcheck"})
_PULLBACK = f"{_CALLED}pullback"
_ALL = Const(None)
_FALSE = Const(False)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a function that a transform at `at` makes."""

    callee: Value
    given: Sequence[Value]
    keywords: Keywords
    at: ast.Call


def called(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Keywords, at: ast.Call
) -> Value | None:
    """Call a transform by its qualified name, or what one gave; None for every other name."""
    if name.startswith(_CALLED):
        return _of_transformed(m, state, name, args, keywords, at)
    short = name.rpartition(".")[2]
    given = args[0] if args else keywords.get("func", keywords.get("f"))
    if given is None:
        return None
    if name in _MAPS:
        axes = args[1] if len(args) > 1 else keywords.get("in_dims", Const(0))
        return Partial(Symbol(f"{_CALLED}vmap"), (given, axes), ())
    if name.startswith(_FUNC):
        return _functional(m, state, short, given, args, keywords, at)
    if name in _FUNCTIONAL or name in _CHECKS:
        inputs = args[1] if len(args) > 1 else keywords.get("inputs", UNKNOWN)
        found = state.items.get(inputs) if isinstance(inputs, Container) and inputs.kind in ("tuple", "list") else None
        handed = (inputs,) if found is None else found.values
        inner = _Call(given, handed, {}, at)
        _differentiated(m, state, inner, _ALL, leaves=name in _FUNCTIONAL)
        return _differential(state, name, args, keywords, at) if name in _FUNCTIONAL else Const(True)
    return None


def is_transform(name: str) -> bool:
    """Whether a decorator of this name gives a function that differentiates or maps what it decorates."""
    return name in _MAPS or (name.startswith(_FUNC) and name.rpartition(".")[2] in _MAKERS)


def _differential(state: State, name: str, args: Sequence[Value], keywords: Keywords, at: ast.Call) -> Value:
    """What `torch.autograd.functional` gives: tensors without a graph, unless one is asked for."""
    place = _FUNCTIONAL[name]
    graph = args[place] if len(args) > place else keywords.get("create_graph", _FALSE)
    return result_tensor(state, None, at) if graph == _FALSE else UNKNOWN


def _functional(
    m: Machine, state: State, short: str, callee: Value, args: Sequence[Value], keywords: Keywords, at: ast.Call
) -> Value | None:
    if short in _MAKERS:
        argnums = args[1] if len(args) > 1 else keywords.get("argnums", Const(0))
        place = 3 if short in ("jacrev", "jacfwd") else 2
        has_aux = args[2] if len(args) > 2 and place == 2 else keywords.get("has_aux", _FALSE)
        return Partial(Symbol(_CALLED + short), (callee, argnums, has_aux), ())
    if short == "vjp":
        result, leaves = _played(m, state, _Call(callee, args[1:], {}, at), _ALL)
        value, aux = _parted(state, result, keywords.get("has_aux", _FALSE))
        roots = members(state, value)
        sinks.transformed(m, state, roots, leaves, certain=False)  # surely once the pullback is called
        kept = (roots, [Tensor((s,)) for s in _storages(state, leaves)], args[1:])
        pullback = Partial(Symbol(_PULLBACK), tuple(map(state.tuple_of, kept)), ())
        return state.tuple_of((_outside_of(state, roots, leaves, args[1:], at), pullback, *aux))
    if short == "jvp":
        primals = state.items.get(args[1]) if len(args) > 1 and isinstance(args[1], Container) else None
        m.saw_backward = True
        result = UNKNOWN if primals is None else m.call_value(state, callee, primals.values, {}, _inner(m, at))
        value, aux = _parted(state, result, keywords.get("has_aux", _FALSE))
        return state.tuple_of((value, value, *aux))
    return None


def _of_transformed(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Keywords, at: ast.Call
) -> Value:
    """`grad(loss)(x)`; `pullback(cotangent)`."""
    if name == _PULLBACK:
        roots, wanted = (members(state, value) for value in args[:2])
        leaves = [node for node in map(state.node_of, wanted) if node is not None]
        sinks.transformed(m, state, roots, leaves, certain=True)
        return state.tuple_of(_outside_of(state, roots, leaves, args[2:3], at) for _ in leaves)
    if name.endswith("vmap"):
        return mapped.call(m, state, args[0], args[1], args[2:], keywords, _inner(m, at))
    callee, argnums, has_aux, *given = args
    if name.endswith("jacfwd"):
        m.saw_backward = True
        _, aux = _parted(state, m.call_value(state, callee, given, dict(keywords), _inner(m, at)), has_aux)
        return state.tuple_of((result_tensor(state, None, at), *aux)) if aux else result_tensor(state, None, at)
    roots, leaves, aux = _differentiated(m, state, _Call(callee, given, keywords, at), argnums, has_aux=has_aux)
    outside = _outside_of(state, roots, leaves, given, at)
    place = argnums.value if isinstance(argnums, Const) and isinstance(argnums.value, int) else -1
    gradient = _like(state, given[place], outside) if 0 <= place < len(given) else outside
    if not name.endswith("grad_and_value"):
        return state.tuple_of((gradient, *aux)) if aux else gradient
    value = _outside_of(state, roots, leaves, given, at)
    return state.tuple_of((gradient, state.tuple_of((value, *aux)) if aux else value))


def _differentiated(
    m: Machine, state: State, call: _Call, argnums: Value, *, has_aux: Value = _FALSE, leaves: bool = True
) -> tuple[list[Tensor], list[Node], tuple[Value, ...]]:
    """Make the call and let gradients flow back from what it returns to what it was given."""
    result, made = _played(m, state, call, argnums if leaves else Const(()))
    value, aux = _parted(state, result, has_aux)
    roots = members(state, value)
    behind = made if leaves else [node for v in call.given for t in members(state, v) if (node := state.node_of(t))]
    sinks.transformed(m, state, roots, behind, certain=True)
    return list(roots), behind, aux


def _played(m: Machine, state: State, call: _Call, argnums: Value) -> tuple[Value, list[Node]]:
    """What the call returns where what `argnums` names is handed over as leaves; and these."""
    leaves: list[Node] = []
    wanted = _places(argnums, len(call.given))
    handed = [_as_leaves(state, v, leaves, _DEPTH) if i in wanted else v for i, v in enumerate(call.given)]
    grad, off_at = state.grad, state.off_at
    state.grad, state.off_at = Tracked.YES, None
    result = m.call_value(state, call.callee, handed, dict(call.keywords), _inner(m, call.at))
    state.grad, state.off_at = grad, off_at
    return result, leaves


def _inner(m: Machine, at: ast.Call) -> ast.Call:
    """The call of the function itself, which torch makes: no argument of it has a name here."""
    key = (id(at), _CALLED, 0)
    if key not in m.notes.hook_calls:
        m.notes.owners.append(at)
        m.notes.hook_calls[key] = ast.copy_location(ast.Call(at, [], []), at)
    return m.notes.hook_calls[key]


def _places(argnums: Value, count: int) -> frozenset[int]:
    """Which of `count` arguments are differentiated: none where that isn't known."""
    if argnums == _ALL:
        return frozenset(range(count))
    named = argnums.value if isinstance(argnums, Const) else ()
    numbers = named if isinstance(named, tuple) else (named,)
    return frozenset(n % count for n in numbers if type(n) is int and count)


def _as_leaves(state: State, value: Value, leaves: list[Node], depth: int) -> Value:
    """`value` as the function sees it: each tensor in it a leaf that requires grad."""
    if isinstance(value, Container) and depth and (held := state.items.get(value)) is not None:
        values = tuple(_as_leaves(state, item, leaves, depth - 1) for item in held.values)
        return state.container(value.kind, Items(values, held.exact, held.keys, held.least, ordered=held.ordered))
    if not isinstance(value, Tensor) or is_whole(value.dtype):
        return value
    storage = Storage(Origin.ARGUMENT, value.storage.name)
    storage.batch = batches.batch_of(value)
    node = leaf(value.storage.name or "argument")
    leaves.append(node)
    state.nodes[storage] = node
    return Tensor((storage,), value.known, value.dtype, value.floating, value.shape, device=value.device)


def _storages(state: State, leaves: Sequence[Node]) -> list[Storage]:
    held = {id(node): storage for storage, node in state.nodes.items() if node is not None}
    return [held[id(node)] for node in leaves if id(node) in held]


def _parted(state: State, result: Value, has_aux: Value) -> tuple[Value, tuple[Value, ...]]:
    """What is differentiated of a result, and what is handed on beside it."""
    if has_aux == _FALSE:
        return result, ()
    held = state.items.get(result) if isinstance(result, Container) else None
    if held is None or not held.exact or len(held.values) != 2:
        return (UNKNOWN if has_aux == Const(True) else result), (UNKNOWN,)
    return held.values[0], (held.values[1],)


def _outside_of(
    state: State, roots: Sequence[Tensor], leaves: Sequence[Node], given: Sequence[Value], at: ast.AST
) -> Tensor:
    """A gradient, or the value itself, outside: its graph is that of what it was computed from there."""
    own = {id(node) for node in leaves}
    ends = [
        node
        for root in roots
        for node in reachable(state.node_of(root))
        if node.kind in (NodeKind.LEAF, NodeKind.ASSUMED) and id(node) not in own
    ]
    handed = (state.node_of(t) for value in given for t in members(state, value))
    graph = operation("grad", (*ends, *handed), at) if state.grad is not Tracked.NO else None
    made = result_tensor(state, graph, at)
    cuts.put(state, (made,), cuts.UNSURE)
    return made


def _like(state: State, given: Value, gradient: Tensor) -> Value:
    """The gradient of `given`, in the form that has: a tensor, or a container of them."""
    held = state.items.get(given) if isinstance(given, Container) else None
    if isinstance(given, Tensor):
        gradient.shape, gradient.dtype = given.shape, given.dtype
    if held is None or not isinstance(given, Container):
        return gradient
    values = tuple(_like(state, item, _twin(state, gradient)) for item in held.values)
    return state.container(given.kind, Items(values, held.exact, held.keys, held.least, ordered=held.ordered))


def _twin(state: State, gradient: Tensor) -> Tensor:
    made = result_tensor(state, state.node_of(gradient), gradient.made_by or ast.Pass())
    cuts.put(state, (made,), cuts.UNSURE)
    return made
