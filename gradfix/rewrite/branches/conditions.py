"""Tests of an `if` as bool tensors, decided and spelled over `ast`.

`if` asks a tensor with one element for its truth; `torch.where` wants a bool tensor. Comparisons of tensors are that
already; `x.item() > 0.1` compares in double, so its tensor form is `x.double() > 0.1`, unless the number is exact in
every floating dtype. What may hold a Python bool can't be inverted or joined with `~ & |`.
"""

from __future__ import annotations

import ast

from gradfix.analysis.facts import ConditionalFill, ConditionKind, Spelling
from gradfix.rewrite.branches.guarded import item_of
from gradfix.rewrite.text.expressions import is_effectless, is_literal_number
from gradfix.source import Source

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_REDUCTIONS = frozenset({"sum", "mean", "max", "min", "norm", "any", "all", "prod", "std", "var", "item", "numel"})
_LOOSE = (ast.IfExp, ast.Lambda, ast.NamedExpr, ast.BoolOp, ast.Compare, ast.Await, ast.Yield)  # than comparisons
_BOOLEAN = frozenset({"any", "all", "isnan", "isinf", "isfinite"})


def as_mask(source: Source, fill: ConditionalFill, test: ast.expr, spelling: Spelling) -> str | None:
    """A test of `fill` as the text of a bool tensor; None when it isn't certain to be one, or has an effect."""
    if fill.condition is ConditionKind.PYTHON or not is_effectless(test, spelling):
        return None
    if test is not fill.branch.test and not _is_of_data(test, fill):
        return None
    if fill.condition is ConditionKind.ITEM and all(item_of(node) is None for node in ast.walk(test)):
        return None  # the number was taken before, under a name
    return _mask(source, test, fill)


def has_one_element(fill: ConditionalFill, test: ast.expr) -> bool:
    """Proven to have no dimensions, so that `torch.where` gives its operands none."""
    if any(test is flat for flat in fill.flat_tests):
        return True
    if isinstance(test, ast.Compare):
        return all(_is_scalar(fill, operand) for operand in (test.left, *test.comparators))
    if isinstance(test, ast.BoolOp):
        return all(has_one_element(fill, value) for value in test.values)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return has_one_element(fill, test.operand)
    return _is_scalar(fill, test)


def _is_scalar(fill: ConditionalFill, operand: ast.expr) -> bool:
    if is_literal_number(operand):
        return True
    if isinstance(operand, ast.BinOp):
        return _is_scalar(fill, operand.left) and _is_scalar(fill, operand.right)
    if isinstance(operand, ast.UnaryOp):
        return _is_scalar(fill, operand.operand)
    if isinstance(operand, ast.Call) and isinstance(operand.func, ast.Attribute) and operand.func.attr in _REDUCTIONS:
        return not operand.args and not operand.keywords
    text = ast.dump(operand)
    return any(
        write.value is not None
        and ast.dump(write.value) == text
        and write.written.tensor is not None
        and write.written.tensor.rank == 0
        for write in fill.writes
    )


def _mask(source: Source, test: ast.expr, fill: ConditionalFill) -> str | None:
    if isinstance(test, ast.BoolOp):
        parts = [_mask(source, value, fill) if _is_of_data(value, fill) else None for value in test.values]
        joined = [f"({part})" for part in parts if part is not None]
        sign = " & " if isinstance(test.op, ast.And) else " | "
        return sign.join(joined) if len(joined) == len(parts) else None
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _mask(source, test.operand, fill) if _is_of_data(test.operand, fill) else None
        return None if inner is None else f"~({inner})"
    if isinstance(test, ast.Compare):
        return _comparison(source, test)
    return _truth(source, test)


def _comparison(source: Source, test: ast.Compare) -> str | None:
    operands = [test.left, *test.comparators]
    if not all(type(operator) in _COMPARISONS for operator in test.ops):
        return None
    texts = [_operand(source, operand, operands) for operand in operands]
    known = [text for text in texts if text is not None]
    if len(known) < len(texts):
        return None
    pairs = [
        f"{left} {_COMPARISONS[type(operator)]} {right}"
        for left, operator, right in zip(known, test.ops, known[1:], strict=False)
    ]
    return pairs[0] if len(pairs) == 1 else " & ".join(f"({pair})" for pair in pairs)


def _operand(source: Source, operand: ast.expr, beside: list[ast.expr]) -> str | None:
    """The operand of a comparison; a number taken from a tensor becomes the tensor, in double where that matters."""
    tensor = item_of(operand)
    if tensor is None:
        return None if _takes_number(operand) else _text(source, operand)
    others = [other for other in beside if other is not operand]
    if all(_is_exact(other) for other in others):
        return _text(source, tensor)
    if all(is_literal_number(other) or item_of(other) is not None for other in others):
        return f"{_atom(source, tensor)}.double()"
    return None


def _truth(source: Source, test: ast.expr) -> str | None:
    tensor = item_of(test) or test
    if _takes_number(tensor):
        return None
    if isinstance(tensor, ast.Call) and isinstance(tensor.func, ast.Attribute) and tensor.func.attr in _BOOLEAN:
        return _text(source, tensor)
    return f"{_text(source, tensor)} != 0"


def _takes_number(node: ast.AST) -> bool:
    """Whether a Python number is taken from a tensor somewhere inside."""
    names = ("item", "tolist", "numpy")
    return any(
        isinstance(inner, ast.Call)
        and (
            (isinstance(inner.func, ast.Attribute) and inner.func.attr in names)
            or (isinstance(inner.func, ast.Name) and inner.func.id in ("float", "int", "bool"))
        )
        for inner in ast.walk(node)
    )


def _is_exact(node: ast.expr) -> bool:
    """A number that every floating dtype holds exactly, so that comparing with it in any of them is the same."""
    if not is_literal_number(node):
        return False
    value = ast.literal_eval(node)
    return abs(value) <= 128 and float(value * 2).is_integer()


def _is_of_data(node: ast.expr, fill: ConditionalFill) -> bool:
    """Whether a tracked tensor stands in `node`, so that it is a tensor, not a Python bool."""
    return any(isinstance(inner, ast.Name) and inner.id in fill.sources for inner in ast.walk(node))


def _text(source: Source, node: ast.expr) -> str:
    text = source.span_of(node).text(source.text)
    return f"({text})" if isinstance(node, _LOOSE) or "\n" in text else text


def _atom(source: Source, node: ast.expr) -> str:
    text = source.span_of(node).text(source.text)
    return text if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call)) else f"({text})"
