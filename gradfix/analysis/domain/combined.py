"""Shapes of what computes with tensors or joins them, where they aren't simply those of an operand: `cat`, `bmm`, …

Each rule follows torch's own; what it can't tell is None, a size or the whole shape. Calls that torch refuses may get
any shape: there is no result that could have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradfix.analysis.domain.given import Given, Rule, axis_of, shape_of, without
from gradfix.analysis.domain.indexing import Shape, broadcast
from gradfix.analysis.domain.values import NONE, Const, Container, Number


def _inverted(given: Given) -> Shape | None:
    """`pinv`; tolerances may bring dimensions of their own."""
    shape = given.shape("input", "self", "A")
    return (*shape[:-2], shape[-1], shape[-2]) if shape and len(shape) > 1 and len(given.arguments) == 1 else None


def _concatenated(given: Given, axis: int | None = None) -> Shape | None:
    shapes, exact = given.members("tensors")
    ranks = {len(shape) for shape in shapes if shape is not None}
    if len(ranks) != 1 or (ranks == {1} and None in shapes):  # torch leaves out what has no elements and one dimension
        return None
    rank = ranks.pop()
    along = given.axis("dim", rank, 0) if axis is None else axis_of(axis, rank)
    if along is None:
        return (None,) * rank
    known = [shape for shape in shapes if shape is not None]
    merged: list[int | None] = [_agreed([shape[at] for shape in known]) for at in range(rank)]
    sizes = [shape[along] for shape in known]
    counted = exact and len(known) == len(shapes)
    merged[along] = sum(size for size in sizes if size is not None) if counted and None not in sizes else None
    return tuple(merged)


def _agreed(sizes: Sequence[int | None]) -> int | None:
    """The size that all must have: torch refuses others."""
    return next((size for size in sizes if size is not None), None)


def _stacked(given: Given) -> Shape | None:
    shapes, exact = given.members("tensors")
    known = [shape for shape in shapes if shape is not None]
    if not known or len({len(shape) for shape in known}) != 1:
        return None
    rank = len(known[0])
    along = given.axis("dim", rank + 1, 0)
    if along is None:
        return (None,) * (rank + 1)
    merged = tuple(_agreed([shape[at] for shape in known]) for at in range(rank))
    return (*merged[:along], len(shapes) if exact else None, *merged[along:])


def _side_by_side(given: Given) -> Shape | None:
    """`hstack`: along the second dimension, of vectors along the first."""
    shapes, _ = given.members("tensors")
    ranks = {None if shape is None else len(shape) for shape in shapes}
    if len(ranks) != 1 or ranks <= {None, 0}:
        return None
    return _concatenated(given, 0 if ranks == {1} else 1)


def _padded(given: Given) -> Shape | None:
    shape, pad = given.shape("input"), given.numbers("pad")
    if shape is None:
        return None
    if pad is None or len(pad) % 2 or len(pad) > 2 * len(shape):
        return (None,) * len(shape)
    sizes = list(shape)
    for at in range(0, len(pad), 2):
        parts = (sizes[-1 - at // 2], pad[at], pad[at + 1])
        known = [part for part in parts if part is not None]
        sizes[-1 - at // 2] = sum(known) if len(known) == 3 else None
    return tuple(sizes)


def _embedded(given: Given) -> Shape | None:
    index, table = given.shape("input"), given.shape("weight")
    return None if index is None else (*index, table[1] if table is not None and len(table) == 2 else None)


def _product_of(left: str, right: str, rank: int) -> Rule:
    """A product of matrices, or of batches of matrices, that takes nothing else."""

    def rule(given: Given) -> Shape | None:
        first, second = given.shape(left), given.shape(right)
        rows = (None,) * (rank - 1) if first is None else first[: rank - 1]
        return (*rows, second[-1] if second else None)

    return rule


def _outer(given: Given) -> Shape | None:
    left, right = given.shape("input", "self"), given.shape("vec2")
    return (left[0] if left else None, right[0] if right else None)


def _distances(given: Given) -> Shape | None:
    left, right = given.shape("x1"), given.shape("x2")
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return None
    batch = broadcast([left[:-2], right[:-2]])
    return None if batch is None else (*batch, left[-2], right[-2])


def _summed(given: Given) -> Shape | None:
    """`einsum` with an equation that is written out."""
    operands = given.arguments.get("args")
    items = given.state.items.get(operands) if isinstance(operands, Container) else None
    if items is None or not items.exact or not items.values:
        return None
    equation, *tensors = items.values
    if not isinstance(equation, Const) or not isinstance(equation.value, str) or "." in equation.value:
        return None
    inputs, arrow, output = equation.value.replace(" ", "").partition("->")
    if not arrow:
        letters = inputs.replace(",", "")
        output = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    sizes: dict[str, int | None] = {}
    for letters, tensor in zip(inputs.split(","), tensors, strict=False):
        for letter, size in zip(letters, shape_of(tensor) or (None,) * len(letters), strict=False):
            sizes[letter] = size if sizes.get(letter) in (None, 1) else sizes[letter]
    return tuple(sizes.get(letter) for letter in output)


def _compared(given: Given) -> Shape | None:
    """`cosine_similarity`."""
    shape = broadcast([given.shape("x1"), given.shape("x2")])
    axis = None if shape is None else given.axis("dim", len(shape), 1)
    return None if shape is None or axis is None else without(shape, axis)


def _pairwise(given: Given) -> Shape | None:
    """`pairwise_distance`: one number for each pair of rows."""
    shape = broadcast([given.shape("x1"), given.shape("x2")])
    keeps = given.arguments.get("keepdim", Const(False))
    if not shape or not isinstance(keeps, Const):
        return None
    return (*shape[:-1], 1) if keeps.value else shape[:-1]


def _broadcast(*names: str) -> Rule:
    """Of all these that are given; numbers take every shape."""

    def rule(given: Given) -> Shape | None:
        values = [given.arguments[name] for name in names if given.arguments.get(name, NONE) != NONE]
        return broadcast([() if isinstance(value, (Const, Number)) else shape_of(value) for value in values])

    return rule


def _without_matrix(given: Given) -> Shape | None:
    """`det`, `matrix_norm`: a number for each matrix."""
    shape = given.shape("input", "self", "A")
    return None if shape is None or "dim" in given.arguments or "keepdim" in given.arguments else shape[:-2]


def _attended(given: Given) -> Shape | None:
    query, value = given.shape("query"), given.shape("value")
    if query is None or value is None or len(query) != len(value):
        return None
    batch = broadcast([query[:-2], value[:-2]])
    return None if batch is None else (*batch, query[-2], value[-1])


def _summarised(given: Given) -> Shape | None:
    """`trapezoid`: a dimension goes."""
    shape = None if "x" in given.arguments else given.shape("y")
    axis = None if shape is None else given.axis("dim", len(shape), -1)
    return None if shape is None or axis is None else without(shape, axis)


def _unknown(given: Given) -> Shape | None:
    return None


def _in_a_row(given: Given) -> Shape | None:
    return (None,)


def _windowed(given: Given) -> Shape | None:
    """Convolutions, pooling and resizing of a batch: what is behind the channels changes its sizes."""
    shape = given.shape("input", "self")
    return None if shape is None else (None,) * len(shape)


COMBINED: Mapping[str, Rule] = {
    "cat": _concatenated,
    "concat": _concatenated,
    "concatenate": _concatenated,
    "stack": _stacked,
    "hstack": _side_by_side,
    "pad": _padded,
    "embedding": _embedded,
    "ravel": _in_a_row,
    "bmm": _product_of("input", "mat2", 3),
    "baddbmm": _product_of("batch1", "batch2", 3),
    "addmm": _product_of("mat1", "mat2", 2),
    "outer": _outer,
    "ger": _outer,
    "cdist": _distances,
    "einsum": _summed,
    "cosine_similarity": _compared,
    "pairwise_distance": _pairwise,
    "where": _broadcast("condition", "input", "self", "other"),
    "clamp": _broadcast("input", "self", "min", "max"),
    "clip": _broadcast("input", "self", "min", "max"),
    "scaled_dot_product_attention": _attended,
    "trapezoid": _summarised,
    "trapz": _summarised,
    "bincount": _in_a_row,
    "pinverse": _inverted,
    "pinv": _inverted,
    **dict.fromkeys(("det", "logdet", "slogdet", "matrix_norm"), _without_matrix),
    **dict.fromkeys(("quantile", "nanquantile", "nuclear_norm", "triangular_solve"), _unknown),
    "interpolate": _windowed,
    **dict.fromkeys((f"{kind}_pool{n}d" for kind in ("avg", "max", "adaptive_avg") for n in "123"), _windowed),
    **dict.fromkeys((f"conv{n}d" for n in "123"), _windowed),
}
