"""A declared call: the file imported from the rewritten text, one expression called, its outputs driven backward."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import inspect
import types
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from gradfix.backward.worker.afterwards import Afterwards, Held, cotangents
from gradfix.backward.worker.elsewhere import left_elsewhere
from gradfix.backward.worker.messages import ARGUMENT
from gradfix.backward.worker.modules import imported
from gradfix.backward.worker.observe import Observer
from gradfix.backward.worker.outside import Outside
from gradfix.backward.worker.requests import Plan, Request
from gradfix.backward.worker.results import consumed, tensors_of
from gradfix.backward.worker.state import Root, State, shared_by
from gradfix.backward.worker.tensors import layout, rng_state
from gradfix.backward.worker.vary import Leaves
from gradfix.tracer import calls


@dataclasses.dataclass
class Data:
    """`data(x)` in a call: handed over as it is, without a graph."""

    value: Any


class CallError(ValueError):
    """The declared call makes no sense; the message says what and quotes it."""


def execute(
    request: Request,
    call: str,
    code: types.CodeType,
    leaves: Leaves,
    observer: Observer,
    outside: Outside,
    known: int,
) -> None:
    """Import the file, make the `call`, note what it left and gave, run backward over what it returns.

    `known` is how many modules had been imported before the run.
    """
    module = imported(request.path, code, request.cwd)
    torch.manual_seed(request.seed)
    if request.recorded is None:
        function, args, keywords = prepared(call, module, leaves)
        given = as_inputs(args, keywords, leaves)
    else:
        function, args, keywords = _replayed(request.recorded, call, module, leaves)
        given = tensors_of([args, keywords])
    owner = getattr(function, "__self__", function)
    for one in _modules_in([owner, *args, *keywords.values()]):
        _watch_parameters(one, leaves)
        if leaves.plan.flipped:
            one.train(not one.training)

    def roots() -> list[Root]:
        own = shared_by(module, request.shared)
        return [*own, _callee(function), *_holders(args, keywords), *left_elsewhere(module, known)]

    held = Held.by(roots, given)
    leaves.name(held.state.leaves | held.state.graphs)
    before = observer.events
    observer.clock.start()
    result = consumed(function(*args, **keywords))
    returned = tensors_of(result)
    state = State(observer.wire if request.tells_state else None)
    state.modes()
    state.walk(roots(), known=leaves.handed_out())
    state.replaced(held.state)
    state.outside(outside)
    state.walk([("the result", result)], known=returned)
    own, stand_ins = observer.events > before, leaves.hidden()
    left = {path: tensor for path, tensor in state.new(held.state).items() if id(tensor) not in stand_ins}
    outputs = returned or ([] if own else [*left_behind(function, given), *left.values()])
    reached = {**state.tensors, **{f"{ARGUMENT}{number}": tensor for number, tensor in enumerate(given, 1)}}
    outputs = _once([*outputs, *(reached[path] for path in request.left if path in reached)])
    observer.outcome = {
        "arguments": [observer.wire.tensor(tensor) for tensor in given],
        "results": [{**observer.wire.tensor(tensor), **layout(tensor)} for tensor in outputs],
        "state": {path: told for path, told in state.found.items() if request.tells_state or path not in state.tensors},
        "gradients": {},
        "passes": observer.events,
        "rng": rng_state(),
    }
    again = None
    if request.recorded is None and not own and not request.plan.fresh_leaves:  # what a leaf was written doesn't last
        again = partial(_another, call, module, function, leaves)
    plain = request.plan == Plan()
    afterwards = Afterwards(observer, held, {**left, **held.written()}, outputs, plain=plain)
    _differentiate(outputs, leaves, own=own, tell=partial(afterwards.tell, again) if request.tells_state else None)


def _differentiate(outputs: list[torch.Tensor], leaves: Leaves, *, own: bool, tell: Callable[[], None] | None) -> None:
    """Run backward over what a call gave, unless it ran `own` passes and left no graph; what is left is told last."""
    tracked = any(tensor.requires_grad for tensor in outputs)
    if tell is not None and not tracked:
        tell()
    differentiable = [t for t in outputs if t.requires_grad or torch.is_floating_point(t)]
    if differentiable and (tracked or not own):
        drive(differentiable, leaves, retain=tell is not None)
    if tell is not None and tracked:
        tell()


def _another(call: str, module: types.ModuleType, function: Any, leaves: Leaves) -> Any:
    """The same `function` once more, with arguments of its own."""
    args, keywords = _arguments(_call_in(call), module, leaves)
    as_inputs(args, keywords, leaves)
    return function(*args, **keywords)


def _once(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def _callee(function: Any) -> tuple[str, Any]:
    """What is called, with a name: the object that a call of a module or method is about is `self`."""
    if isinstance(function, (types.FunctionType, type)):
        return function.__name__, function
    return "self", getattr(function, "__self__", function)


def _holders(args: list[Any], keywords: dict[str, Any]) -> list[tuple[str, Any]]:
    """Arguments that may hold tensors, with their names."""
    named = [*((f"argument {number}", value) for number, value in enumerate(args, 1)), *keywords.items()]
    return [(name, value) for name, value in named if not isinstance(value, torch.Tensor)]


def _modules_in(values: list[Any]) -> list[torch.nn.Module]:
    """Modules among values, and in lists, tuples and dicts of them."""
    found: list[torch.nn.Module] = []
    for value in values:
        if isinstance(value, torch.nn.Module):
            found.append(value)
        elif type(value) in (list, tuple, dict):
            found += _modules_in(list(value.values()) if type(value) is dict else list(value))
    return found


def _watch_parameters(module: torch.nn.Module, leaves: Leaves) -> None:
    """Take a module's parameters into account as leaves."""
    if leaves.plan.double:
        for parameter in module.parameters():
            if parameter.requires_grad and not leaves.is_tracked(parameter):
                leaves.follow_parameter(parameter)


