"""The way back from a view to its base: for each operation that makes a view, what puts a new value of it in place.

Measured on torch 2.13: the base that comes out has the values, dtype, shape and strides which a write through the view
would have left, and the gradient goes to both.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from gradfix.analysis.facts import Spelling
from gradfix.rewrite.grounds.dtypes import speaks_of_complex
from gradfix.rewrite.text import names
from gradfix.rewrite.text.pieces import text_of
from gradfix.source import Source

Arguments = Sequence[ast.expr | ast.keyword]

_SELF_INVERSE = frozenset({"t", "transpose", "swapaxes", "swapdims"})
_RESHAPING = frozenset({"view", "reshape", "flatten", "ravel", "unflatten", "squeeze", "view_as", "reshape_as"})
_TRANSPOSED = frozenset({"T", "mT"})
_BOUNDS = ("start", "end", "step")
_ATOMS = (ast.Name, ast.Attribute, ast.Subscript, ast.Call)


def put_back(source: Source, view: ast.expr, base: ast.expr, new: str, spelling: Spelling) -> str | None:
    """The value of `base` once `view`, which is spelled from it, has the value `new`; None where no line says so."""
    node = view
    while node is not base:
        inner = viewed(node, spelling)
        made = None if inner is None else _one_step(source, node, inner, new, spelling)
        if inner is None or made is None:
            return None
        node, new = inner, made
    return new


def viewed(node: ast.expr, spelling: Spelling) -> ast.expr | None:
    """What `node` is a view of: `y` of `y[0]`, `y.t()`, `y.T`, `torch.diagonal(y)`."""
    if isinstance(node, (ast.Subscript, ast.Attribute)):
        return node.value
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    if _is_function(node, spelling):
        return node.args[0] if node.args else None
    return node.func.value


def restricts(node: ast.expr) -> bool:
    """Whether `node` shows a part of what it is a view of, under one index along one dimension, or a diagonal."""
    if isinstance(node, ast.Subscript):
        return _axis(node) is not None
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr
    return called in ("select", "diagonal")


def _is_function(call: ast.Call, spelling: Spelling) -> bool:
    return isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in (spelling.torch, "torch")


def _one_step(source: Source, node: ast.expr, inner: ast.expr, new: str, spelling: Spelling) -> str | None:
    if isinstance(node, ast.Subscript):
        return _indexed(source, node, new, spelling)
    if isinstance(node, ast.Attribute):
        return f"{_receiver(new)}.{node.attr}" if node.attr in _TRANSPOSED else None
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Attribute)
    given: Arguments = [*node.args, *node.keywords]
    arguments = given[1:] if _is_function(node, spelling) else given
    inverse = _INVERSES.get(node.func.attr)
    if node.func.attr in _SELF_INVERSE:
        return f"{_receiver(new)}.{node.func.attr}({_joined(source, arguments)})"
    if node.func.attr in _RESHAPING and not any(_may_be_dtype(argument) for argument in arguments):
        return f"{_receiver(new)}.reshape({_receiver(text_of(source, inner))}.shape)"
    return None if inverse is None else inverse(source, text_of(source, inner), arguments, new, spelling)


def _indexed(source: Source, node: ast.Subscript, new: str, spelling: Spelling) -> str | None:
    axis = _axis(node)
    base = text_of(source, node.value)
    if axis is None:
        return _unrestricted(node, new)
    dimension, item = axis
    if not isinstance(item, ast.Slice):
        return _scatter("select_scatter", spelling, base, new, str(dimension), text_of(source, item))
    bounds = [None if bound is None else text_of(source, bound) for bound in (item.lower, item.upper, item.step)]
    return _scatter("slice_scatter", spelling, base, new, *slice_arguments(dimension, bounds))


def slice_arguments(dimension: int, bounds: Sequence[str | None]) -> list[str]:
    """What follows the value in `torch.slice_scatter`: start, end and step by name behind one that isn't given."""
    gap = bounds.index(None) if None in bounds else len(bounds)
    ordered = [bound for bound in bounds[:gap] if bound is not None]
    named = [f"{name}={bound}" for name, bound in zip(_BOUNDS[gap:], bounds[gap:], strict=True) if bound is not None]
    first = [] if dimension == 0 and not ordered else [str(dimension)]
    return [*first, *ordered, *named]


def _axis(node: ast.Subscript) -> tuple[int, ast.expr] | None:
    """The one dimension that an index restricts, with the item that does; counted from the end after an ellipsis."""
    items = items_of(node)
    found = [(i, item) for i, item in enumerate(items) if not is_whole(item)]
    ellipsis = [i for i, item in enumerate(items) if isinstance(item, ast.Constant) and item.value is ...]
    if len(found) != 1 or len(ellipsis) > 1 or _is_none(found[0][1]):
        return None
    position, item = found[0]
    return position - len(items) if ellipsis and position > ellipsis[0] else position, item


