"""How many dimensions a tensor has, as shown by what its shape is taken apart into."""

from __future__ import annotations

import ast
from dataclasses import replace

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Tensor


def learn(m: Machine, state: State, node: ast.Assign) -> None:
    """Behind `n, d = x.shape`, or `x.size()`, `x` has two dimensions, or there is no behind."""
    owner = _owner_of_shape(node.value)
    if owner is None:
        return
    for target in node.targets:
        if not isinstance(target, (ast.Tuple, ast.List)) or any(isinstance(t, ast.Starred) for t in target.elts):
            continue
        tensor = m.look(state, owner)
        if isinstance(tensor, Tensor) and tensor.shape is None and not state.slots(tensor):
            m.rebind(state, owner, tensor, _ranked(state, tensor, len(target.elts)))


def _owner_of_shape(value: ast.expr) -> ast.Name | ast.Attribute | None:
    """`x` of `x.shape` and `x.size()`."""
    if isinstance(value, ast.Call):
        value = value.func if not (value.args or value.keywords) else value
        wanted = "size"
    else:
        wanted = "shape"
    if not isinstance(value, ast.Attribute) or value.attr != wanted:
        return None
    return value.value if isinstance(value.value, (ast.Name, ast.Attribute)) else None


def _ranked(state: State, tensor: Tensor, rank: int) -> Tensor:
    """The same object, of so many dimensions."""
    same = replace(tensor, shape=(None,) * rank, ranked=True)
    same.born = tensor.born
    if missed := state.late.get(tensor):
        state.late[same] = missed
    return same
