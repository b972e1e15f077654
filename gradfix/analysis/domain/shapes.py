"""Shapes of results, as far as they are cheap to tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gradfix.analysis.domain.combined import COMBINED
from gradfix.analysis.domain.given import Given, axis_of, shape_of
from gradfix.analysis.domain.indexing import Shape, broadcast
from gradfix.analysis.domain.rearranged import REARRANGED
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Choice, Const, Tensor, Value
from gradfix.torch_ops import Output

_REDUCTIONS = frozenset(
    "sum mean prod amax amin norm vector_norm logsumexp std var argmax argmin max min any all median nansum "
    "nanmean".split()
)
# Losses that compare element by element; reduced ones are scalars by the table.
_ELEMENTWISE = frozenset(
    "MSELoss L1Loss SmoothL1Loss HuberLoss BCELoss BCEWithLogitsLoss mse_loss l1_loss smooth_l1_loss huber_loss "
    "binary_cross_entropy binary_cross_entropy_with_logits".split()
)
PRODUCTS = frozenset({"@", "matmul", "mm", "mv"})
_CELLS = frozenset({"RNNCell", "GRUCell", "LSTMCell"})
_RECURRENT = frozenset({"RNN", "GRU", "LSTM"})
_CONVOLUTION = re.compile(r"Conv(?:Transpose)?([123])d")
_POOLING = re.compile(r"(?:Adaptive)?(?:Max|Avg)Pool[123]d")
_OVER_CLASSES = frozenset("cross_entropy CrossEntropyLoss nll_loss NLLLoss".split())


_RULES = {**REARRANGED, **COMBINED}


def result_shape(
    state: State, name: str, output: Output, operands: Sequence[Tensor], arguments: Mapping[str, Value]
) -> Shape | None:
    """Shape of an output of the operator `name`; None when it can't be told."""
    if not operands:
        return () if output.shape == "scalar" else None
    given = Given(state, arguments)
    if (rule := _RULES.get(name)) is not None:
        return rule(given)
    if output.shape == "scalar":
        return ()
    shapes = [shape_of(value) for value in arguments.values() if isinstance(value, (Tensor, Choice))]
    first = shapes[0] if shapes else operands[0].shape
    if name in _REDUCTIONS and "other" not in arguments:
        return _reduced(first, given)
    if name in ("Linear", "linear") and first:
        weights = [given.shape("weight")] if "weight" in arguments else given.members("weights")[0]
        return _linear(first, weights[0] if weights else None, is_layer=name == "Linear")
    if name in PRODUCTS and len(shapes) > 1:
        return _product(first, shapes[1])
    if name == "Embedding" and first is not None:
        return (*first, None)
    if name in _ELEMENTWISE or name in _OVER_CLASSES:
        return _unreduced(name, shapes) if arguments.get("reduction") == Const("none") else None
    if name in ("t", "adjoint") and first is not None and len(first) < 3:
        return tuple(reversed(first))
    if first and (moved := _layer(name, first)) is not None:
        return moved
    if output.shape == "same":
        return first
    return broadcast([t.shape for t in operands]) if output.shape == "broadcast" else None


def attribute_shape(name: str, shape: Shape | None) -> Shape | None:
    """Shape of `y.T`, `y.mT`, `y.real` and the like."""
    if shape is None or name in ("real", "imag"):
        return shape
    if name in ("T", "H"):
        return shape[::-1]
    return (*shape[:-2], *shape[:-3:-1])


def _linear(shape: Shape, weight: Shape | None, *, is_layer: bool) -> Shape | None:
    """Shape of a linear map; `F.linear` also takes a vector for a weight, which leaves no features."""
    if weight is None:
        return (*shape[:-1], None) if is_layer else None
    return (*shape[:-1], *weight[:-1])


def _layer(name: str, shape: Shape) -> Shape | None:
    """Shape of what a layer makes of a batch, or of one sample: as many dimensions, of which a few keep their size."""
    if name in _CELLS:
        return (*shape[:-1], None)
    if name in _RECURRENT or _POOLING.fullmatch(name):
        return (None,) * len(shape)
    if (convolution := _CONVOLUTION.fullmatch(name)) is None:
        return None
    batch = shape[: len(shape) - int(convolution[1]) - 1]
    return (*batch, *(None for _ in shape[len(batch) :]))


def _product(left: Shape | None, right: Shape | None) -> Shape | None:
    """Shape of a product of matrices, vectors, or batches of matrices."""
    if not left or not right:
        return None
    if len(right) == 1:
        return left[:-1]
    if len(left) == 1:
        return (*right[:-2], right[-1])
    batch = broadcast([left[:-2], right[:-2]])
    return None if batch is None else (*batch, left[-2], right[-1])


def _unreduced(name: str, shapes: Sequence[Shape | None]) -> Shape | None:
    """Shape of a loss with `reduction="none"`: of every element, or of every element that has a class."""
    first = shapes[0] if shapes else None
    if name in _ELEMENTWISE:
        return broadcast(list(shapes[:2])) if len(shapes) > 1 else None
    return None if first is None else (first[0], *first[2:]) if len(first) > 1 else ()


def _reduced(shape: Shape | None, given: Given) -> Shape | None:
    """Over all dimensions, one or several; a single one that isn't known leaves as many as it must."""
    keep = given.arguments.get("keepdim", Const(False))
    if given.arguments.get("dim", Const(None)) == Const(None):
        return () if keep == Const(False) else None
    dims = given.numbers("dim")
    if shape is None or not dims or not isinstance(keep, Const):
        return None
    axes = {axis for dim in dims if (axis := axis_of(dim, len(shape))) is not None}
    if len(axes) < len(dims):
        rank = len(shape) if keep.value else len(shape) - len(dims)
        return (None,) * max(rank, 0)
    if keep.value:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)
