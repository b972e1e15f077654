"""Writes that meet a memory cell more than once: of several indices, or read while it is written."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.domain.indexing import Shape, indexed_shape
from gradfix.analysis.domain.values import Tensor
from gradfix.analysis.facts import IndexItem, IndexKind, WriteForm
from gradfix.analysis.hazards.write_records import Site

# Measured (2.13): these write every element that shares the cell, with a warning at most; all others raise.
_FILLING = frozenset({"fill_", "zero_", "masked_fill_", "index_fill_", "index_put_", "fill_diagonal_"})

# Measured (2.13): these go on reading an operand after they have begun to write, and torch lets it be the target.
_MIXING = frozenset({"addmm_", "addmv_", "addbmm_", "baddbmm_", "masked_scatter_"})


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


def reads_what_it_writes(tensor: Tensor, operands: Sequence[Tensor], site: Site) -> bool:
    """Whether an operand is a view of part of the tensor, `y -= y[0]`: what is read depends on what is written first.

    Torch refuses that where both are dense in memory, and else computes in an order of its own (measured on 2.13). Of
    an item that is written those parts are asked which are spelled beside it: `y[2] += y[:, 0]`.
    """
    depth = len(tensor.lineage)
    of_it = any(len(o.lineage) > depth and o.lineage[:depth] == tensor.lineage for o in operands)
    return of_it and (not site.index or _crosses(site))


def mixes(name: str, tensor: Tensor, operands: Sequence[Tensor]) -> bool:
    """Whether `y.addmm_(y, w)` computes with elements that it has overwritten: out of place it gives other values."""
    return name in _MIXING and any(not set(o.storages).isdisjoint(tensor.storages) for o in operands)


def _crosses(site: Site) -> bool:
    """Whether an item and another one of the same tensor share some of their elements, but may not share all."""
    value = site.value
    if not isinstance(value, ast.Subscript) or ast.dump(value.value) != ast.dump(site.target):
        return False
    read = value.slice.elts if isinstance(value.slice, ast.Tuple) else [value.slice]
    pairs = list(zip((item.node for item in site.index), read, strict=False))
    if any(_is_apart(written, other) for written, other in pairs):
        return False
    return any(isinstance(written, ast.Slice) is not isinstance(other, ast.Slice) for written, other in pairs)


def _is_apart(written: ast.expr, read: ast.expr) -> bool:
    """Two numbers that are written out and differ."""
    numbers = isinstance(written, ast.Constant) and isinstance(read, ast.Constant)
    return numbers and written.value != read.value  # type: ignore[attr-defined]  # both are constants
