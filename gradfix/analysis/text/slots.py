"""Indices as slots: which ints of `out[:, t - 1]` or `D[i][j]` name a slot of a buffer, and what else there is."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from gradfix.analysis.facts import IndexItem, IndexKind, SlotAccess
from gradfix.analysis.text.scopes import names_in

MAX_COLUMNS = 16  # slots along an axis that only constants name: above, cutting it up would cost more than it gives

Items = Callable[[ast.Subscript], "tuple[IndexItem, ...] | None"]


@dataclass(frozen=True, slots=True)
class Chain:
    """A use of a name with the subscripts on it, first to last, as far as the first ones only pick by ints."""

    name: ast.Name
    subscripts: tuple[ast.Subscript, ...]
    items: tuple[tuple[int, int | None, IndexItem], ...]  # number of the subscript, dimension if known, item

    @property
    def ints(self) -> dict[int, IndexItem]:
        """The ints by the dimension that each of them removes."""
        return {dim: item for _, dim, item in self.items if dim is not None and item.kind is IndexKind.INT}


def chain_of(name: ast.Name, subscripts: Sequence[ast.Subscript], items_of: Items, rank: int | None) -> Chain | None:
    """The chain of `subscripts` on `name`; None where the analysis never saw one of their indices."""
    used: list[ast.Subscript] = []
    flat: list[tuple[int, IndexItem]] = []
    for number, subscript in enumerate(subscripts):
        items = items_of(subscript)
        if items is None:
            return None
        used.append(subscript)
        flat += [(number, item) for item in items]
        if any(item.kind is not IndexKind.INT for item in items):
            break  # what follows counts dimensions of something else
    dims = _dimensions([item for _, item in flat], rank)
    return Chain(name, tuple(used), tuple((n, dim, item) for (n, item), dim in zip(flat, dims, strict=True)))


def _dimensions(items: Sequence[IndexItem], rank: int | None) -> list[int | None]:
    """The dimension each item is applied to: from the front, behind an ellipsis from the end; None where unknown."""
    result: list[int | None] = []
    dim: int | None = 0
    for position, item in enumerate(items):
        if item.kind is IndexKind.ELLIPSIS:
            rest = items[position + 1 :]
            known = all(other.kind in (IndexKind.INT, IndexKind.SLICE, IndexKind.NONE) for other in rest)
            behind = sum(other.kind is not IndexKind.NONE for other in rest)
            dim = None if not known else -behind if rank is None else rank - behind
            result.append(None)
        elif item.kind in (IndexKind.INT, IndexKind.SLICE):
            result.append(dim)
            dim = None if dim is None else dim + 1
        else:
            result.append(None)
            dim = dim if item.kind is IndexKind.NONE else None
    return result


def axes_of(written: Sequence[Chain], shape: tuple[int | None, ...] | None, bound: AbstractSet[str]) -> tuple[int, ...]:
    """The dimensions along which every write picks by an int: those that vary, and short ones that don't.

    `bound`: the names that the loop binds.
    """
    common = [dim for dim in written[0].ints if all(dim in chain.ints for chain in written)]
    return tuple(dim for dim in common if _varies(dim, written, bound) or _is_short(dim, shape))


def _varies(dim: int, chains: Sequence[Chain], bound: AbstractSet[str]) -> bool:
    return any(not bound.isdisjoint(names_in(chain.ints[dim].node)) for chain in chains)


def _is_short(dim: int, shape: tuple[int | None, ...] | None) -> bool:
    if shape is None or not -len(shape) <= dim < len(shape):
        return False
    size = shape[dim]
    return size is not None and size <= MAX_COLUMNS


def access_of(chain: Chain, axes: Sequence[int]) -> SlotAccess:
    """What `chain` says about slots along `axes`."""
    ints = chain.ints
    known = 0
    while known < len(axes) and axes[known] in ints:
        known += 1
    if not known:
        return SlotAccess(chain.name, ())
    picked = [ints[axis] for axis in axes[:known]]
    last = max(number for number, _, item in chain.items if item is picked[-1])
    rest = [item for number, _, item in chain.items if number <= last and not any(item is p for p in picked)]
    one_each = all(sum(number == n for number, _, _ in chain.items) == 1 for n in range(last + 1))
    return SlotAccess(
        node=chain.subscripts[last],
        slots=tuple(item.node for item in picked),
        rest=() if all(map(_is_whole, rest)) else tuple(item.node for item in rest),
        is_plain=one_each and not rest,
    )


def _is_whole(item: IndexItem) -> bool:
    """`:` or `...`: leaves everything as it is."""
    node = item.node
    whole = isinstance(node, ast.Slice) and node.lower is None and node.upper is None and node.step is None
    return whole or item.kind is IndexKind.ELLIPSIS
