"""Values that may be computed whether or not their branch is taken, and what keeps their gradients clean.

In the branch not taken the value is computed too, and its gradient is zero times the derivative there: NaN where that
is infinite (sqrt at 0), and where an operand is. Sums, differences and multiples by a number have no such place. For
everything else every tracked tensor that goes in is replaced by 1 where the branch isn't taken ("double where"): its
gradient is then selected, not multiplied, and stays zero.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from gradfix.rewrite.text.expressions import is_literal_number, is_place

_HARMLESS = frozenset(  # elementwise and defined, if not finite, everywhere; or sums of such
    {"abs", "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "square", "pow", "sin", "cos", "tan"}
    | {"sinh", "cosh", "tanh", "sigmoid", "relu", "neg", "reciprocal", "sum", "mean", "clamp", "acos", "asin", "atan"}
    | {"softplus", "erf"}
)


@dataclass(frozen=True, slots=True)
class Names:
    """What the names around a branch are known to hold."""

    tracked: frozenset[str]  # tensors that gradients may flow to
    tensors: frozenset[str]  # those and other tensors


def inputs(value: ast.expr, known: Names, test: ast.expr) -> tuple[ast.expr, ...] | None:
    """The tensors to guard in `value`, none where it is linear; None when it mustn't be computed unasked.

    What may be a tensor or a number can't be guarded: a number would take on a tensor's dtype.
    """
    if not _may_be_computed(value, known, test):
        return None
    if is_linear(value):
        return ()
    found: dict[str, ast.expr] = {}
    shown = {ast.dump(operand) for operand in shown_tensors(test)}
    for leaf in _leaves(value):
        shape = ast.dump(leaf)
        if _root(leaf) in known.tracked or shape in shown:
            found.setdefault(shape, leaf)
        elif not is_literal_number(leaf):
            return None
    return tuple(found.values())


def shown_tensors(test: ast.expr) -> Iterator[ast.expr]:
    """Operands that must be tensors for `test` to be one: those compared, or of which the item is, with a number."""
    for node in ast.walk(test):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right = node.left, node.comparators[0]
            if is_literal_number(right) or is_literal_number(left):
                operand = left if is_literal_number(right) else right
                operand = item_of(operand) or operand
                if isinstance(operand, (ast.Name, ast.Subscript)):
                    yield operand


def item_of(node: ast.AST) -> ast.expr | None:
    """`x[0]` of `x[0].item()`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "item":
        return node.func.value
    return None


def is_linear(value: ast.expr) -> bool:
    """Made by adding, subtracting and scaling by numbers: the gradient is a finite constant."""
    if isinstance(value, ast.BinOp):
        if isinstance(value.op, (ast.Add, ast.Sub)):
            return is_linear(value.left) and is_linear(value.right)
        if isinstance(value.op, ast.Mult):
            return _scales(value.left, value.right) or _scales(value.right, value.left)
        return isinstance(value.op, ast.Div) and _scales(value.left, value.right)
    if isinstance(value, ast.UnaryOp):
        return isinstance(value.op, ast.USub) and is_linear(value.operand)
    return _is_leaf(value)


def _scales(value: ast.expr, by: ast.expr) -> bool:
    return is_literal_number(by) and ast.literal_eval(by) != 0 and is_linear(value)


def _may_be_computed(value: ast.expr, known: Names, test: ast.expr) -> bool:
    """Made of operands that are there in any case, by operations of tensors, which never raise because of the data."""
    tested = {ast.dump(node) for node in ast.walk(test)}
    for node in ast.walk(value):
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Pow)) and not _mentions(node, known):
            return False  # of Python numbers: may divide by zero
    return all(ast.dump(leaf) in tested or _is_there(leaf, known) for leaf in _leaves(value))


def _mentions(node: ast.AST, known: Names) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id in known.tensors for inner in ast.walk(node))


def _leaves(value: ast.expr) -> Iterator[ast.expr]:
    """The operands that operations start from; anything unknown is its own leaf."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)):
        yield from _leaves(value.left)
        yield from _leaves(value.right)
    elif isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        yield from _leaves(value.operand)
    elif isinstance(value, ast.Call) and (operands := _operands(value)) is not None:
        for operand in operands:
            yield from _leaves(operand)
    else:
        yield value


def _operands(call: ast.Call) -> list[ast.expr] | None:
    """The tensors of a harmless call: of `x.sqrt()` and `torch.sqrt(x)`, `x`; None for every other call."""
    func = call.func
    if call.keywords or not isinstance(func, ast.Attribute) or func.attr not in _HARMLESS:
        return None
    if isinstance(func.value, ast.Name) and func.value.id in ("torch", "th", "F"):
        return list(call.args)
    return [func.value, *call.args]


def _is_leaf(node: ast.expr) -> bool:
    return is_literal_number(node) or isinstance(node, ast.Subscript) or is_place(node)


def _is_there(node: ast.expr, known: Names) -> bool:
    """A number, a name, an attribute, or an item of a tensor at a place that the branch didn't have to make sure of.

    `x[i + 1]` might not exist where the branch isn't taken, nor might an item of a list or dict.
    """
    if is_literal_number(node):
        return True
    if not isinstance(node, ast.Subscript):
        return is_place(node)
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    plain = all(isinstance(item, (ast.Name, ast.Slice)) or is_literal_number(item) for item in items)
    return plain and isinstance(node.value, ast.Name) and node.value.id in known.tensors


def _root(node: ast.expr) -> str | None:
    """The name a leaf starts from; None for attributes, whose tensors the facts don't name."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
