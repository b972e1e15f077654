"""The arguments of a call, as rules ask for them that tell the shape of its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gradfix.analysis.domain.indexing import Shape
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Choice, Const, Container, Number, Tensor, Value


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments of a call by parameter; those left out are absent, negative dimensions count from the end."""

    state: State
    arguments: Mapping[str, Value]

    def shape(self, *names: str) -> Shape | None:
        """Of the tensor that the first of these parameters got that got one."""
        return next((shape_of(self.arguments[name]) for name in names if name in self.arguments), None)

    def number(self, name: str, default: int | None = None) -> int | None:
        """An int, or None where it isn't a constant."""
        value = self.arguments.get(name, Const(default))
        return value.value if isinstance(value, Const) and type(value.value) is int else None

    def numbers(self, name: str) -> tuple[int | None, ...] | None:
        """Ints given one by one or as a list, where it is sure how many; None for each that isn't a constant."""
        value = self.arguments.get(name)
        if isinstance(value, Const) and isinstance(value.value, (tuple, list)):
            found: Sequence[Value] = [Const(one) for one in value.value]
        elif isinstance(value, Container):
            items = self.state.items.get(value)
            if items is None or not items.exact:
                return None
            found = items.values
        else:
            found = [] if value is None else [value]
        if not all(isinstance(one, (Const, Number)) for one in found):
            return None
        return tuple(one.value if isinstance(one, Const) and type(one.value) is int else None for one in found)

    def axis(self, name: str, rank: int, default: int | None = None) -> int | None:
        """A dimension out of `rank`, counted from the front."""
        return axis_of(self.number(name, default), rank)

    def members(self, name: str) -> tuple[list[Shape | None], bool]:
        """The shapes of a list of tensors, and whether that is all of them, once each."""
        value = self.arguments.get(name)
        items = self.state.items.get(value) if isinstance(value, Container) else None
        return ([], False) if items is None else ([shape_of(item) for item in items.values], items.exact)


Rule = Callable[[Given], Shape | None]


def shape_of(value: Value) -> Shape | None:
    """Shape of a tensor, or of each of several that it may be."""
    if isinstance(value, Tensor):
        return value.shape
    if isinstance(value, Choice):
        shapes = {shape_of(option) for option in value.options}
        return shapes.pop() if len(shapes) == 1 else None
    return None


def axis_of(dim: int | None, rank: int) -> int | None:
    """The dimension `dim` of `rank`, counted from the front; None where torch would refuse it."""
    if dim is None or not -rank <= dim < rank:
        return None
    return dim % rank


def without(shape: Shape, *axes: int) -> Shape:
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def resized(shape: Shape, axis: int, size: int | None) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])
