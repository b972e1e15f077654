"""Writes that meet a memory cell more than once: of several indices, or read while it is written."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.domain.indexing import Shape, indexed_shape
from gradfix.analysis.domain.values import Tensor
from gradfix.analysis.facts import IndexItem, IndexKind, WriteForm

# Measured (2.13): these write every element that shares the cell, with a warning at most; all others raise.
_FILLING = frozenset({"fill_", "zero_", "masked_fill_", "index_fill_", "index_put_", "fill_diagonal_"})


def is_refused(form: WriteForm, index: tuple[IndexItem, ...], method: str | None, shape: Shape | None) -> bool:
    """Whether torch raises for certain when several indices of the tensor of this shape share a cell."""
    if form not in (WriteForm.INDEX, WriteForm.AUGMENTED_INDEX):
        return method not in _FILLING
    if not index or any(item.kind not in (IndexKind.SLICE, IndexKind.ELLIPSIS) for item in index):
        return False
    return all(map(_takes_all, index)) or _leaves_several(shape, indexed_shape(shape, index))


def _takes_all(item: IndexItem) -> bool:
    """`:` and `...`."""
    node = item.node
    return item.kind is IndexKind.ELLIPSIS or (
        isinstance(node, ast.Slice) and node.lower is node.upper is node.step is None
    )


def _leaves_several(shape: Shape | None, left: Shape | None) -> bool:
    """Whether slices take two or more of each dimension that they shorten: the one of a row shares no cell."""
    if shape is None or left is None:
        return False
    return all(after is not None and (after == before or after > 1) for before, after in zip(shape, left, strict=True))


def reads_what_it_writes(tensor: Tensor, operands: Sequence[Tensor], index: Sequence[IndexItem]) -> bool:
    """Whether an operand is a view of part of the tensor, `y -= y[0]`: what is read depends on what is written first.

    Torch refuses that where both are dense in memory, and else computes in an order of its own (measured on 2.13).
    """
    depth = len(tensor.lineage)
    return not index and any(len(o.lineage) > depth and o.lineage[:depth] == tensor.lineage for o in operands)
