"""Writes that meet a memory cell more than once: of several indices, or read while it is written."""

from __future__ import annotations

from collections.abc import Sequence

from gradfix.analysis.domain.values import Tensor
from gradfix.analysis.facts import IndexItem, IndexKind, WriteForm

# Measured (2.13): these write every element that shares the cell, with a warning at most; all others raise.
_FILLING = frozenset({"fill_", "zero_", "masked_fill_", "index_fill_", "index_put_", "fill_diagonal_"})


def is_refused(form: WriteForm, index: Sequence[IndexItem], method: str | None) -> bool:
    """Whether torch raises when several indices of the tensor written share a cell."""
    if form in (WriteForm.INDEX, WriteForm.AUGMENTED_INDEX):
        return bool(index) and all(item.kind in (IndexKind.SLICE, IndexKind.ELLIPSIS) for item in index)
    return method not in _FILLING


def reads_what_it_writes(tensor: Tensor, operands: Sequence[Tensor], index: Sequence[IndexItem]) -> bool:
    """Whether an operand is a view of part of the tensor, `y -= y[0]`: what is read depends on what is written first.

    Torch refuses that where both are dense in memory, and else computes in an order of its own (measured on 2.13).
    """
    depth = len(tensor.lineage)
    return not index and any(len(o.lineage) > depth and o.lineage[:depth] == tensor.lineage for o in operands)
