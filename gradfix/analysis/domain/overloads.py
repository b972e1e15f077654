"""Which parameter each argument of a call fills: overloads as the table of torch's operators writes them.

`input:T dim:N keepdim:B=false *dtype:D=none` is one overload: names, letters for the kinds of arguments taken, the kind
of the default behind `=`, `*` before keyword-only names, `...` for a parameter that takes all further arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import inf

from gradfix.torch_ops import Operator, method

UNKNOWN = "unknown"  # the kind of an argument of which nothing is known
REST = "..."

_LETTERS = {"tensor": "T", "tensors": "G", "list": "L", "number": "N", "true": "B", "false": "B", "dtype": "D"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One formal parameter."""

    name: str
    takes: str  # letters: T tensor, G list of tensors, L list of numbers, N number, B bool, S string, D dtype, A any
    default: str | None  # kind of the default; None: an argument is required
    keyword_only: bool

    def accepts(self, kind: str) -> bool:
        """Whether an argument of this kind may fill the parameter."""
        if "A" in self.takes or self.takes == REST or kind in (UNKNOWN, "other"):
            return True
        if kind == "none":
            return self.default == "none"
        letter = "S" if kind.startswith(("'", '"')) else _LETTERS.get(kind, "A")
        return letter in self.takes or (letter == "B" and "N" in self.takes) or (kind == "list" and "G" in self.takes)


Overload = tuple[Parameter, ...]


@cache
def parse(text: str) -> Overload:
    """One overload from its text."""
    return tuple(_parameter(word) for word in text.split())


def _parameter(word: str) -> Parameter:
    name, _, rest = word.partition(":")
    takes, separator, default = rest.partition("=")
    return Parameter(name.removeprefix("*"), takes, default if separator else None, name.startswith("*"))


@dataclass(frozen=True, slots=True)
class Binding:
    """The parameters of one call."""

    positional: tuple[str, ...]  # the parameter that each positional argument fills
    kinds: Mapping[str, str]  # kind of each parameter's argument, defaults included


def bind(operator: Operator, args: Sequence[str], keywords: Mapping[str, str]) -> Binding | None:
    """Bind a call, given by the kinds of its arguments (receiver first), to the first overload that takes it.

    `operator.given(binding.kinds)` is the row of that very call. None when no overload takes it.
    """
    binding = bind_overloads(operator.overloads, args, keywords)
    if binding is None:
        return None
    elsewhere = dict.fromkeys(operator.parameters, "none")  # parameters of the other overloads
    return Binding(binding.positional, {**elsewhere, **binding.kinds})


def may_be_method(name: str, count: int) -> bool:
    """Whether a tensor's method of this name, if there is one, takes `count` arguments by position.

    Where it doesn't, as in `xp.exp(x)`, a module or a class of functions has that name, and no tensor.
    """
    operator = method(name)
    return operator is None or count < _room(operator.overloads)


@lru_cache(maxsize=1_000)
def _room(overloads: tuple[str, ...]) -> float:
    """How many arguments by position the widest overload takes, receiver included."""
    widest = 0.0 if overloads else inf
    for overload in map(parse, overloads):
        free = [parameter for parameter in overload if not parameter.keyword_only]
        widest = max(widest, inf if free and _spreads(free[-1], UNKNOWN) else len(free))
    return widest


def bind_overloads(overloads: Sequence[str], args: Sequence[str], keywords: Mapping[str, str]) -> Binding | None:
    """The same for overloads as text: those of a module's constructor."""
    return _bind_first(tuple(overloads), tuple(args), tuple(keywords.items()))


@lru_cache(maxsize=10_000)  # most calls of a program look alike
def _bind_first(
    overloads: tuple[str, ...], args: tuple[str, ...], keywords: tuple[tuple[str, str], ...]
) -> Binding | None:
    bindings = (_bind_one(parse(overload), args, dict(keywords)) for overload in overloads)
    return next((binding for binding in bindings if binding is not None), None)


def _bind_one(overload: Overload, args: Sequence[str], keywords: Mapping[str, str]) -> Binding | None:
    free = [parameter for parameter in overload if not parameter.keyword_only]
    taken = _positional(free, args)
    if taken is None:
        return None
    kinds: dict[str, str] = {}
    for parameter, kind in zip(taken, args, strict=True):
        kinds[parameter.name] = "list" if parameter is free[-1] and _spreads(parameter, kind) else kind
    named = {parameter.name: parameter for parameter in overload if parameter.name not in kinds}
    for name, kind in keywords.items():
        if name not in named or not named[name].accepts(kind):
            return None
        kinds[name] = kind
    for parameter in overload:
        if parameter.name not in kinds:
            if parameter.default is None and parameter.takes != REST:
                return None
            kinds[parameter.name] = parameter.default or "none"
    return Binding(tuple(parameter.name for parameter in taken), kinds)


def _positional(free: Sequence[Parameter], args: Sequence[str]) -> list[Parameter] | None:
    """The parameter of each positional argument; `x.permute(2, 0, 1)` gives a last list its elements one by one."""
    taken = []
    for at, kind in enumerate(args):
        parameter = free[min(at, len(free) - 1)] if free else None
        if parameter is None or (at >= len(free) and not _spreads(parameter, kind)) or not parameter.accepts(kind):
            return None
        taken.append(parameter)
    return taken


def _spreads(parameter: Parameter, kind: str) -> bool:
    return parameter.takes == REST or ("L" in parameter.takes and kind in ("number", UNKNOWN))
