"""Operators of the generated table applied to abstract operands."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradfix.analysis.domain import overloads
from gradfix.analysis.domain.graph import Node
from gradfix.analysis.domain.indexing import broadcast
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import graph_node, result_tensor, save, tracked
from gradfix.analysis.domain.shapes import PRODUCTS
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import (
    DEVICE,
    NONE,
    UNKNOWN,
    Array,
    Choice,
    Const,
    Container,
    Number,
    Symbol,
    Tensor,
    Unknown,
    Value,
    tensors,
)
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards import batches, cuts, stale
from gradfix.analysis.operators.outputs import AUTOCAST, BATCHED, TRANSPOSING, Arguments, output_tensor, short_name
from gradfix.torch_ops import Condition, Gradient, Operator, Output, Saved, operator

_ALIASES = {"axis": "dim", "keepdims": "keepdim"}  # NumPy's names, which torch takes as well


def bind(
    state: State,
    op: Operator,
    args: Sequence[Value],
    keywords: Mapping[str, Value],
    settings: Mapping[str, str] | None = None,
) -> tuple[Operator, dict[str, Value]]:
    """The row of the operator that a call selects, and its arguments by parameter.

    `settings` are kinds known from elsewhere: what the constructor of a module was given.
    """
    keywords = {_ALIASES.get(name, name): value for name, value in keywords.items()}
    named = {name: kind_of(state, value) for name, value in keywords.items()}
    kinds = [kind_of(state, value) for value in args]
    binding = overloads.bind(op, kinds, named)
    if binding is None:
        names = op.parameters or ("self",)  # signatures that torch doesn't tell: `x.float()`
        arguments = {**dict(zip(names, args, strict=False)), **keywords}
        return op.given({**(settings or {}), **{k: kind_of(state, v) for k, v in arguments.items()}}), arguments
    groups: dict[str, list[Value]] = {}
    for name, value in zip(binding.positional, args, strict=True):
        groups.setdefault(name, []).append(value)
    arguments = {name: _together(state, values) for name, values in groups.items()} | dict(keywords)
    return op.given({**binding.kinds, **(settings or {})}), arguments


def _together(state: State, values: list[Value]) -> Value:
    """Several arguments that fill one parameter: `x.permute(2, 0, 1)`, `torch.meshgrid(a, b)`."""
    if len(values) == 1:
        return values[0]
    return state.tuple_of(values)


def kind_of(state: State, value: Value) -> str:
    """The kind of an argument as the table splits them."""
    if isinstance(value, Const):
        constant = value.value
        if constant is None:
            return "none"
        if isinstance(constant, bool):
            return "true" if constant else "false"
        if isinstance(constant, str):
            return repr(constant)
        return "number" if isinstance(constant, (int, float)) else "list"
    if isinstance(value, Number):
        return "number"
    if isinstance(value, Tensor):
        return "tensor"
    if isinstance(value, Symbol):
        return "'cpu'" if value == DEVICE else "dtype" if value.name.startswith("torch.") else "other"
    if isinstance(value, Container):
        items = state.items.get(value)
        return "tensors" if items and any(map(tensors, items.values)) else "list"
    if isinstance(value, (Unknown, Array)):
        return overloads.UNKNOWN
    return "tensor" if tensors(value) else "other"


def members(state: State, value: Value) -> list[Tensor]:
    """The tensors an argument stands for: itself, or the items of a list."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Container):
        items = state.items.get(value)
        return [t for item in (items.values if items else ()) for t in members(state, item)]
    if isinstance(value, Choice):
        return [tensor for option in value.options for tensor in members(state, option)]
    return list(tensors(value))


