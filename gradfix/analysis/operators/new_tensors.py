"""Tensors made of values: by factories, as parameters, as variables; and which of them leave a graph behind."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain.graph import NodeKind
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import ask_grad
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import UNKNOWN, Const, Container, Origin, Tensor, Value, is_whole, tensor_of
from gradfix.analysis.hazards import batches, cuts
from gradfix.analysis.operators import factories, objects

Keywords = Mapping[str, Value]


def made(
    m: Machine,
    state: State,
    name: str,
    args: Sequence[Value],
    keywords: Keywords,
    node: ast.AST,
    like: Tensor | None,
) -> Tensor:
    """The tensor a factory makes.

    `like` is the tensor whose method it is.
    """
    result = factories.make(state, name, args, keywords, node, like)
    m.notes.add_size(node, result.shape)
    if m.moves_defaults and "dtype" not in keywords:
        result.dtype = None
    if m.maps and like is not None and name != "new_tensor":
        batches.put((result,), batches.batch_of(like))
    elif m.maps:
        made_of = args[:1] if name.endswith("_like") or (factories.is_literal(name) and args) else ()
        batches.carry(m, state, name, made_of, (result,)) if made_of else batches.put((result,), batches.alone(m))
    _note_cut(m, state, name, args, keywords, node, result)
    return result


def _note_cut(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Keywords, node: ast.AST, made: Tensor
) -> None:
    """`torch.tensor([a, b])` of tensors with a graph gives one without, as `torch.linspace(a, b, 5)` does."""
    if values := factories.values_of(name, args, keywords):
        cuts.put(state, (made,), cuts.cut(m, state, CutKind.DISCRETE, name, node, values))
        cuts.into_numbers(m, state, values)
        return
    value = args[0] if args else keywords.get("data")
    if value is None or not factories.is_literal(name) or not isinstance(node, ast.Call):
        return
    given = next((k.value for k in node.keywords if k.arg == "data"), node.args[0] if node.args else None)
    items = given.elts if isinstance(given, (ast.List, ast.Tuple)) else ()
    parts = cuts.parts_of(state, items, value)
    kind = CutKind.DISCRETE if is_whole(made.dtype) else CutKind.TENSOR
    flows = cuts.cut(m, state, kind, name, node, (value,), argument=given, parts=parts)
    copies = name == "tensor" or isinstance(value, Container)
    is_leaf = "requires_grad" in keywords
    cuts.put(state, (made,), cuts.of_graphless(flows) if copies and not is_leaf else flows)


def parameter(m: Machine, state: State, args: Sequence[Value], keywords: Keywords, node: ast.AST) -> Value:
    """`nn.Parameter(t)`: a leaf over memory of its own."""
    storage = objects.parameter(state, "parameter", node)
    source = tensor_of(args[0]) if args else None
    graph = None if source is None else state.node_of(source)
    if graph is not None and graph.kind is NodeKind.OP:  # handing one parameter on as another is no cut
        state.cuts[storage] = cuts.cut(m, state, CutKind.PARAMETER, "Parameter", node, args[:1])
    made = Tensor((storage,), dtype=source.dtype if source else None, shape=source.shape if source else None)
    made.made_by = node
    made.holders = () if source is None else (source,)  # it lies in the memory of what it is made of
    if keywords.get("requires_grad") == Const(False) or Const(False) in args[1:2]:
        state.nodes[storage] = None
    return made


def parameters(m: Machine, state: State, name: str, args: Sequence[Value], node: ast.AST) -> Value:
    """`nn.ParameterList(ts)`, `nn.ParameterDict(d)`: parameters as they are, of other tensors new ones."""
    held = state.items.get(args[0]) if args and isinstance(args[0], Container) else None
    if held is None:
        held = Items((), not args, () if name == "ParameterDict" else None)
    made = (v if _is_parameter(v) else parameter(m, state, [v], {}, node) for v in held.values)
    items = Items(tuple(made), held.exact, held.keys, held.least, ordered=held.ordered)
    return state.container("modules", items)


def _is_parameter(value: Value) -> bool:
    tensor = tensor_of(value)
    return tensor is not None and all(storage.origin is Origin.PARAMETER for storage in tensor.storages)


def variable(m: Machine, state: State, args: Sequence[Value], keywords: Keywords, node: ast.Call) -> Value:
    """`Variable(t)`: the memory of `t` without its graph; a leaf where asked for."""
    source = tensor_of(args[0]) if args else None
    if source is None:
        return UNKNOWN
    result = objects.detached(m, state, source, node, CutKind.TENSOR)
    asked = keywords.get("requires_grad")
    if asked is not None and asked != Const(False):
        ask_grad(state, result, asked, node)
    return result
