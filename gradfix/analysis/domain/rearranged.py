"""Shapes of what takes parts of a tensor or puts them in another order: `permute`, `unbind`, `flatten`, …

Each rule follows torch's own; what it can't tell is None, a size or the whole shape. Calls that torch refuses may get
any shape: there is no result that could have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gradfix.analysis.domain.given import Given, Rule, axis_of, resized, without
from gradfix.analysis.domain.indexing import Shape


def _permuted(given: Given) -> Shape | None:
    shape, dims = given.shape("input", "self"), given.numbers("dims")
    if dims is None:
        return None
    if shape is not None and len(shape) != len(dims):
        return None
    axes = [axis_of(dim, len(dims)) for dim in dims]
    return tuple(None if shape is None or axis is None else shape[axis] for axis in axes)


def _swapped(first: str, second: str) -> Rule:
    def rule(given: Given) -> Shape | None:
        shape = given.shape("input", "self")
        if shape is None:
            return None
        left, right = given.axis(first, len(shape)), given.axis(second, len(shape))
        if left is None or right is None:
            return (None,) * len(shape)
        return resized(resized(shape, left, shape[right]), right, shape[left])

    return rule


def _moved(given: Given) -> Shape | None:
    shape = given.shape("input", "self")
    if shape is None:
        return None
    source, target = given.axis("source", len(shape)), given.axis("destination", len(shape))
    if source is None or target is None:
        return (None,) * len(shape)
    rest = without(shape, source)
    return (*rest[:target], shape[source], *rest[target:])


def _expanded(given: Given) -> Shape | None:
    shape, sizes = given.shape("self", "input"), given.numbers("size")
    if sizes is None:
        return None
    own = (None,) * len(sizes) if shape is None else (None,) * (len(sizes) - len(shape)) + shape
    return tuple(old if new == -1 else new for old, new in zip(own, sizes, strict=False))


def _like(name: str) -> Rule:
    return lambda given: given.shape(name)


def _repeated(given: Given) -> Shape | None:
    shape, times = given.shape("self", "input"), given.numbers("repeats")
    if times is None:
        return None
    own = (None,) * len(times) if shape is None else (1,) * (len(times) - len(shape)) + shape
    return tuple(None if a is None or b is None else a * b for a, b in zip(own, times, strict=False))


def _selected(given: Given) -> Shape | None:
    """`select`, and each part of `unbind`: a dimension goes."""
    shape = given.shape("input", "self")
    if shape is None:
        return None
    axis = given.axis("dim", len(shape), 0)
    return (None,) * max(len(shape) - 1, 0) if axis is None else without(shape, axis)


def _resized(length: Callable[[Given, int | None], int | None], default: int | None = 0) -> Rule:
    """A dimension gets another size, told from the arguments and its own."""

    def rule(given: Given) -> Shape | None:
        shape = given.shape("input", "self", "tensor")
        if shape is None:
            return None
        axis = given.axis("dim", len(shape), default)
        return (None,) * len(shape) if axis is None else resized(shape, axis, length(given, shape[axis]))

    return rule


def _of_even_parts(given: Given, size: int | None) -> int | None:
    """`chunk`: a part's size where all have the same."""
    parts = given.number("chunks")
    return size // parts if size is not None and parts and parts > 0 and size % parts == 0 else None


def _of_full_parts(given: Given, size: int | None) -> int | None:
    """`split`: a part's size where no part is smaller."""
    part = given.number("split_size_or_sections", given.number("split_size"))
    return part if size is not None and part and size % part == 0 else None


def _of_indices(given: Given, size: int | None) -> int | None:
    """`index_select`: as many as there are indices."""
    index = given.shape("index")
    return index[0] if index else 1 if index == () else None


def _interleaved(given: Given) -> Shape | None:
    """`repeat_interleave`: of all elements in a row where no dimension is named."""
    return _resized(lambda given, size: None)(given) if "dim" in given.arguments else (None,)


