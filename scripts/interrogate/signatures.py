"""Names for the arguments of a call: torch's schemas for builtins, `inspect` for Python functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from interrogate.calls import kind

SCHEMA_PREFIX = {"torch.linalg.": "linalg_", "torch.special.": "special_", "torch.fft.": "fft_"}

VARARGS = "varargs"
_NAMED = re.compile("names|dimname", re.IGNORECASE)  # overloads for named tensors, which torch gave up


@dataclass(frozen=True, slots=True)
class Bound:
    """A call's arguments by parameter name, defaults filled in, and the parameter of each positional argument."""

    values: Mapping[str, Any]
    positional: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One formal parameter; `accepts` judges an actual argument by its type."""

    name: str
    type: str
    default: Any
    keyword_only: bool
    required: bool


Overloads = Sequence[tuple[Parameter, ...]]


UNTOLD = (Parameter("self", "any", None, False, True), Parameter("arguments", VARARGS, None, False, False))


def signatures(name: str, function: Callable[..., Any]) -> list[tuple[Parameter, ...]]:
    """Every overload of `name` (`torch.exp`, `Tensor.exp`), without `out=` forms; (self, ...) when torch tells none."""
    path, _, short = name.rpartition(".")
    builtin = f"{path}.{getattr(function, '__name__', short)}"  # logsigmoid is log_sigmoid
    found = [] if _python_defined(name) else _from_schemas(name) or _from_schemas(builtin)
    return found or from_inspect(_undispatched(name, function)) or [UNTOLD]


def bind(overloads: Overloads, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound:
    """Bind to the first overload that takes the call; names are `self`, `arg1`, ... when none does."""
    for parameters in overloads:
        bound = _bind_one(parameters, args, kwargs)
        if bound is not None:
            return bound
    names = tuple("self" if position == 0 else f"arg{position}" for position in range(len(args)))
    return Bound(dict(zip(names, args, strict=True)) | dict(kwargs), names)


def described(overloads: Overloads) -> list[str]:
    """Overloads as text: `input:T dim:N keepdim:B=false *dtype:D=none`, those with equal names in one.

    Letters are the kinds of arguments taken (`CODES`), behind `=` is the kind of the default, `*` is keyword only,
    `...` takes all further arguments.
    """
    merged: dict[tuple[str, ...], list[tuple[Parameter, ...]]] = {}
    for overload in overloads:
        merged.setdefault(tuple(parameter.name for parameter in overload), []).append(overload)
    return [" ".join(map(_described, *same)) for same in merged.values()]


def _described(*same: Parameter) -> str:
    first = same[0]
    codes = "".join(sorted({letter for one in same for letter in _codes(one.type)}))
    default = "" if first.required else "=" + kind(first.default)
    star = "*" if first.keyword_only else ""
    return f"{star}{first.name}:{'...' if first.type == VARARGS else codes}{'' if first.type == VARARGS else default}"


# T tensor, G list of tensors, N number, L list of numbers, B bool, S string, D dtype, A anything
CODES = {
    "Tensor": "T",
    "number": "N",
    "Scalar": "N",
    "SymInt": "N",
    "float": "N",
    "bool": "B",
    "str": "S",
    "List[Tensor]": "G",
    "List[Optional[Tensor]]": "G",
    "List[int]": "LN",
    "List[SymInt]": "LN",
    "List[float]": "LN",
    "List[number]": "LN",
}


def _codes(type_name: str) -> str:
    if type_name.startswith("Optional["):
        return _codes(type_name[len("Optional[") : -1])
    if type_name == "int":
        return "ND"  # schemas write a dtype as int
    return CODES.get(type_name, "A")


def _from_schemas(name: str) -> list[tuple[Parameter, ...]]:
    path, _, short = name.rpartition(".")
    schemas = torch._C._jit_get_schemas_for_operator(f"aten::{SCHEMA_PREFIX.get(path + '.', '')}{short}")
    found = []
    for schema in schemas:
        if any(argument.is_out for argument in schema.arguments) or _NAMED.search(schema.overload_name):
            continue
        parameters = [_parameter(argument, rename=path == "torch") for argument in schema.arguments]
        if path == "Tensor":  # `x.where(mask, y)`, `x.polygamma(2)`: the receiver is not first in the schema
            parameters.sort(key=lambda parameter: parameter.name != "self")
        found.append(tuple(parameters))
    with_tensors = [one for one in found if any("Tensor" in parameter.type for parameter in one)]
    return with_tensors or found  # the rest are TorchScript's own overloads for numbers and lists


def _python_defined(name: str) -> bool:
    target: Any = torch.Tensor if name.startswith("Tensor.") else torch
    for part in name.split(".")[1:]:
        target = getattr(target, part, None)
    return inspect.isfunction(target)


def _parameter(argument: Any, rename: bool) -> Parameter:
    name = "input" if rename and argument.name == "self" else argument.name
    return Parameter(
        name, str(argument.type), argument.default_value, argument.kwarg_only, not argument.has_default_value()
    )


def from_inspect(function: Callable[..., Any]) -> list[tuple[Parameter, ...]]:
    """The signature of a Python function or class, as the only overload; none when it has no signature."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        required = parameter.default is parameter.empty
        parameters.append(
            Parameter(
                parameter.name,
                VARARGS if parameter.kind is parameter.VAR_POSITIONAL else "any",
                None if required else parameter.default,
                parameter.kind is parameter.KEYWORD_ONLY,
                required,
            )
        )
    return [tuple(parameters)]


