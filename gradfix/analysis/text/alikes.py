"""Which expressions have the same shape, by how they were made: `x > 0` has that of `x`, and so has `x.exp()`."""

from __future__ import annotations

import ast

from gradfix.analysis.text.scopes import Bindings, Parents

ELEMENTWISE = frozenset(  # of one tensor, or of tensors and numbers; defined, if not finite, everywhere
    "abs acos acosh asin asinh atan atanh ceil clamp clamp_max clamp_min cos cosh erf erfinv exp exp2 expm1 floor "
    "frac lgamma log log10 log1p log2 logit neg nan_to_num pow reciprocal relu round rsqrt sigmoid sign sin sinh sqrt "
    "square tan tanh trunc".split()
)
_KEEPING = ELEMENTWISE | frozenset(
    "clone contiguous detach float double half bfloat16 to isnan isinf isfinite logical_not bool softmax log_softmax "
    "gt lt ge le eq ne cumsum cumprod requires_grad_".split()
)
_LIKE = frozenset("zeros_like ones_like empty_like full_like rand_like randn_like".split())
_FLOATING = frozenset(
    "acos acosh asin asinh atan atanh cos cosh erf erfinv exp exp2 expm1 lgamma log log10 log1p log2 logit reciprocal "
    "rsqrt sigmoid sin sinh softmax log_softmax sqrt tan tanh double float half bfloat16".split()
)
_RESHAPING = frozenset("resize_ resize_as_ squeeze_ unsqueeze_ t_ transpose_ swapaxes_ swapdims_ set_ data".split())
_STEPS = 8
Position = tuple[int, int]  # line and column


def same_shape(parents: Parents, bindings: Bindings, at: ast.stmt, a: ast.expr, b: ast.expr) -> bool:
    """Whether `a` and `b`, evaluated at the statement `at`, are proven to have the same shape."""
    return not set(_roots(parents, bindings, at, a)).isdisjoint(_roots(parents, bindings, at, b))


def covers(parents: Parents, bindings: Bindings, at: ast.stmt, mask: ast.expr, place: ast.expr) -> bool:
    """Whether the shape of `mask` is that of `place`, evaluated at the statement `at`, or larger, which raises there.

    What an operation works on together with others is broadcast to a shape that is at least its own.
    """
    return not set(_roots(parents, bindings, at, mask, larger=True)).isdisjoint(_roots(parents, bindings, at, place))


def is_made_floating(parents: Parents, bindings: Bindings, at: ast.stmt, name: ast.Name) -> bool:
    """Whether what `name` holds at `at` was made by an operation whose results are never integers."""
    bound = binding(parents, bindings, at, name.id)
    statement = None if bound is None else bound[1]
    return isinstance(statement, ast.Assign) and _is_floating(statement.value)


def is_reduced(parents: Parents, bindings: Bindings, at: ast.stmt, name: ast.Name) -> bool:
    """Whether what `name` holds at `at` is a tensor without dimensions: `torch.sum(x)`."""
    bound = binding(parents, bindings, at, name.id)
    value = bound[1].value if bound is not None and isinstance(bound[1], ast.Assign) else None
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return False
    package = ast.unparse(value.func.value) in ("torch", "th")
    return package and value.func.attr in ("sum", "mean", "prod") and len(value.args) == 1 and not value.keywords


