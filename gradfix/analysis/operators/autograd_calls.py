"""Calls of `torch.autograd.backward` and `torch.autograd.grad`."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain.graph import Node
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import graph_node, result_tensor
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import NONE, UNKNOWN, Choice, Const, Container, Value
from gradfix.analysis.hazards import cuts, sinks
from gradfix.analysis.operators import operators


def run(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call
) -> Value:
    """Differentiate; the gradients that `grad` returns have a graph only with `create_graph=True`."""
    roots = args[0] if args else keywords.get("outputs", keywords.get("tensors", UNKNOWN))
    gradient = args[2] if len(args) > 2 else keywords.get("grad_outputs", NONE)
    if name.endswith("backward"):
        gradient = args[1] if len(args) > 1 else keywords.get("grad_tensors", NONE)
    expression = node.args[0] if node.args else node.keywords[0].value if node.keywords else node
    at = 4 if name.endswith("backward") else 1
    wanted = args[at] if len(args) > at else keywords.get("inputs", NONE if at == 4 else UNKNOWN)
    ends = ends_of(state, wanted)
    for root in operators.members(state, roots):
        has_gradient = gradient != NONE
        sinks.backward(m, state, root, expression, node, has_gradient=has_gradient, ends=ends, settings=keywords)
    if name.endswith("backward"):
        return NONE
    count = len(operators.members(state, wanted)) or 1
    create = keywords.get("create_graph", args[4] if len(args) > 4 else Const(False))
    operands = operators.members(state, roots)
    graph = graph_node(state, "grad", operands, node) if create == Const(True) else None
    gradients = tuple(result_tensor(state, graph, node) for _ in range(count))
    if create == Const(False):
        cuts.put(state, gradients, cuts.cut(m, state, CutKind.DISCRETE, "grad", node, operands))
    elif graph is None:
        cuts.put(state, gradients, cuts.UNSURE)
    return state.tuple_of(gradients)


def ends_of(state: State, wanted: Value) -> list[Node] | None:
    """The graphs of the tensors that alone are differentiated by, none where they aren't known; None: every leaf."""
    if wanted == NONE:
        return None
    items = state.items.get(wanted) if isinstance(wanted, Container) else None
    if isinstance(wanted, Choice) or (items is not None and not items.exact and len(items.values) > 1):
        return []  # only some of them are asked for
    members = operators.members(state, wanted)
    nodes = [state.node_of(tensor) if tensor.known else None for tensor in members]
    return [] if None in nodes else [node for node in nodes if node is not None]
