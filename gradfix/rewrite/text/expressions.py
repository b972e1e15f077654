"""Questions about expressions of `ast`: what they mention, what they call, whether they may be evaluated twice."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradfix import torch_ops
from gradfix.analysis.facts import Spelling
from gradfix.analysis.text.builtin_names import builtin
from gradfix.source import Source

_PACKAGES = frozenset({"torch", "torch.nn.functional", "torch.linalg", "torch.special", "torch.fft", "math"})
_RANDOM = frozenset(
    {"bernoulli", "dropout", "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like"}
    | {"alpha_dropout", "feature_alpha_dropout", "rrelu", "randn", "randn_like", "randperm", "gumbel_softmax"}
)
_HARMLESS_BUILTINS = frozenset({"abs", "float", "int", "bool", "len", "range", "slice", "max", "min", "round", "tuple"})
_SUSPENDS = (ast.Await, ast.Yield, ast.YieldFrom)


def same(a: ast.expr, b: ast.expr) -> bool:
    """Whether two expressions are spelled alike, whatever they are used for (read, assigned)."""
    return shape(a) == shape(b)


def mentions(expression: ast.AST, name: ast.expr) -> bool:
    """Whether `name` (a name, attribute or subscript) stands somewhere in `expression`."""
    wanted = shape(name)
    return any(shape(node) == wanted for node in ast.walk(expression) if type(node) is type(name))


def is_term(place: ast.expr, value: ast.expr) -> bool:
    """Whether each mention of `place` in `value`, or part of it, is a term of a sum or a multiple by a number.

    Neither saves it for backward, nor is the result a view of it.
    """
    return _are_terms(value, place, inside=False)


def _are_terms(node: ast.AST, place: ast.expr, *, inside: bool) -> bool:
    if type(node) is type(place) and shape(node) == shape(place):
        return inside
    if isinstance(node, ast.Subscript) and inside:
        return _are_terms(node.value, place, inside=True) and not mentions(node.slice, place)
    keeps_nothing = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    if isinstance(node, ast.BinOp):
        scaled = is_literal_number(node.right) and isinstance(node.op, (ast.Mult, ast.Div))
        scaled = scaled or (is_literal_number(node.left) and isinstance(node.op, ast.Mult))
        keeps_nothing = scaled or isinstance(node.op, (ast.Add, ast.Sub))
    return all(_are_terms(child, place, inside=keeps_nothing) for child in ast.iter_child_nodes(node))


def is_place(expression: ast.expr) -> bool:
    """A name, or attributes and constant or named keys of one: can be assigned, and evaluated twice with no effect."""
    if isinstance(expression, ast.Name):
        return True
    if isinstance(expression, ast.Attribute):
        return is_place(expression.value)
    if isinstance(expression, ast.Subscript):
        return is_place(expression.value) and _is_key(expression.slice)
    return False


def is_container_item(expression: ast.expr) -> bool:
    """`d["h"]`: an item under a string, which no tensor has."""
    if not isinstance(expression, ast.Subscript):
        return False
    key = expression.slice
    return isinstance(key, ast.Constant) and isinstance(key.value, str)


def is_literal_number(expression: ast.expr | None) -> bool:
    """A number written out, with a sign or without."""
    if isinstance(expression, ast.UnaryOp) and isinstance(expression.op, (ast.USub, ast.UAdd)):
        expression = expression.operand
    return isinstance(expression, ast.Constant) and type(expression.value) in (int, float)


def are_places(value: ast.expr) -> bool:
    """Whether the values are read where they stand, `y[1], y[0].clone()`: backward needs nothing for taking them."""
    parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else [value]
    return all(_is_plain_place(_copied(part)) for part in parts)


def _copied(node: ast.expr) -> ast.expr:
    """`y[0]` of `y[0].clone()`."""
    copied = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "clone"
    return node.func.value if copied and not (node.args or node.keywords) else node  # type: ignore[attr-defined]


def _is_plain_place(node: ast.expr) -> bool:
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        if isinstance(node, ast.Subscript) and any(
            isinstance(n, (ast.Call, ast.NamedExpr)) for n in ast.walk(node.slice)
        ):
            return False
        node = node.value
    return isinstance(node, (ast.Name, ast.Constant))


def is_effectless(expression: ast.AST, spelling: Spelling) -> bool:
    """Whether evaluating it twice, or a little earlier or later, makes no difference."""
    for node in ast.walk(expression):
        if isinstance(node, (ast.NamedExpr, ast.Lambda, *_SUSPENDS)):
            return False
        if isinstance(node, ast.Call) and not is_torch_call(node, spelling):
            return False
    return True


def is_torch_call(call: ast.Call, spelling: Spelling) -> bool:
    """A call of a function of torch or of a method tensors have; neither runs code of the user nor writes."""
    if isinstance(call.func, ast.Name):
        return any(call.func.id == local for local, _ in spelling.names) or builtin(call.func) in _HARMLESS_BUILTINS
    if not isinstance(call.func, ast.Attribute) or call.func.attr.endswith("_"):
        return False
    root = ast.unparse(call.func.value) if is_place(call.func.value) else None
    if root is not None and root in _packages(spelling):
        return call.func.attr not in _RANDOM
    if root in ("self", "cls") or call.func.attr in _RANDOM:  # `self.norm(x)` is a module, not `Tensor.norm`
        return False
    return torch_ops.method(call.func.attr) is not None


def is_random_call(call: ast.Call, spelling: Spelling) -> bool:
    """A call of a function of torch that draws numbers: evaluated once, in its place, it writes no argument."""
    if not isinstance(call.func, ast.Attribute) or not is_place(call.func.value):
        return False
    return ast.unparse(call.func.value) in _packages(spelling) and call.func.attr in _RANDOM


def subexpressions_before(statement: ast.stmt, call: ast.AST) -> Iterator[ast.expr]:
    """Everything of `statement` that Python has evaluated, at least in part, when it starts `call`."""
    for node in ast.walk(statement):
        if (
            isinstance(node, ast.expr)
            and not _encloses(node, call)
            and not _encloses(call, node)
            and _starts_before(node, call)
        ):
            yield node


def enclosing(statement: ast.AST, inner: ast.AST) -> tuple[ast.AST, ...]:
    """The nodes of `statement` around `inner`, outermost first, `inner` excluded."""
    path: list[ast.AST] = []
    current = statement
    while current is not inner:
        path.append(current)
        child = next((c for c in ast.iter_child_nodes(current) if c is inner or _encloses(c, inner)), None)
        if child is None:
            return ()
        current = child
    return tuple(path)


def short(source: Source, node: ast.AST, limit: int = 48) -> str:
    """The text of `node` on one line, cut at `limit` characters."""
    text = " ".join(source.span_of(node).text(source.text).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _encloses(outer: ast.AST, inner: ast.AST) -> bool:
    return any(node is inner for node in ast.walk(outer))


def _starts_before(node: ast.expr, call: ast.AST) -> bool:
    return (node.lineno, node.col_offset) < (call.lineno, call.col_offset)  # type: ignore[attr-defined]  # calls have


def shape(node: ast.AST) -> str:
    """The same for what is spelled alike, whether it is read or assigned."""
    return ast.dump(node).replace("ctx=Store()", "ctx=Load()").replace("ctx=Del()", "ctx=Load()")


def _is_key(key: ast.expr) -> bool:
    if isinstance(key, ast.UnaryOp):
        return isinstance(key.operand, ast.Constant)
    return isinstance(key, (ast.Constant, ast.Name)) or (isinstance(key, ast.Attribute) and is_place(key))


def _packages(spelling: Spelling) -> set[str]:
    return {name for name in (spelling.torch, spelling.functional) if name} | _PACKAGES
