"""What an operator returns: a tensor over memory of its own, or a view of an argument."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from gradfix.analysis.domain.dtypes import dtype_name, makes_floats, may_convert, result_dtype
from gradfix.analysis.domain.graph import Node, operation
from gradfix.analysis.domain.operations import graph_node, result_tensor, view_of
from gradfix.analysis.domain.shapes import result_shape
from gradfix.analysis.domain.state import State, join_tensors
from gradfix.analysis.domain.values import NONE, Const, Container, Origin, Storage, Tensor, Value, is_whole
from gradfix.analysis.facts import Tracked
from gradfix.torch_ops import Gradient, Operator, Output, ViewKind

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
_MOVING = frozenset({"to", "cuda", "cpu", "pin_memory", "type"})
# Under autocast these give half precision whatever they are fed, and many others float32 for half precision.
AUTOCAST = frozenset(
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
TRANSPOSING = frozenset(
    {BATCHED, "transpose", "permute", "movedim", "swapaxes", "swapdims", "moveaxis", "T", "mT", "t"}
)
_SCATTERING = TRANSPOSING | {"expand", "expand_as", "broadcast_to"}  # their elements don't lie one after the other


def short_name(op: Operator) -> str:
    """The name users know: `exp` of `torch.exp`."""
    return _short(op.name)


@cache
def _short(name: str) -> str:
    return name.removeprefix("module ").removesuffix(" inplace").rsplit(".", 1)[-1].split(" ")[0]


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
    bases = [t for name in output.view_of for t in groups.get(name, ())]
    dtype = result_dtype(output, operands, arguments)
    if short_name(op) == "einsum" and len(operands) == 1:
        bases, view = operands, _rearranged(state, arguments)
    elif operands and short_name(op) in CONVERSIONS and op.name.startswith("Tensor."):
        bases = operands[:1]
        dtype, view = _converted(operands[0], CONVERSIONS[short_name(op)])
    else:
        dtype, view = _kind_of_view(op, output, bases, arguments, dtype)
    shape = result_shape(state, short_name(op), output, operands, arguments)
    if view is not ViewKind.NONE and bases:
        return _view_of_bases(state, op, bases, view, arguments, at, shape=shape, dtype=dtype)
    return _over_new_memory(state, op, output, node, arguments, operands, at, shape=shape, dtype=dtype)


def _rearranged(state: State, arguments: Arguments) -> ViewKind:
    """Whether `einsum` of one tensor shows its memory: where every letter is left (`"ii->i"`), else it sums."""
    given = arguments.get("args")
    items = state.items.get(given) if isinstance(given, Container) else None
    equation = items.values[0] if items is not None and items.exact and items.values else None
    if not isinstance(equation, Const) or not isinstance(equation.value, str):
        return ViewKind.MAYBE
    letters, arrow, kept = equation.value.replace(" ", "").partition("->")
    lost = set(letters) - set(kept) if arrow else {one for one in letters if letters.count(one) > 1 and one != "."}
    return ViewKind.NONE if lost else ViewKind.MAYBE


def _kind_of_view(
    op: Operator, output: Output, bases: Sequence[Tensor], arguments: Arguments, dtype: str | None
) -> tuple[str | None, ViewKind]:
    """The dtype of the result, and whether it shows the memory of `bases`."""
    short = short_name(op)
    view = output.contiguous_view if bases and all(base.dense for base in bases) else output.view
    if view is ViewKind.MAYBE and short == "contiguous" and bases and _SCATTERING & set(bases[0].path[-1:]):
        return dtype, ViewKind.NONE
    if view is ViewKind.MAYBE:
        view = _sure_view(short, arguments)
    if short == "to" and arguments.get("copy") == Const(True):
        view = ViewKind.NONE  # whatever else is asked for
    if view is ViewKind.MAYBE and short == "to" and bases:
        wanted = _cast(bases[0], arguments)
        if wanted is not None and not is_whole(wanted) and _converted(bases[0], wanted)[1] is ViewKind.NONE:
            return wanted, ViewKind.NONE
    return dtype, view


def _view_of_bases(
    state: State,
    op: Operator,
    bases: Sequence[Tensor],
    view: ViewKind,
    arguments: Arguments,
    at: ast.AST,
    *,
    shape: tuple[int | None, ...] | None,
    dtype: str | None,
) -> Tensor:
    """A view of one of `bases`."""
    short = short_name(op)
    expanded, turned = short in _EXPANDING, short in TRANSPOSING
    result, *others = (
        view_of(state, base, view, short, at, shape=shape, dtype=dtype, expanded=expanded, transposed=turned)
        for base in bases
    )
    result.overlapping = expanded and grows(bases[0].shape, arguments.get("size"), state)
    for other in others:
        result = join_tensors(result, other, None)
    if short.startswith("unsafe_"):
        return _unnoticed(state, result, graph_node(state, short, bases, at))
    if dtype_name(arguments.get("dtype")) is None and may_convert(short, arguments):
        result.dtype, result.floating = None, False
    if short == "to":
        result.dtype = _cast(bases[0], arguments)
    if is_whole(result.dtype) and not is_whole(bases[0].dtype):  # only floating and complex values have a graph
        return replace(result, detached=True, own=Storage(Origin.FRESH))
    return result


def _unnoticed(state: State, part: Tensor, graph: Node | None) -> Tensor:
    """A part by `unsafe_chunk` and the like: to autograd no view, so what is written to it counts for it alone."""
    own = Storage(Origin.FRESH, made_by=part.made_by)
    state.nodes[own] = graph
    return replace(part, detached=True, own=own, silent=True, no_grad_view=False)


def _over_new_memory(
    state: State,
    op: Operator,
    output: Output,
    node: Node | None,
    arguments: Arguments,
    operands: Sequence[Tensor],
    at: ast.AST,
    *,
    shape: tuple[int | None, ...] | None,
    dtype: str | None,
) -> Tensor:
    """A result of its own, with `node` behind it where it has a gradient."""
    short = short_name(op)
    known = any(t.known for t in operands) or not operands or not op.name.startswith("Tensor.")
    graph = None if output.gradient is Gradient.NO else node
    if graph is not None and output.gradient is Gradient.MIXED and graph.tracked is Tracked.YES:
        graph = operation(graph.op, graph.inputs, at)
        if graph is not None:
            graph.tracked = Tracked.MAYBE
    devices = {t.device for t in operands}
    device = devices.pop() if len(devices) == 1 and short not in _MOVING else None
    if short in AUTOCAST or (dtype is not None and dtype.startswith("?") and short not in _KEEPING):
        dtype = None
    fresh = result_tensor(state, graph, at, known=known, dtype=dtype, shape=shape, device=device)
    fresh.dense = _is_dense(op, output, operands)
    elementwise = output.shape in ("same", "broadcast") and short != "contiguous"
    fresh.transposed = elementwise and any(t.transposed for t in operands)
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


def _is_dense(op: Operator, output: Output, operands: Sequence[Tensor]) -> bool:
    """True when the result surely lies contiguous in memory."""
    if output.shape in ("same", "broadcast"):
        return bool(operands) and all(t.dense for t in operands)
    return short_name(op) in _PRODUCERS
