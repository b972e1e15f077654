"""What a call that can't be followed may give back of what it was given."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.domain.state import State, held_in
from gradfix.analysis.domain.values import Container, Function, Instance, Tensor, Value

_DEEP = 2  # a list of objects, an object with lists
_MOST = 16  # tensors that are remembered


def given_back(state: State, args: Sequence[Value], at: ast.AST) -> tuple[Tensor, ...]:
    """The tensors in the containers and objects that a call got; a class may keep those that it got itself, too."""
    called = at.func if isinstance(at, ast.Call) else None
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    found = [value for value in args if isinstance(value, Tensor) and name[:1].isupper()]
    waiting = [(value, _DEEP) for value in args if not isinstance(value, Function)]
    while waiting and len(found) < _MOST:
        value, depth = waiting.pop()
        inner = [item for _, item in held_in(state, value)] if depth else []
        found += [item for item in inner if isinstance(item, Tensor)]
        waiting += [(item, depth - 1) for item in inner if isinstance(item, (Container, Instance))]
    return tuple(found)
