"""Calls of `torch.autograd.backward` and `torch.autograd.grad`."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain import reverse
from gradfix.analysis.domain.graph import Node
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import graph_node, result_tensor
from gradfix.analysis.domain.reverse import Reverse
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import NONE, UNKNOWN, Choice, Const, Container, Tensor, Value
from gradfix.analysis.hazards import cuts, sinks
from gradfix.analysis.operators import operators


def run(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call
) -> Value:
    """Differentiate; the gradients that `grad` returns have a graph only with `create_graph=True`."""
    accumulates = name.endswith("backward")
    given = reverse.bound(reverse.BACKWARD if accumulates else reverse.GRAD, args, keywords)
    roots = given.get("tensors" if accumulates else "outputs", UNKNOWN)
    wanted = given.get("inputs", NONE if accumulates else UNKNOWN)
    gradient = given.get("grad_tensors" if accumulates else "grad_outputs", NONE)
    ends, retained = ends_of(state, wanted), reverse.retains(given, node)
    how = Reverse(gradient != NONE, ends, retained, accumulates)
    expression = node.args[0] if node.args else node.keywords[0].value if node.keywords else node
    for root in operators.members(state, roots):
        sinks.backward(m, state, root, expression, node, how)
    if accumulates:
        return NONE
    count = len(operators.members(state, wanted)) or 1
    create = given.get("create_graph", Const(False))
    operands = operators.members(state, roots)
    graph = graph_node(state, "grad", operands, node) if create == Const(True) else None
    gradients = tuple(result_tensor(state, graph, node) for _ in range(count))
    if create == Const(False):
        cuts.put(state, gradients, cuts.cut(m, state, CutKind.DISCRETE, "grad", node, operands))
    elif graph is None:
        cuts.put(state, gradients, cuts.UNSURE)
    return state.tuple_of(gradients)


def method(
    m: Machine, state: State, root: Tensor, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call
) -> Value:
    """`root.backward(…)`."""
    given = reverse.bound(reverse.METHOD, args, keywords)
    ends = ends_of(state, given.get("inputs", NONE))
    how = Reverse(given.get("gradient", NONE) != NONE, ends, reverse.retains(given, node))
    sinks.backward(m, state, root, node.func.value if isinstance(node.func, ast.Attribute) else node.func, node, how)
    return NONE


def ends_of(state: State, wanted: Value) -> list[Node] | None:
    """The graphs of the tensors that alone are differentiated by, none where they aren't known; None: every leaf."""
    if wanted == NONE:
        return None
    items = state.items.get(wanted) if isinstance(wanted, Container) else None
    if isinstance(wanted, Choice) or (items is not None and not items.exact):
        return []  # only some of them are asked for, or others besides
    members = operators.members(state, wanted)
    nodes = [state.node_of(tensor) if tensor.known else None for tensor in members]
    return [] if None in nodes else [node for node in nodes if node is not None]
