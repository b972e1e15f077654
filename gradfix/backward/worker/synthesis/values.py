"""Guessed arguments as frozen values, and the call they make as text that anybody can copy. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Union

Path = tuple[int, ...]  # stage, argument, then the items inside
EACH = -1  # in a path: all items of a list alike


@dataclass(frozen=True)
class Tensor:
    """A random tensor."""

    shape: tuple[int, ...]
    kind: str = "normal"  # or "positive", "negative", "long", "bool", "definite": what may be inverted or factorised
    high: int = 4  # of the integers
    leaf: bool = False
    tracked: bool = True  # a floating one is handed over with a graph

    @property
    def text(self) -> str:
        return self._made if self.tracked else f"data({self._made})"

    @property
    def is_floating(self) -> bool:
        return self.kind not in ("long", "bool")

    @property
    def _made(self) -> str:
        sizes = ", ".join(map(str, self.shape)) if self.shape else "()"
        grad = ", requires_grad=True" if self.leaf else ""
        if self.kind == "long":
            return f"randint({self.high}, {_tuple(self.shape)})"
        if self.kind == "bool":
            return f"rand({sizes}) > 0.5"
        if self.kind == "definite" and len(self.shape) >= 2:
            return f"eye({self.shape[-1]}) + 0.1 * rand({sizes})"
        if self.kind == "negative":
            return f"-3 * rand({sizes})"
        return f"{'randn' if self.kind == 'normal' else 'rand'}({sizes}{grad})"


@dataclass(frozen=True)
class Plain:
    """None, a flag, a number or a text."""

    value: bool | int | float | str | None

    @property
    def text(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class Code:
    """An expression: a function, a module, a dtype."""

    text: str


@dataclass(frozen=True)
class Several:
    """A list or a tuple."""

    items: tuple[Value, ...]
    is_list: bool = True

    @property
    def text(self) -> str:
        inner = ", ".join(item.text for item in self.items)
        return f"[{inner}]" if self.is_list else f"({inner}{',' * (len(self.items) == 1)})"


@dataclass(frozen=True)
class Fields:
    """Named values: a dict, or an object made from keywords."""

    items: tuple[tuple[str, Value], ...]
    maker: str = "dict"  # else the class that is called with them

    @property
    def text(self) -> str:
        if self.maker == "dict":
            return "{" + ", ".join(f"{name!r}: {value.text}" for name, value in self.items) + "}"
        return f"{self.maker}({', '.join(f'{name}={value.text}' for name, value in self.items)})"

    def having(self, name: str, value: Value) -> Fields:
        """The same with one more field."""
        return replace(self, items=(*self.items, (name, value)))


Value = Union[Tensor, Plain, Code, Several, Fields]


@dataclass(frozen=True)
class Argument:
    """One argument as it is passed; one that is left out has its default."""

    name: str
    value: Value
    by_name: bool = False
    left_out: bool = False
    star: str = ""  # "*" or "**" for what is spread


@dataclass(frozen=True)
class Stage:
    """One pair of parentheses: a constructor's, a method's, a function's."""

    suffix: str  # what comes before them: "", ".forward", ".eval()"
    arguments: tuple[Argument, ...] = ()

    @property
    def text(self) -> str:
        shown: list[str] = []
        gap = False
        for argument in self.arguments:
            if argument.left_out:
                gap = True
                continue
            if argument.star:
                shown += [argument.star + argument.value.text] * (argument.star == "**" or not gap)
                continue
            named = argument.by_name or gap
            shown.append(f"{argument.name}={argument.value.text}" if named else argument.value.text)
        return f"{self.suffix}({', '.join(shown)})"


@dataclass(frozen=True)
class Call:
    """`head` and then the stages: `Net`, `(8)`, `(randn(2, 8))`."""

    head: str
    stages: tuple[Stage, ...]

    @property
    def text(self) -> str:
        return self.head + "".join(stage.text for stage in self.stages)

    def values(self) -> Iterator[tuple[Path, str, Value]]:
        """Every value that is passed, with the names of the arguments, the outer ones first."""
        for number, stage in enumerate(self.stages):
            for index, argument in enumerate(stage.arguments):
                if not argument.left_out:
                    yield from _inside((number, index), argument.name, argument.value)

    def at(self, path: Path, value: Value) -> Call:
        """The same with another value at a place."""
        stage = self.stages[path[0]]
        argument = stage.arguments[path[1]]
        changed = replace(argument, value=_put(argument.value, path[2:], value), left_out=False)
        return self._with(path, changed)

    def without(self, path: Path) -> Call:
        """The same with the default of an argument."""
        return self._with(path, replace(self.stages[path[0]].arguments[path[1]], left_out=True))

    def map(self, change: Callable[[Value], Value]) -> Call:
        """The same with every value changed."""
        call = self
        for path, _, value in list(self.values()):
            changed = change(value)
            if changed != value:
                call = call.at(path, changed)
        return call

    def _with(self, path: Path, argument: Argument) -> Call:
        stage = self.stages[path[0]]
        arguments = (*stage.arguments[: path[1]], argument, *stage.arguments[path[1] + 1 :])
        stages = (*self.stages[: path[0]], replace(stage, arguments=arguments), *self.stages[path[0] + 1 :])
        return replace(self, stages=stages)


def _inside(path: Path, name: str, value: Value) -> Iterator[tuple[Path, str, Value]]:
    yield path, name, value
    if isinstance(value, Several):
        alike = len(value.items) > 1 and len(set(value.items)) == 1
        for index, item in (*((EACH, item) for item in value.items[:alike]), *enumerate(value.items)):
            yield from _inside((*path, index), name, item)
    elif isinstance(value, Fields):
        for index, (field, item) in enumerate(value.items):
            yield from _inside((*path, index), field, item)


def _put(value: Value, path: Path, new: Value) -> Value:
    if not path:
        return new
    index, rest = path[0], path[1:]
    if isinstance(value, Several) and index == EACH:
        return replace(value, items=tuple(_put(item, rest, new) for item in value.items))
    if isinstance(value, Several):
        item = _put(value.items[index], rest, new)
        return replace(value, items=(*value.items[:index], item, *value.items[index + 1 :]))
    assert isinstance(value, Fields)
    name, old = value.items[index]
    return replace(value, items=(*value.items[:index], (name, _put(old, rest, new)), *value.items[index + 1 :]))


def _tuple(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