def _diagonal(given: Given) -> Shape | None:
    shape = given.shape("input", "self")
    if shape is None:
        return None
    axes = [given.axis("dim1", len(shape), 0), given.axis("dim2", len(shape), 1)]
    sizes = [None if axis is None else shape[axis] for axis in axes]
    known = [size for size in sizes if size is not None]
    length = min(known) if len(known) == 2 and given.number("offset", 0) == 0 else None
    kept = [axis for axis in axes if axis is not None]
    return (*(without(shape, *kept) if len(kept) == 2 else (None,) * max(len(shape) - 2, 0)), length)


def _diag(given: Given) -> Shape | None:
    """`diag`: the diagonal of a matrix, or a matrix with this diagonal."""
    shape = given.shape("input", "self")
    if shape is None or len(shape) not in (1, 2):
        return None
    if len(shape) == 1:
        size = shape[0] if given.number("diagonal", 0) == 0 else None
        return (size, size)
    known = [size for size in shape if size is not None]
    return (min(known) if len(known) == 2 and given.number("diagonal", 0) == 0 else None,)


def _windows(given: Given) -> Shape | None:
    """`Tensor.unfold`: a dimension of windows, and their length at the end; `F.unfold`: blocks as columns."""
    shape = given.shape("self", "input")
    if shape is None:
        return None
    if "dimension" not in given.arguments:
        return (None,) * (len(shape) - 1)
    axis = given.axis("dimension", len(shape))
    windows = (None,) * len(shape) if axis is None else resized(shape, axis, None)
    return (*windows, given.number("size"))


def _flattened(given: Given) -> Shape | None:
    """`flatten`: torch refuses a first dimension that the tensor doesn't have, so the rank is known even where the
    tensor's isn't."""
    shape, start, end = given.shape("input", "self"), given.number("start_dim", 0), given.number("end_dim", -1)
    if shape:
        first, last = axis_of(start, len(shape)), axis_of(end, len(shape))
        return None if first is None or last is None else (*shape[:first], None, *shape[last + 1 :])
    return None if start is None or start < 0 or end != -1 else (None,) * (start + 1)


def _unflattened(given: Given) -> Shape | None:
    shape, sizes = given.shape("input", "self"), given.numbers("sizes")
    if shape is None or sizes is None:
        return None
    axis = given.axis("dim", len(shape))
    new = tuple(None if size == -1 else size for size in sizes)
    return None if axis is None else (*shape[:axis], *new, *shape[axis + 1 :])


def _unsqueezed(given: Given) -> Shape | None:
    shape = given.shape("input", "self")
    if shape is None:
        return None
    axis = given.axis("dim", len(shape) + 1)
    return None if axis is None else (*shape[:axis], 1, *shape[axis:])


def _squeezed(given: Given) -> Shape | None:
    shape = given.shape("input", "self")
    if shape is None:
        return None
    if "dim" not in given.arguments:
        return None if None in shape else tuple(size for size in shape if size != 1)
    axis = given.axis("dim", len(shape))
    if axis is None or shape[axis] is None:
        return None
    return without(shape, axis) if shape[axis] == 1 else shape


REARRANGED: Mapping[str, Rule] = {
    "permute": _permuted,
    "transpose": _swapped("dim0", "dim1"),
    "swapaxes": _swapped("axis0", "axis1"),
    "swapdims": _swapped("dim0", "dim1"),
    "movedim": _moved,
    "moveaxis": _moved,
    "expand": _expanded,
    "broadcast_to": _expanded,
    "expand_as": _like("other"),
    "view_as": _like("other"),
    "reshape_as": _like("other"),
    "repeat": _repeated,
    "repeat_interleave": _interleaved,
    "select": _selected,
    "unbind": _selected,
    "chunk": _resized(_of_even_parts),
    "split": _resized(_of_full_parts),
    "tensor_split": _resized(lambda given, size: None),
    "narrow": _resized(lambda given, size: given.number("length"), None),
    "topk": _resized(lambda given, size: given.number("k"), -1),
    "index_select": _resized(_of_indices, None),
    "gather": _like("index"),
    "diagonal": _diagonal,
    "diag": _diag,
    "unfold": _windows,
    "flatten": _flattened,
    "unflatten": _unflattened,
    "unsqueeze": _unsqueezed,
    "squeeze": _squeezed,
    "diff": _resized(lambda given, size: None, -1),
}
