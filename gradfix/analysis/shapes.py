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
_LAST_CHANGES = frozenset({"Linear", "linear", "Embedding"})


def result_shape(name: str, output: Output, operands: Sequence[Tensor], arguments: Mapping[str, Value]) -> Shape | None:
    """Shape of an output of the operator `name`; None when it can't be told."""
    if output.shape == "scalar":
        return ()
    if not operands:
        return None
    first = operands[0].shape
    if name in _REDUCTIONS:
        return _reduced(first, arguments)
    if name in _LAST_CHANGES and first:
        return (*first, None) if name == "Embedding" else (*first[:-1], None)
    if name in _ELEMENTWISE and len(operands) > 1:
        return broadcast([operands[0].shape, operands[1].shape])
    if output.shape == "same":
        return first
    if name.startswith("Conv") and first is not None and len(first) > 2:
        return (first[0], *(None for _ in first[1:]))
    return broadcast([t.shape for t in operands]) if output.shape == "broadcast" else None


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
