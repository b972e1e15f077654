"""Indices: what each item is, and what `y[index]` is, a view or a copy, of which shape."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence

from gradfix.analysis.domain.values import UNKNOWN, Bounds, Choice, Const, Container, Number, Tensor, Value
from gradfix.analysis.facts import IndexItem, IndexKind

Shape = tuple[int | None, ...]

_BASIC = frozenset({IndexKind.INT, IndexKind.SLICE, IndexKind.ELLIPSIS, IndexKind.NONE})
_MASK = re.compile(r"(^|_)masks?$")
_ADVANCED = frozenset({IndexKind.TENSOR, IndexKind.MASK})
_INTEGERS = frozenset({"int64", "int32", "int16", "int8"})

Evaluate = Callable[[ast.expr], Value]
Parts = Callable[[Container], Sequence[Value]]


def index_items(index: ast.expr, evaluate: Evaluate, parts: Parts) -> tuple[IndexItem, ...]:
    """The items of an index expression; a tuple that isn't spelled out is one, and may be many: `parts` has them."""
    if isinstance(index, ast.Tuple):
        return tuple(_item(part, _evaluated(part, evaluate)) for part in index.elts)
    value = _evaluated(index, evaluate)
    return (_several(index, value, parts) or _item(index, value),)


def _evaluated(node: ast.expr, evaluate: Evaluate) -> Value:
    if not isinstance(node, ast.Slice):
        return evaluate(node)
    for part in (node.lower, node.upper, node.step):
        if part is not None:
            evaluate(part)
    return UNKNOWN


def _several(node: ast.expr, index: Value, parts: Parts) -> IndexItem | None:
    """A tuple that is more than one index; None for anything else, and where one of its parts is an advanced one."""
    if isinstance(index, Const) and isinstance(index.value, tuple):
        held: Sequence[Value] = [Const(part) for part in index.value]
    elif isinstance(index, Container) and index.kind == "tuple":
        held = parts(index)
    else:
        return None
    basic = is_basic(tuple(_item(node, part) for part in held))
    if basic is False or any(isinstance(part, Tensor) and part.shape != () for part in held):
        return None
    return IndexItem(IndexKind.UNKNOWN, node, takes_view=basic is True)


def _item(node: ast.expr, value: Value) -> IndexItem:
    if isinstance(node, ast.Slice):
        return IndexItem(IndexKind.SLICE, node)
    if isinstance(value, Bounds):
        return IndexItem(IndexKind.UNKNOWN, node, takes_view=True)
    kind, constant, rank = _kind(value)
    if isinstance(node, ast.List) and all(_constant(part) is not None for part in node.elts):
        rank = 1
    proven = kind is IndexKind.TENSOR and isinstance(value, Tensor) and value.known
    ranked = bool(rank) or (kind is IndexKind.TENSOR and (not isinstance(value, Tensor) or value.ranked))
    transposed = isinstance(value, Tensor) and value.transposed
    return IndexItem(kind, node, constant, rank, ranked, proven, transposed=transposed)


def _kind(value: Value) -> tuple[IndexKind, int | None, int | None]:
    if isinstance(value, Const):
        constant = value.value
        if constant is None:
            return IndexKind.NONE, None, None
        if constant is Ellipsis:
            return IndexKind.ELLIPSIS, None, None
        if isinstance(constant, bool):
            return IndexKind.BOOL, None, None
        if isinstance(constant, int):
            return IndexKind.INT, constant, None
        return (
            (IndexKind.TENSOR, None, _depth(constant))
            if isinstance(constant, tuple)
            else (IndexKind.UNKNOWN, None, None)
        )
    if isinstance(value, Number):
        known = {"int": IndexKind.INT, "bool": IndexKind.BOOL}
        return known.get(value.type or "", IndexKind.UNKNOWN), None, None
    if isinstance(value, Tensor):
        rank = None if value.shape is None else len(value.shape)
        if value.dtype == "bool":
            return IndexKind.MASK, None, rank
        if value.dtype in _INTEGERS:
            return IndexKind.TENSOR, None, rank
        return IndexKind.UNKNOWN, None, rank
    if isinstance(value, Container):
        return IndexKind.TENSOR, None, None  # of numbers an index, of tensors or lists one index each
    if isinstance(value, Choice):
        kinds = {_kind(option)[0] for option in value.options}
        return (kinds.pop() if len(kinds) == 1 else IndexKind.UNKNOWN), None, None
    return IndexKind.UNKNOWN, None, None


def _depth(constant: tuple[object, ...]) -> int | None:
    """1 for numbers; lists in a list are an index each, which is as good as unknown."""
    return None if any(isinstance(item, tuple) for item in constant) else 1


