"""Hooks on gradients, as they were registered, and where the gradients come from that they are given."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Function, Tensor, Value

Given = Callable[[State, Tensor], list[Value]]  # the arguments of a hook, with this gradient among them


@dataclass(frozen=True, slots=True)
class Hooked:
    """A hook on the gradient of a tensor of this shape."""

    hook: Function
    shape: tuple[int | None, ...] | None
    place: ast.Call  # stands for torch's calling it
    given: Given


@dataclass(frozen=True, slots=True)
class Passing:
    """The operation that gave a gradient: `sum` spreads one number, `+` shares its own."""

    op: str
    at: ast.AST | None
