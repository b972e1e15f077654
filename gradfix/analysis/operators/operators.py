"""Operators of the generated table applied to abstract operands."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from gradfix.analysis.domain.dtypes import dtype_name, makes_floats, may_convert, result_dtype
from gradfix.analysis.domain.graph import Node, operation
from gradfix.analysis.domain.indexing import broadcast
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import graph_node, result_tensor, save, tracked, view_of
from gradfix.analysis.domain.shapes import PRODUCTS, result_shape
from gradfix.analysis.domain.state import Items, State, join_tensors
from gradfix.analysis.domain.values import (
    DEVICE,
    NONE,
    UNKNOWN,
    Array,
    Choice,
    Const,
    Container,
    Number,
    Origin,
    Storage,
    Symbol,
    Tensor,
    Unknown,
    Value,
    is_whole,
    tensors,
)
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards import cuts, stale
from gradfix.analysis.operators import overloads
from gradfix.torch_ops import Condition, Gradient, Operator, Output, Saved, ViewKind, operator

Arguments = Mapping[str, Value]

BATCHED = "transpose of a batch"  # in the path of views of three or more dimensions
# Methods that return the tensor itself where it is as asked for already, and the dtype they ask for.
CONVERSIONS: Mapping[str, str | None] = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "int": "int32",
    "long": "int64",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
    "bool": "bool",
    "cuda": None,
    "cpu": None,
}
_ALIASES = {"axis": "dim", "keepdims": "keepdim"}  # NumPy's names, which torch takes as well
_MOVING = frozenset({"to", "cuda", "cpu", "pin_memory", "type"})
# Under autocast these give half precision whatever they are fed, and many others float32 for half precision.
_AUTOCAST = frozenset(
    "linear Linear matmul @ mm bmm mv addmm addmv addr addbmm baddbmm chain_matmul multi_dot einsum bilinear conv1d "
    "conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d Conv1d Conv2d Conv3d "
    "ConvTranspose1d ConvTranspose2d ConvTranspose3d Bilinear MultiheadAttention LSTM GRU RNN prelu "
    "scaled_dot_product_attention".split()
)
_KEEPING = frozenset(
    {"+", "-", "*", "add", "sub", "mul", "neg", "clone", "index_select", "masked_fill", "flip", "roll"}
)
_EXPANDING = frozenset({"expand", "expand_as", "broadcast_to", "broadcast_tensors"})
_PRODUCERS = frozenset("Linear linear matmul @ mm bmm addmm cat stack einsum Conv1d Conv2d Conv3d".split())
_TRANSPOSING = frozenset(
    {BATCHED, "transpose", "permute", "movedim", "swapaxes", "swapdims", "moveaxis", "T", "mT", "t"}
)
_SCATTERING = _TRANSPOSING | {"expand", "expand_as", "broadcast_to"}  # their elements don't lie one after the other


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
    if value == DEVICE:
        return "'cpu'"
    if isinstance(value, Symbol):
        return "dtype" if value.name.startswith("torch.") else "other"
    if isinstance(value, Container):
        items = state.items.get(value)
        return "tensors" if items and any(map(tensors, items.values)) else "list"
    if isinstance(value, (Unknown, Array)):
        return overloads.UNKNOWN
    return "tensor" if tensors(value) else "other"


def members(state: State, value: Value) -> list[Tensor]:
    """The tensors an argument stands for: itself, or the items of a list."""
    if isinstance(value, Container):
        items = state.items.get(value)
        return [t for item in (items.values if items else ()) for t in members(state, item)]
    if isinstance(value, Choice):
        return [tensor for option in value.options for tensor in members(state, option)]
    return list(tensors(value))


def short_name(op: Operator) -> str:
    """The name users know: `exp` of `torch.exp`."""
    return _short(op.name)


@cache
def _short(name: str) -> str:
    return name.removeprefix("module ").removesuffix(" inplace").rsplit(".", 1)[-1].split(" ")[0]


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
    ends = node is None or any(result.detached for result in results)
    if ends or m.notes.cuts or state.cuts or any(output.gradient is not Gradient.YES for output in op.outputs):
        cuts.follow(m, state, short_name(op), op, arguments, groups, node, results, at)
    if op.result == "tensor" and results:
        return results[0]
    if op.result in ("tuple", "list") and results:
        exact = op.result == "tuple" and not any(output.many for output in op.outputs)
        return state.container(op.result, Items(tuple(results), exact))
    return results[0] if len(results) == 1 else UNKNOWN


def operator_node(state: State, op: Operator, groups: Mapping[str, Sequence[Tensor]], at: ast.AST) -> Node | None:
    """The node over the operands that get a gradient; a list argument counts with all its tensors."""
    if op.outputs and all(output.gradient is Gradient.NO for output in op.outputs):
        return None
    operands = [t for name in op.tracked for t in groups.get(name, ())]
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
    if node is None or not op.saves:
        return
    flat = _is_flat_product(op, groups)
    sure, likely = _requiring(state, groups)
    for entry in op.saves:
        held = groups.get(entry.parameter, ())
        level = _at_most(_level(entry.condition, groups, sure, likely), node.tracked)
        for tensor in held:
            if entry.dense_only and not flat and _TRANSPOSING.intersection(tensor.path):
                if BATCHED in tensor.path:
                    continue  # of a batch the product keeps a contiguous copy
                level = _at_most(level, Tracked.MAYBE)
            if state.autocast and short_name(op) in _AUTOCAST:
                if tensor.dtype == "float32":
                    continue  # what is kept is a copy in half precision
                level = _at_most(level, Tracked.MAYBE)
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


def _is_dense(op: Operator, output: Output, operands: Sequence[Tensor]) -> bool:
    """True when the result surely lies contiguous in memory."""
    if output.shape in ("same", "broadcast"):
        return bool(operands) and all(t.dense for t in operands)
    return short_name(op) in _PRODUCERS


def output_tensor(
    state: State,
    op: Operator,
    output: Output,
    node: Node | None,
    arguments: Arguments,
    groups: Mapping[str, Sequence[Tensor]],
    at: ast.AST,
) -> Tensor:
    """The tensor an operator returns: over new memory, or a view of an argument."""
    operands = [t for group in groups.values() for t in group]
    short = short_name(op)
    known = any(t.known for t in operands) or not operands or not op.name.startswith("Tensor.")
    dtype = result_dtype(output, operands, arguments)
    shape = result_shape(state, short, output, operands, arguments)
    bases = [t for name in output.view_of for t in groups.get(name, ())]
    view = output.contiguous_view if bases and all(base.dense for base in bases) else output.view
    if view is ViewKind.MAYBE and short == "contiguous" and bases and _SCATTERING & set(bases[0].path[-1:]):
        view = ViewKind.NONE
    if view is ViewKind.MAYBE:
        view = _sure_view(short, arguments)
    if view is ViewKind.MAYBE and short == "to" and bases:
        wanted = _cast(bases[0], arguments)
        if wanted is not None and not is_whole(wanted) and _converted(bases[0], wanted)[1] is ViewKind.NONE:
            dtype, view = wanted, ViewKind.NONE
    if operands and short in CONVERSIONS and op.name.startswith("Tensor."):
        bases = operands[:1]
        dtype, view = _converted(operands[0], CONVERSIONS[short])
    if view is not ViewKind.NONE and bases:
        made = [
            view_of(state, base, view, short, at, shape=shape, dtype=dtype, expanded=short in _EXPANDING)
            for base in bases
        ]
        result = made[0]
        result.overlapping = short in _EXPANDING and grows(bases[0].shape, arguments.get("size"), state)
        for other in made[1:]:
            result = join_tensors(result, other, None)
        if dtype_name(arguments.get("dtype")) is None and may_convert(short, arguments):
            result.dtype, result.floating = None, False
        if short == "to":
            result.dtype = _cast(bases[0], arguments)
        if is_whole(result.dtype) and not is_whole(bases[0].dtype):
            return replace(
                result, detached=True, own=Storage(Origin.FRESH)
            )  # only floating and complex values have a graph
        return result
    graph = None if output.gradient is Gradient.NO else node
    if graph is not None and output.gradient is Gradient.MIXED and graph.tracked is Tracked.YES:
        graph = operation(graph.op, graph.inputs, at)
        if graph is not None:
            graph.tracked = Tracked.MAYBE
    devices = {t.device for t in operands}
    device = devices.pop() if len(devices) == 1 and short not in _MOVING else None
    if short in _AUTOCAST or (dtype is not None and dtype.startswith("?") and short not in _KEEPING):
        dtype = None
    fresh = result_tensor(state, graph, at, known=known, dtype=dtype, shape=shape, device=device)
    fresh.dense = _is_dense(op, output, operands)
    fresh.floating = makes_floats(short, output, operands, arguments)
    return fresh


def _cast(base: Tensor, arguments: Arguments) -> str | None:
    """Dtype of `base.to(…)`: kept where only a device is given."""
    if isinstance(other := arguments.get("other", NONE), Tensor):
        return other.dtype
    asked = arguments.get("dtype", NONE)
    return base.dtype if asked == NONE else dtype_name(asked)


def _converted(base: Tensor, target: str | None) -> tuple[str | None, ViewKind]:
    """Dtype and view of `base.float()` or `base.cuda()` (no `target`): the same tensor where there's nothing to do."""
    if is_whole(base.dtype) and target is not None and not is_whole(target):
        return target, ViewKind.NONE
    if target is None or base.dtype is None or base.dtype.startswith("?"):
        return target or base.dtype, ViewKind.MAYBE
    return target, ViewKind.VIEW if base.dtype == target else ViewKind.NONE