def is_basic(items: tuple[IndexItem, ...]) -> bool | None:
    """True for a view, False for a copy (advanced indexing), None when the analysis can't tell."""
    if all(item.kind in _BASIC or item.takes_view for item in items):
        return True
    if any(item.kind in (IndexKind.MASK, IndexKind.BOOL) for item in items):
        return False
    if any(item.kind is IndexKind.TENSOR and item.ranked for item in items):
        return False
    return None


def calls_itself_mask(items: tuple[IndexItem, ...]) -> bool:
    """Whether an item that nothing is known of is inverted, or has the name of a mask: hardly a number or a slice."""
    return any(item.kind is IndexKind.UNKNOWN and _is_mask_by_name(item.node) for item in items)


def _is_mask_by_name(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Invert)
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return _MASK.search(name) is not None


def is_key(items: tuple[IndexItem, ...]) -> bool:
    """True when the index may as well be the key of a dict or the position in a list."""
    return len(items) == 1 and items[0].kind in (IndexKind.INT, IndexKind.UNKNOWN)


def indexed_shape(shape: Shape | None, items: tuple[IndexItem, ...]) -> Shape | None:
    """Shape of `y[items]`; None when unknown.

    The dimensions of a tensor, or one for a mask, stand where those were that it indexes. Several of them, which
    broadcast and may move to the front, aren't told. An int beside a tensor is taken first, unlike in NumPy.
    """
    if shape is None or is_basic(items) is None or sum(item.kind in _ADVANCED for item in items) > 1:
        return None
    taken = [_taken(item) for item in items]
    used = sum(count for count in taken if count is not None)
    if None in taken or used > len(shape):
        return None
    result: list[int | None] = []
    axis = 0
    for item, count in zip(items, taken, strict=True):
        if item.kind is IndexKind.NONE:
            result.append(1)
        elif item.kind is IndexKind.ELLIPSIS:
            count = len(shape) - used
            result.extend(shape[axis : axis + count])
        elif item.kind is IndexKind.SLICE:
            result.append(_slice_length(item.node, shape[axis]))
        elif item.kind is IndexKind.MASK:
            result.append(None)
        elif item.kind is IndexKind.TENSOR:
            result.extend([None] * (item.rank or 0))
        axis += count or 0
    return (*result, *shape[axis:])


def _taken(item: IndexItem) -> int | None:
    """How many dimensions an item indexes; None when that can't be told."""
    if item.kind is IndexKind.MASK:
        return item.rank or None
    if item.kind is IndexKind.TENSOR:
        return None if item.rank is None else 1
    if item.kind in (IndexKind.INT, IndexKind.SLICE):
        return 1
    return 0 if item.kind in (IndexKind.NONE, IndexKind.ELLIPSIS) else None


def constant_bounds(node: ast.Slice) -> slice | None:
    """A slice of constants as the slice it is."""
    parts = (node.lower, node.upper, node.step)
    bounds = [_constant(part) for part in parts]
    if bounds[2] == 0 or any(b is None and part is not None for b, part in zip(bounds, parts, strict=True)):
        return None
    return slice(*bounds)


def _slice_length(node: ast.expr, length: int | None) -> int | None:
    if not isinstance(node, ast.Slice):
        return None
    if node.lower is None and node.upper is None and node.step is None:
        return length
    bounds = [_constant(part) for part in (node.lower, node.upper, node.step)]
    if length is None or any(
        b is None and part is not None for b, part in zip(bounds, (node.lower, node.upper, node.step), strict=True)
    ):
        return None
    if bounds[2] is not None and bounds[2] <= 0:
        return None
    return len(range(*slice(*bounds).indices(length)))


def _constant(node: ast.expr | None) -> int | None:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _constant(node.operand)
        return None if inner is None else -inner
    return None


def joined_shape(a: Shape | None, b: Shape | None) -> Shape | None:
    """What holds of a shape that is `a` or `b`."""
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(m if m == n else None for m, n in zip(a, b, strict=True))


def broadcast(shapes: list[Shape | None]) -> Shape | None:
    """Shape of an elementwise operation; None when it can't be told."""
    if any(shape is None for shape in shapes) or not shapes:
        return None
    known = [shape for shape in shapes if shape is not None]
    rank = max(map(len, known))
    result: list[int | None] = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in known if -axis <= len(shape)}
        larger = {size for size in sizes if size != 1}
        if not larger:
            result.append(1)
        else:
            numbers = {size for size in larger if size is not None}
            result.append(numbers.pop() if len(numbers) == 1 else None)
    return tuple(result)
