"""Shapes of results, as far as they are cheap to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradfix.analysis.indexing import Shape, broadcast
from gradfix.analysis.values import Const, Tensor, Value
from gradfix.torch_ops import Output

_REDUCTIONS = frozenset(
    "sum mean prod amax amin norm logsumexp std var argmax argmin max min any all median nansum nanmean".split()
)
# Losses that compare element by element; reduced ones are scalars by the table.
_ELEMENTWISE = frozenset(
    "MSELoss L1Loss SmoothL1Loss HuberLoss BCELoss BCEWithLogitsLoss mse_loss l1_loss smooth_l1_loss huber_loss "
    "binary_cross_entropy binary_cross_entropy_with_logits".split()
)
PRODUCTS = frozenset({"@", "matmul", "mm", "mv"})
_OVER_CLASSES = frozenset("cross_entropy CrossEntropyLoss nll_loss NLLLoss".split())


def result_shape(name: str, output: Output, operands: Sequence[Tensor], arguments: Mapping[str, Value]) -> Shape | None:
    """Shape of an output of the operator `name`; None when it can't be told."""
    if output.shape == "scalar":
        return ()
    if not operands:
        return None
    first = operands[0].shape
    if name in _REDUCTIONS:
        return _reduced(first, arguments)
    if name in ("Linear", "linear") and first:
        weight = operands[1].shape if len(operands) > 1 else None
        return (*first[:-1], weight[0] if weight and len(weight) == 2 else None)
    if name in PRODUCTS and len(operands) > 1:
        return _product(first, operands[1].shape)
    if name == "Embedding" and first is not None:
        return (*first, None)
    if name in _ELEMENTWISE or name in _OVER_CLASSES:
        return _unreduced(name, operands) if arguments.get("reduction") == Const("none") else None
    if name in ("squeeze", "unsqueeze", "flatten") and first is not None:
        return _regrouped(name, first, arguments)
    if name in ("t", "adjoint") and first is not None and len(first) < 3:
        return tuple(reversed(first))
    if output.shape == "same":
        return first
    if name.startswith("Conv") and first is not None and len(first) > 2:
        return (first[0], *(None for _ in first[1:]))
    return broadcast([t.shape for t in operands]) if output.shape == "broadcast" else None


def _product(left: Shape | None, right: Shape | None) -> Shape | None:
    """Shape of a product of matrices and vectors; of a batch only where a plain matrix multiplies it."""
    if not left or not right or len(right) > 2 or (len(right) == 1 and len(left) > 2):
        return None
    return (*left[:-1], *right[1:])


def _unreduced(name: str, operands: Sequence[Tensor]) -> Shape | None:
    """Shape of a loss with `reduction="none"`: of every element, or of every element that has a class."""
    first = operands[0].shape
    if name in _ELEMENTWISE:
        return broadcast([operands[0].shape, operands[1].shape]) if len(operands) > 1 else None
    return None if first is None else (first[0], *first[2:]) if len(first) > 1 else ()


def _regrouped(name: str, shape: Shape, arguments: Mapping[str, Value]) -> Shape | None:
    """Shape of `squeeze`, `unsqueeze` and `flatten`, where the dimension is known."""
    if name == "flatten":
        return (None,) if not {"start_dim", "end_dim"} & arguments.keys() else None
    dim = arguments.get("dim")
    if not isinstance(dim, Const) or type(dim.value) is not int:
        return None
    rank = len(shape) + (name == "unsqueeze")
    axis = dim.value + rank if dim.value < 0 else dim.value
    if not 0 <= axis < rank:
        return None
    if name == "unsqueeze":
        return (*shape[:axis], 1, *shape[axis:])
    if shape[axis] is None:
        return None
    return (*shape[:axis], *shape[axis + 1 :]) if shape[axis] == 1 else shape


def _reduced(shape: Shape | None, arguments: Mapping[str, Value]) -> Shape | None:
    dim = arguments.get("dim")
    if dim is None:
        return ()
    keep = arguments.get("keepdim", Const(False))
    if shape is None or not isinstance(dim, Const) or type(dim.value) is not int or not isinstance(keep, Const):
        return None
    axis = dim.value + len(shape) if dim.value < 0 else dim.value
    if not 0 <= axis < len(shape):
        return None
    return (*shape[:axis], *((1,) if keep.value else ()), *shape[axis + 1 :])