def apply(m: Machine, state: State, op: Operator, arguments: Arguments, at: ast.AST) -> Value:
    """Run an operator as `bind` narrowed it: its node, its saves, its result."""
    groups = {name: members(state, value) for name, value in arguments.items()}
    if op.name.startswith(("torch.", "module ")):
        for group in groups.values():
            for tensor in group:
                tensor.known = True  # torch's functions take tensors
    node = operator_node(state, op, groups, at)
    if node is not None:
        stale.used(m, state, (t for name in op.tracked for t in groups.get(name, ())))
    save_arguments(state, op, node, groups, at)
    if op.result == "number":
        if short_name(op) in ("size", "dim", "numel"):
            return Number("int", True)
        return Number(
            None, True, flows=cuts.number(m, state, short_name(op), [t for group in groups.values() for t in group], at)
        )
    if op.result == "bool":
        return Number("bool", True)
    if op.result == "none":
        return NONE
    results = [output_tensor(state, op, output, node, arguments, groups, at) for output in op.outputs]
    for output, tensor in zip(op.outputs, results, strict=True):
        save_output(state, op, output, node, tensor, groups, at)
    if shown := _shown_each(state, op, arguments):
        each = (output_tensor(state, op, op.outputs[0], node, arguments, {"tensors": [t]}, at) for t in shown)
        results = [replace(one, shape=results[0].shape) for one in each]
        op = replace(op, outputs=tuple(replace(op.outputs[0], many=False) for _ in shown))
    batches.carry(m, state, short_name(op), tuple(arguments.values()), results)
    ends = node is None or any(result.detached for result in results)
    if ends or m.notes.cuts or state.cuts or any(output.gradient is not Gradient.YES for output in op.outputs):
        cuts.follow(m, state, short_name(op), op, arguments, groups, node, results, at)
    if op.result == "tensor" and results:
        return results[0]
    several = any(output.many for output in op.outputs)
    if op.result in ("tuple", "list") and results:
        return state.container(op.result, Items(tuple(results), op.result == "tuple" and not several))
    if op.result == "other" and len(results) > 1 and not several:  # the caller knows how they are nested
        return state.tuple_of(results)
    return results[0] if len(results) == 1 else UNKNOWN


def _shown_each(state: State, op: Operator, arguments: Arguments) -> list[Tensor]:
    """The tensors of which an operator shows one after the other, as `broadcast_tensors` does, where all are known."""
    given = arguments.get("tensors")
    items = state.items.get(given) if isinstance(given, Container) else None
    if items is None or not items.exact or [output.view_of for output in op.outputs if output.many] != [("tensors",)]:
        return []
    shown = [value for value in items.values if isinstance(value, Tensor)]
    return shown if len(shown) == len(items.values) else []


def operator_node(state: State, op: Operator, groups: Mapping[str, Sequence[Tensor]], at: ast.AST) -> Node | None:
    """The node over the operands that get a gradient; a list argument counts with all its tensors.

    Where the table can't tell which of them do (`to_sparse`), each may.
    """
    if op.outputs and all(output.gradient is Gradient.NO for output in op.outputs):
        return None
    mixed = not op.tracked and any(output.gradient is Gradient.MIXED and not output.many for output in op.outputs)
    operands = [t for name in (groups if mixed else op.tracked) for t in groups.get(name, ())]
    return graph_node(state, short_name(op), operands, at)


def condition_level(state: State, condition: Condition, groups: Mapping[str, Sequence[Tensor]]) -> Tracked:
    """Whether a value is saved, given who has a graph."""
    return _level(condition, groups, *_requiring(state, groups))


def _requiring(state: State, groups: Mapping[str, Sequence[Tensor]]) -> tuple[set[str], set[str]]:
    """The parameters of which a tensor surely has a graph, and those of which one may have one."""
    levels = {name: [tracked(state, t) for t in group] for name, group in groups.items() if group}
    sure = {name for name, group in levels.items() if Tracked.YES in group}
    return sure, sure | {name for name, group in levels.items() if Tracked.MAYBE in group}


def _level(condition: Condition, groups: Mapping[str, Sequence[Tensor]], sure: set[str], likely: set[str]) -> Tracked:
    if condition.holds(sure):
        return Tracked.YES
    alone = {name for name in condition.across if len(groups.get(name, ())) < 2}
    likely = likely - alone  # `torch.einsum("ijj->i", a)`: nothing else in the list that could require grad
    return Tracked.NO if condition.holds(likely) is False else Tracked.MAYBE


