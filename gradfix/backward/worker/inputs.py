"""A call before it runs: its text read in the module it belongs to, or its recorded arguments, fed with leaves."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import inspect
import types
from typing import Any

import torch

from gradfix.backward.worker.requests import Request
from gradfix.backward.worker.results import tensors_of
from gradfix.backward.worker.vary import Leaves
from gradfix.tracer import calls


@dataclasses.dataclass
class Data:
    """`data(x)` in a call: handed over as it is, without a graph."""

    value: Any


class CallError(ValueError):
    """The declared call makes no sense; the message says what and quotes it."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A function with its arguments, and the tensors among them, as they are handed over."""

    function: Any
    args: list[Any]
    keywords: dict[str, Any]
    given: list[torch.Tensor]

    @property
    def owner(self) -> Any:
        """The object that a method is about; else the function, class or module that is called."""
        return getattr(self.function, "__self__", self.function)


def call_of(request: Request, text: str, module: types.ModuleType, leaves: Leaves) -> Call:
    """What a request calls: as `text` says, or what was recorded. Modules that take part are watched."""
    if request.recorded is None:
        function, args, keywords = prepared(text, module, leaves)
        call = Call(function, args, keywords, as_inputs(args, keywords, leaves))
    else:
        function, args, keywords = _replayed(request.recorded, text, module, leaves)
        call = Call(function, args, keywords, tensors_of([args, keywords]))
    for one in _modules_in([call.owner, *args, *keywords.values()]):
        _watch_parameters(one, leaves)
        if leaves.plan.flipped:
            one.train(not one.training)
    return call


def another(text: str, module: types.ModuleType, function: Any, leaves: Leaves) -> Any:
    """What the same `function` gives once more, with arguments of its own."""
    args, keywords = _arguments(_call_in(text), module, leaves)
    as_inputs(args, keywords, leaves)
    return function(*args, **keywords)


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
