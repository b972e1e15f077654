"""`torch.autograd.Function` of the same file: what its `forward` keeps with `save_for_backward`."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.domain.definitions import ClassInfo
from gradfix.analysis.domain.graph import Node
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors, graph_node, result_tensor, save
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Tensor, Value, tensor_of


def apply(m: Machine, state: State, info: ClassInfo, args: Sequence[Value], at: ast.Call) -> Value:
    """`Name.apply(…)`: one node, and the saves its forward spells out by name."""
    node = graph_node(state, info.node.name, all_tensors(args), at)
    result = result_tensor(state, node, at)
    m.notes.unfollowed.add(id(at))
    forward = info.method("forward")
    if node is None or forward is None or isinstance(forward.node, ast.Lambda):
        return result
    parameters = [a.arg for a in forward.node.args.args]
    given = dict(zip(parameters[1:], args, strict=False))
    returned = _returned(forward.node)
    for name in _saved_names(forward.node):
        _save(
            state, node, info.node.name, tensor_of(given[name]) if name in given else None, result, at, name in returned
        )
    return result


def _save(
    state: State, node: Node, op: str, source: Tensor | None, result: Tensor, at: ast.AST, is_result: bool
) -> None:
    if source is not None:
        save(state, node, source, op, at, node.tracked, result=False)
    elif is_result:
        save(state, node, result, op, at, node.tracked, result=True)


def _saved_names(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [
        argument.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Call)
        and isinstance(inner.func, ast.Attribute)
        and inner.func.attr == "save_for_backward"
        for argument in inner.args
        if isinstance(argument, ast.Name)
    ]


def _returned(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    values = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return) and inner.value is not None]
    return {inner.id for value in values for inner in ast.walk(value) if isinstance(inner, ast.Name)}