def _is_floating(value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return isinstance(value.value, float)
    if isinstance(value, ast.UnaryOp):
        return _is_floating(value.operand)
    if isinstance(value, ast.BinOp):
        if isinstance(value.op, ast.Div):
            return True
        arithmetic = isinstance(value.op, (ast.Add, ast.Sub, ast.Mult))
        return arithmetic and (_is_floating(value.left) or _is_floating(value.right))
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in _FLOATING


def _roots(
    parents: Parents, bindings: Bindings, at: ast.stmt, node: ast.expr, *, larger: bool = False, steps: int = _STEPS
) -> list[tuple[str, Position]]:
    """What has the shape of `node`, or may be smaller where it is `larger`: names, with the place of their binding."""
    found: list[tuple[str, Position]] = []
    here: ast.stmt = at
    for left in reversed(range(steps)):
        base = _base(node)
        if base is None:
            break
        if not isinstance(base, ast.Name):
            one, other = (_roots(parents, bindings, here, side, larger=larger, steps=left) for side in base)
            return found + (one + other if larger else [root for root in one if root in other])
        bound = binding(parents, bindings, here, base.id)
        if bound is None or bindings.is_seen_elsewhere(base.id) or changes_shape(bindings, base.id):
            break
        place, statement = bound
        found.append((base.id, place))
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            break
        if not isinstance(statement.targets[0], ast.Name):
            break
        node, here = statement.value, statement
    return found


def changes_shape(bindings: Bindings, name: str) -> bool:
    """`x.squeeze_()` and its like."""
    return any(ast.unparse(node.value) == name for method in _RESHAPING for node in bindings.attributes.get(method, ()))


_Pair = tuple[ast.expr, ast.expr]  # the operands of an elementwise operation


def _base(node: ast.expr) -> ast.Name | _Pair | None:
    """The name whose shape an expression has, or the two expressions whose common shape it has, if they have one."""
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Invert, ast.USub)):
            node = node.operand
            continue
        if isinstance(node, ast.Call):
            inner = _kept_by(node)
            if inner is None:
                return None
            node = inner
            continue
        sides = _sides(node)
        tensors = [side for side in sides if not _is_number(side)]
        if len(tensors) == 2:
            return tensors[0], tensors[1]
        if len(tensors) != 1:
            return None
        node = tensors[0]
    return node


def _sides(node: ast.expr) -> tuple[ast.expr, ...]:
    """The operands of a comparison or a binary operator that works element by element."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        by_element = not isinstance(node.ops[0], (ast.Is, ast.IsNot, ast.In, ast.NotIn))
        return (node.left, node.comparators[0]) if by_element else ()
    if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.MatMult):
        return node.left, node.right
    return ()


def _kept_by(node: ast.Call) -> ast.expr | None:
    """The operand whose shape the result of a call has."""
    if not isinstance(node.func, ast.Attribute):
        return None
    package = isinstance(node.func.value, ast.Name) and node.func.value.id in ("torch", "th", "F")
    known = _KEEPING | _LIKE if package else _KEEPING
    others = node.args[1:] if package else node.args
    if any(keyword.arg not in ("dim", "dtype") for keyword in node.keywords):
        return None
    if node.func.attr not in known or (package and not node.args) or not all(map(_is_plain, others)):
        return None
    return node.args[0] if package else node.func.value


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _is_plain(node: ast.expr) -> bool:
    """A number, or a dtype: nothing that an operand could be broadcast with."""
    return _is_number(node) or (isinstance(node, ast.Attribute) and ast.unparse(node).startswith(("torch.", "th.")))


def binding(parents: Parents, bindings: Bindings, at: ast.stmt, name: str) -> tuple[Position, ast.stmt | None] | None:
    """Where the value that `name` has at `at` was bound: the place, and the statement (None: a parameter).

    None when it isn't the same on every way.
    """
    stores = bindings.stores.get(name, [])
    around = list(parents.up(at))
    loops = [node for node in around if isinstance(node, (ast.For, ast.While, ast.AsyncFor))]
    before = [store for store in stores if (store.lineno, store.col_offset) < (at.lineno, at.col_offset)]
    before = [store for store in before if not any(parents.of(store) is s for s in [at])]
    last = before[-1] if before else None
    if last is None:
        looped = any(store is inner for loop in loops for inner in ast.walk(loop) for store in stores)
        return None if looped or name not in bindings.parameters else ((0, 0), None)
    statement = parents.of(last)
    if isinstance(statement, (ast.Tuple, ast.List)):
        statement = parents.of(statement)
    if not isinstance(statement, ast.stmt) or not any(statement is other for other in _ahead(parents, at, around)):
        return None
    for loop in loops:  # a later round may meet what is bound behind
        inside = [store for store in stores if any(store is inner for inner in ast.walk(loop))]
        if inside and not any(last is store for store in inside):
            return None
    return (last.lineno, last.col_offset), statement


def _ahead(parents: Parents, at: ast.stmt, around: list[ast.AST]) -> list[ast.stmt]:
    """The statements that have run whenever `at` runs: those before it in its block and in the blocks around."""
    found: list[ast.stmt] = []
    for node in [at, *around]:
        if isinstance(node, ast.stmt):
            block = parents.block(node)
            position = next(i for i, other in enumerate(block) if other is node)
            found += block[:position]
    return found