def _undispatched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`F.max_pool2d` dispatches on a flag and hides its signature; `F._max_pool2d` shows it."""
    if name.startswith("torch.nn.functional."):
        plain = getattr(torch.nn.functional, "_" + name.rpartition(".")[2], None)
        if inspect.isfunction(plain):
            return plain
    return function


def _bind_one(parameters: tuple[Parameter, ...], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound | None:
    positional = [parameter for parameter in parameters if not parameter.keyword_only]
    spread = len(positional) - 1 if positional and _takes_rest(positional[-1], args[len(positional) - 1 :]) else None
    if len(args) > len(positional) and spread is None:
        return None
    names = tuple(positional[min(at, len(positional) - 1)].name for at in range(len(args)))
    given = dict(zip(names, args, strict=True))
    if spread is not None:
        given[positional[spread].name] = list(args[spread:])
    if any(name in given for name in kwargs):
        return None
    values = _with_defaults(parameters, given | dict(kwargs))
    return None if values is None else Bound(values, names)


def _takes_rest(last: Parameter, rest: Sequence[Any]) -> bool:
    """`x.permute(2, 0, 1)` gives the last list parameter its elements one by one."""
    if last.type == VARARGS:
        return True
    return "List[" in last.type and bool(rest) and not isinstance(rest[0], (list, tuple)) and rest[0] is not None


def _with_defaults(parameters: tuple[Parameter, ...], given: Mapping[str, Any]) -> dict[str, Any] | None:
    if not given.keys() <= {parameter.name for parameter in parameters}:
        return None
    values: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.name in given:
            if not accepts(parameter.type, given[parameter.name]):
                return None
            values[parameter.name] = given[parameter.name]
        elif parameter.required and parameter.type != VARARGS:
            return None
        else:
            values[parameter.name] = parameter.default
    return values


def accepts(type_name: str, value: Any) -> bool:
    """Whether torch's parser would take `value` for a schema type such as `Optional[Tensor]` or `List[int]`."""
    if type_name in ("any", VARARGS):
        return True
    if type_name.startswith("Optional["):
        return value is None or accepts(type_name[len("Optional[") : -1], value)
    if type_name.startswith("List["):
        inner = type_name[len("List[") : -1]
        inner = "SymInt" if inner == "int" else inner  # a lone int may be a dtype, in a list it is none
        if isinstance(value, (list, tuple, torch.Size)):
            return all(accepts(inner, item) for item in value)
        return inner in ("int", "SymInt") and isinstance(value, int)
    plain: dict[str, tuple[type, ...]] = {
        "Tensor": (torch.Tensor,),
        "number": (int, float, complex, bool),
        "Scalar": (int, float, complex, bool),
        "int": (int, torch.dtype, torch.layout, torch.memory_format),
        "SymInt": (int,),
        "float": (int, float),
        "bool": (bool, int),
        "str": (str,),
        "Device": (str, torch.device),
        "Generator": (torch.Generator,),
    }
    expected = plain.get(type_name)
    return expected is None or isinstance(value, expected)