def left_behind(function: Any, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """What a call that returns no tensor has computed: in the object it belongs to, and in its arguments."""
    owner = getattr(function, "__self__", None)
    kept = [] if owner is None or isinstance(owner, type) else tensors_of(list(getattr(owner, "__dict__", {}).values()))
    return [tensor for tensor in (*kept, *given) if tensor.grad_fn is not None]


def prepared(text: str, module: types.ModuleType, leaves: Leaves) -> tuple[Any, list[Any], dict[str, Any]]:
    """The function and its evaluated arguments."""
    tree = _call_in(text)
    function = _value(tree.func, module)
    args, keywords = _arguments(tree, module, leaves)
    if leaves.plan.otherwise:
        keywords.update(_otherwise(function, args, keywords, leaves.plan.otherwise))
    return function, args, keywords


def _otherwise(function: Any, args: list[Any], keywords: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Other numbers and flags for the parameters `names`, where the call leaves them at their defaults."""
    called = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        signature = inspect.signature(called)
        given = signature.bind_partial(*args, **keywords).arguments
    except (TypeError, ValueError):
        return {}
    defaults = {name: one.default for name, one in signature.parameters.items() if name not in given and name in names}
    return {name: _unlike(value) for name, value in defaults.items() if type(value) in (bool, int, float)}


def _unlike(value: float) -> float:
    """Another flag or number of the same type."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value + 0.5


def _call_in(text: str) -> ast.Call:
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise CallError(f"`{text}` can't be read: {error.msg}") from None
    if not isinstance(tree, ast.Call):
        raise CallError(f"`{text}` isn't a call")
    return tree


def _value(node: ast.expr, module: types.ModuleType) -> Any:
    """Names are the module's, then torch's, then Python's own, `SimpleNamespace` and `data`."""
    own = {**vars(builtins), "SimpleNamespace": types.SimpleNamespace, "data": Data}
    names = {**own, **vars(torch), "torch": torch, **vars(module)}
    return eval(compile(ast.Expression(node), "<declared call>", "eval"), names)


def _arguments(tree: ast.Call, module: types.ModuleType, leaves: Leaves) -> tuple[list[Any], dict[str, Any]]:
    """They are scaled when they are handed over, so not while they are made."""
    leaves.scaling = False
    args: list[Any] = []
    for argument in tree.args:
        if isinstance(argument, ast.Starred):
            args += _value(argument.value, module)
        else:
            args.append(_value(argument, module))
    keywords: dict[str, Any] = {}
    for keyword in tree.keywords:
        value = _value(keyword.value, module)
        keywords.update(value if keyword.arg is None else {keyword.arg: value})
    leaves.scaling = True
    return args, keywords


def _replayed(path: str, name: str, module: types.ModuleType, leaves: Leaves) -> tuple[Any, list[Any], dict[str, Any]]:
    """The function that `name` says ("recorded call of Net.forward") with the arguments that were recorded."""
    function: Any = module
    for part in name.rpartition(" ")[2].split("."):
        function = getattr(function, part)

    def tracked(leaf: torch.Tensor, label: str) -> torch.Tensor:
        leaf.requires_grad_(False)
        return _fed(leaf, label, leaves)

    args, keywords, state = calls.load(path, module.__name__, tracked)
    torch.set_grad_enabled(bool(state["grad"]) and torch.is_grad_enabled())
    if not leaves.plan.double:
        torch.set_default_dtype(getattr(torch, state["dtype"]))
    return function, list(args), dict(keywords)


def as_inputs(args: list[Any], keywords: dict[str, Any], leaves: Leaves) -> list[torch.Tensor]:
    """Make floating arguments need gradients. Returns the tensors handed over.

    A tensor that asks for gradients in the call itself is passed as the leaf it is. The others are passed as the copy
    of a leaf: a caller's intermediate result, which the function may write to and differentiate more than once.
    """
    given: list[torch.Tensor] = []

    def feed(value: Any, label: str) -> Any:
        if isinstance(value, Data):
            given.extend(_scaled(tensors_of(value.value), leaves))
            return value.value
        if isinstance(value, torch.Tensor):
            fed = _fed(value, label, leaves)
            given.append(fed)
            return fed
        if type(value) in (list, tuple):
            return type(value)(feed(item, f"{label}[{index}]") for index, item in enumerate(value))
        if type(value) is dict:
            return {key: feed(item, f"{label}[{key!r}]") for key, item in value.items()}
        if type(value) is types.SimpleNamespace or _is_record(value):
            for name, item in list(vars(value).items()):
                object.__setattr__(value, name, feed(item, f"{label}.{name}"))
        return value

    args[:] = [feed(value, f"argument {index}") for index, value in enumerate(args, 1)]
    keywords.update({name: feed(value, f"argument {name}") for name, value in keywords.items()})
    return given


def _scaled(tensors: list[torch.Tensor], leaves: Leaves) -> list[torch.Tensor]:
    with torch._C.DisableTorchFunction():
        for tensor in tensors:
            leaves.hand_over(tensor)
    return tensors


def _is_record(value: Any) -> bool:
    plain = dataclasses.is_dataclass(type(value)) and hasattr(value, "__dict__")
    return plain and not isinstance(value, torch.nn.Module)


def _fed(value: torch.Tensor, label: str, leaves: Leaves) -> torch.Tensor:
    if value.requires_grad or not (value.is_floating_point() or value.is_complex()):
        return value
    with torch._C.DisableTorchFunction():
        leaf = value.detach().requires_grad_()
        leaves.hand_over(leaf)
        leaves.labels[id(leaf)] = label
        fed = leaves.follow(leaf)
        if fed is leaf:
            fed = leaf.clone()
    leaves.keep(fed, leaf)
    return fed


def drive(outputs: list[torch.Tensor], leaves: Leaves, *, retain: bool = False) -> None:
    """One backward pass over all outputs with fixed cotangents: a plain sum would hide what cancels in it."""
    roots = []
    for output in outputs:
        root = output
        if not output.requires_grad and any(other.requires_grad for other in outputs):
            with torch._C.DisableTorchFunction():
                root = output.detach().requires_grad_()  # so that every output is reported, and torch takes them all
            leaves.ignored[id(root)] = root
        roots.append(root)
    torch.autograd.backward(roots, cotangents(roots), retain_graph=retain)
