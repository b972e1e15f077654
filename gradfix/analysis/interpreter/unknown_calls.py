"""Calls that can't be followed: what they may return, and what they may keep."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from gradfix.analysis.domain.graph import assumed, operation
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors, save
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Origin, Storage, Tensor, Value
from gradfix.analysis.facts import Tracked

# What people call elementwise functions of the caller's choice: half of those of torch keep their result.
_ACTIVATION = re.compile(r"(?:^|[._])(?:act|activation|activate|nonlin|nonlinearity|non_linearity)(?:_?fn|_?func)?\d*$")


def unknown_call(
    m: Machine,
    state: State,
    args: Sequence[Value],
    at: ast.AST,
    *,
    may_save: bool = False,
    weights: Sequence[Tensor] = (),
    by_name: bool = True,
) -> Value:
    """A call that can't be followed: it may return anything, and a module may keep its arguments for backward.

    `weights` are what is known of the module's parameters. `by_name`: what is called like an activation is one.
    """
    m.notes.unfollowed.add(id(at))
    operands = all_tensors(args)
    nodes = [state.node_of(t) for t in (*operands, *weights)]
    graph = operation("call", (*nodes, assumed("call")), at) if state.grad is not Tracked.NO else None
    if graph is not None and may_save:
        label = m.spelling(at.func) if isinstance(at, ast.Call) else "call"
        for tensor in operands:
            save(state, graph, tensor, label, at, Tracked.MAYBE, result=False)
    if graph is not None:
        for tensor in weights:
            save(state, graph, tensor, "call", at, Tracked.MAYBE, result=False)
    storage = Storage(Origin.OUTSIDE)
    state.nodes[storage] = graph
    result = Tensor((storage,), known=False, made_by=at, module_call=True)
    if by_name and graph is not None and isinstance(at, ast.Call) and _ACTIVATION.search(m.spelling(at.func)):
        result.known = True
        save(state, graph, result, m.spelling(at.func), at, Tracked.MAYBE, result=True)
    return result