def save_arguments(
    state: State, op: Operator, node: Node | None, groups: Mapping[str, Sequence[Tensor]], at: ast.AST
) -> None:
    """Note what an operator keeps of its arguments."""
    if node is None or not (op.saves or op.unguarded):
        return
    sure, likely = _requiring(state, groups)
    _save_unguarded(state, op, node, groups, likely, at)
    flat = _is_flat_product(op, groups)
    for entry in op.saves:
        held = groups.get(entry.parameter, ())
        level = _at_most(_level(entry.condition, groups, sure, likely), node.tracked)
        for tensor in held:
            if entry.dense_only and not flat and TRANSPOSING.intersection(tensor.path):
                if BATCHED in tensor.path:
                    continue  # of a batch the product keeps a contiguous copy
                level = _at_most(level, Tracked.MAYBE)
            if state.autocast and short_name(op) in AUTOCAST:
                if tensor.dtype == "float32":
                    continue  # what is kept is a copy in half precision
                level = _at_most(level, Tracked.MAYBE)
            save(state, node, tensor, short_name(op), at, level, result=False)


def _save_unguarded(
    state: State, op: Operator, node: Node, groups: Mapping[str, Sequence[Tensor]], likely: set[str], at: ast.AST
) -> None:
    """Note the operands that backward reads unguarded, each where another one gets a gradient."""
    for parameter in op.unguarded:
        for tensor in groups.get(parameter, ()) if likely - {parameter} else ():
            save(state, node, tensor, short_name(op), at, Tracked.MAYBE, result=False, guarded=False)


def save_others(state: State, op: Operator, node: Node, groups: Mapping[str, Sequence[Tensor]], at: ast.AST) -> None:
    """Note what an operator in place keeps of its other operands: of what it writes to, it keeps a copy."""
    written = op.parameters[0] if op.parameters else "self"
    for entry in op.saves:
        if entry.parameter != written:
            level = condition_level(state, entry.condition, groups)
            for tensor in groups.get(entry.parameter, ()):
                save(state, node, tensor, short_name(op), at, level, result=False)


def _is_flat_product(op: Operator, groups: Mapping[str, Sequence[Tensor]]) -> bool:
    """True for a product of matrices and vectors, which keeps them as they are: only batches are made contiguous."""
    shapes = [tensor.shape for group in groups.values() for tensor in group]
    return short_name(op) in PRODUCTS and all(shape is not None and len(shape) < 3 for shape in shapes)


def save_output(
    state: State,
    op: Operator,
    output: Output,
    node: Node | None,
    result: Tensor,
    groups: Mapping[str, Sequence[Tensor]],
    at: ast.AST,
) -> None:
    """Note that an operator keeps its result."""
    if node is None or output.saved is Saved.NEVER:
        return
    level = _at_most(condition_level(state, output.condition, groups), node.tracked)
    save(state, node, result, short_name(op), at, level, result=True)


def _at_most(level: Tracked, limit: Tracked) -> Tracked:
    return limit if level is Tracked.YES else level


def arithmetic(m: Machine, state: State, symbol: str, left: Value, right: Value, at: ast.AST) -> Tensor:
    """`left symbol right` where at least one side is a tensor."""
    operands = [t for value in (left, right) for t in tensors(value)]
    op = operator(symbol, left_tensor=bool(tensors(left)), right_tensor=bool(tensors(right)))
    op = op or operator(symbol, left_tensor=True, right_tensor=True)  # `@` takes no numbers: the other is unknown
    if op is None:
        return result_tensor(state, graph_node(state, symbol, operands, at), at)
    result = apply(m, state, *bind(state, op, (left, right), {}), at)
    if not isinstance(result, Tensor):
        return result_tensor(state, None, at)
    result.dense = all(t.dense for t in operands) if symbol != "@" else True
    result.shape = broadcast([t.shape for t in operands]) if symbol != "@" else result.shape
    if symbol == "+" and result.shape is not None and (node := state.node_of(result)) is not None:
        different = len({id(state.node_of(t)) for t in operands}) == len(operands)
        node.even = different and None not in result.shape and all(t.shape == result.shape for t in operands)
    return result