def _unrestricted(node: ast.Subscript, new: str) -> str | None:
    """`y[:]`, or `y[:, None]` with its one new dimension."""
    items = items_of(node)
    added = [i for i, item in enumerate(items) if _is_none(item)]
    if not added and all(is_whole(item) for item in items):
        return new
    if len(added) != 1 or not all(is_whole(item) for i, item in enumerate(items) if i not in added):
        return None
    behind = any(isinstance(item, ast.Constant) and item.value is ... for item in items[: added[0]])
    return f"{_receiver(new)}.squeeze({added[0] - len(items) if behind else added[0]})"


def items_of(node: ast.Subscript) -> list[ast.expr]:
    """The items of an index."""
    return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]


def is_whole(item: ast.expr) -> bool:
    """Whether an item of an index restricts nothing: `:`, `...`."""
    if isinstance(item, ast.Slice):
        return item.lower is None and item.upper is None and item.step is None
    return isinstance(item, ast.Constant) and item.value is ...


def _is_none(item: ast.expr) -> bool:
    return isinstance(item, ast.Constant) and item.value is None


def _may_be_dtype(argument: ast.expr | ast.keyword) -> bool:
    """`y.view(torch.int32)` shows other numbers."""
    value = argument.value if isinstance(argument, ast.keyword) else argument
    named = isinstance(argument, ast.keyword) and argument.arg == "dtype"
    return named or (isinstance(value, ast.Attribute) and value.attr not in ("shape", "ndim") and not _is_own(value))


def _is_own(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def _diagonal(source: Source, base: str, arguments: Arguments, new: str, spelling: Spelling) -> str | None:
    return _scatter("diagonal_scatter", spelling, base, new, *(text_of(source, a) for a in arguments))


def _select(source: Source, base: str, arguments: Arguments, new: str, spelling: Spelling) -> str | None:
    return _scatter("select_scatter", spelling, base, new, *(text_of(source, a) for a in arguments))


def _narrow(source: Source, base: str, arguments: Arguments, new: str, spelling: Spelling) -> str | None:
    numbers = _numbers(arguments)
    if numbers is None or len(numbers) != 3 or numbers[1] < 0:
        return None
    dimension, start, length = numbers
    return _scatter("slice_scatter", spelling, base, new, str(dimension), str(start), str(start + length))


def _permute(source: Source, base: str, arguments: Arguments, new: str, spelling: Spelling) -> str | None:
    first = arguments[0] if len(arguments) == 1 else None
    order = _numbers(first.elts if isinstance(first, (ast.Tuple, ast.List)) else arguments)
    if order is None:
        return None
    order = [axis % len(order) for axis in order]
    if sorted(order) != list(range(len(order))):
        return None
    inverse = ", ".join(str(order.index(axis)) for axis in range(len(order)))
    return f"{_receiver(new)}.permute({inverse})"


def _movedim(source: Source, base: str, arguments: Arguments, new: str, spelling: Spelling) -> str | None:
    if len(arguments) != 2 or any(isinstance(argument, ast.keyword) for argument in arguments):
        return None
    return f"{_receiver(new)}.movedim({text_of(source, arguments[1])}, {text_of(source, arguments[0])})"


def _unsqueeze(source: Source, base: str, arguments: Arguments, new: str, spelling: Spelling) -> str:
    return f"{_receiver(new)}.squeeze({_joined(source, arguments)})"


def _numbers(arguments: Arguments) -> list[int] | None:
    """Positional arguments as ints written out; None where one isn't."""
    found = []
    for argument in arguments:
        try:
            number = None if isinstance(argument, ast.keyword) else ast.literal_eval(argument)
        except ValueError:
            return None
        if type(number) is not int:
            return None
        found.append(number)
    return found


_Inverse = Callable[[Source, str, Arguments, str, Spelling], str | None]
_INVERSES: dict[str, _Inverse] = {
    "diagonal": _diagonal,
    "select": _select,
    "narrow": _narrow,
    "permute": _permute,
    "movedim": _movedim,
    "moveaxis": _movedim,
    "unsqueeze": _unsqueeze,
}


def _scatter(function: str, spelling: Spelling, base: str, new: str, *arguments: str) -> str | None:
    if speaks_of_complex(spelling.text) and function != "diagonal_scatter":
        return None
    return f"{names.torch_name(spelling, function)}({', '.join((base, new, *arguments))})"


def _joined(source: Source, arguments: Arguments) -> str:
    return ", ".join(text_of(source, argument) for argument in arguments)


def _receiver(text: str) -> str:
    """`text` fit to stand before a dot."""
    return text if isinstance(ast.parse(text, mode="eval").body, _ATOMS) else f"({text})"