def _sure_view(name: str, arguments: Arguments) -> ViewKind:
    """What a MAYBE view is when the arguments tell."""
    if name == "narrow":
        return ViewKind.VIEW  # of all of a tensor it may return it as it is: to a write that makes no difference
    if "dropout" in name:
        chance, training = arguments.get("p", Const(0.5)), arguments.get("training", Const(True))
        if training == Const(True) and isinstance(chance, Const) and chance.value:
            return ViewKind.NONE
    return ViewKind.MAYBE


def grows(shape: tuple[int | None, ...] | None, wanted: Value | None, state: State) -> bool:
    """Whether expanding from `shape` to the sizes `wanted` certainly repeats an element."""
    if isinstance(wanted, Const):
        sizes = list(wanted.value) if isinstance(wanted.value, (tuple, list)) else [wanted.value]
    elif isinstance(wanted, Container) and (items := state.items.get(wanted)) is not None and items.exact:
        sizes = [item.value if isinstance(item, Const) else None for item in items.values]
    else:
        return False
    if shape is None or len(sizes) < len(shape):
        return False
    own = [1] * (len(sizes) - len(shape)) + list(shape)
    return any(old == 1 and isinstance(new, int) and new > 1 for old, new in zip(own, sizes, strict=True))


def arithmetic(m: Machine, state: State, symbol: str, left: Value, right: Value, at: ast.AST) -> Tensor:
    """`left symbol right` where at least one side is a tensor."""
    operands = [t for value in (left, right) for t in tensors(value)]
    op = operator(symbol, left_tensor=bool(tensors(left)), right_tensor=bool(tensors(right)))
    if op is None:
        return result_tensor(state, graph_node(state, symbol, operands, at), at)
    result = apply(m, state, *bind(state, op, (left, right), {}), at)
    if not isinstance(result, Tensor):
        return result_tensor(state, None, at)
    result.dense = all(t.dense for t in operands) if symbol != "@" else True
    result.shape = broadcast([t.shape for t in operands]) if symbol != "@" else result.shape
    return result
