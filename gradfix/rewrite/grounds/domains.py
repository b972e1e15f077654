"""Numbers to put where a mask is False: inside the domain of what is computed there, so that nothing isn't finite.

The gradient of what `torch.where` doesn't select is zero times the derivative: NaN where that is infinite. A tensor
replaced by a number there gets its gradient selected, not multiplied; and the number keeps everything else finite.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable

CANDIDATES = (1.0, 0.5, 2.0, 0.25, 4.0, -1.0, -0.5, -2.0)
_LARGE = 1e4  # half precision ends at 6.5e4
_NEAR = 1e-3  # closer than this to the edge of a domain, derivatives are large

_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "acos": math.acos,
    "acosh": math.acosh,
    "asin": math.asin,
    "asinh": math.asinh,
    "atan": math.atan,
    "atanh": math.atanh,
    "cos": math.cos,
    "cosh": math.cosh,
    "erf": math.erf,
    "exp": math.exp,
    "exp2": lambda x: 2.0**x,
    "expm1": math.expm1,
    "lgamma": math.lgamma,
    "log": math.log,
    "log10": math.log10,
    "log1p": math.log1p,
    "log2": math.log2,
    "neg": lambda x: -x,
    "reciprocal": lambda x: 1 / x,
    "relu": lambda x: max(x, 0.0),
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "sin": math.sin,
    "sinh": math.sinh,
    "sqrt": math.sqrt,
    "square": lambda x: x * x,
    "tan": math.tan,
    "tanh": math.tanh,
}


def safe_number(value: ast.expr) -> float:
    """A number for all tensors of `value` at which it and its slope are finite; 1.0 where none is known."""
    return next((number for number in CANDIDATES if _is_safe(value, number)), 1.0)


def _is_safe(value: ast.expr, number: float) -> bool:
    """Whether `value` is finite at `number` and close by."""
    try:
        return all(abs(_evaluate(value, number + step)) < _LARGE for step in (-_NEAR, 0.0, _NEAR))
    except (ArithmeticError, ValueError, TypeError):
        return False


def _evaluate(node: ast.expr, number: float) -> float:
    """`node` with `number` in the place of each tensor. Raises `TypeError` for what isn't known."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, (ast.Name, ast.Subscript)):
        return number
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand, number)
    if isinstance(node, ast.BinOp):
        return _operate(node.op, _evaluate(node.left, number), _evaluate(node.right, number))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        function = _FUNCTIONS.get(node.func.attr)
        package = isinstance(node.func.value, ast.Name) and node.func.value.id in ("torch", "th", "F")
        given = node.args if package else [node.func.value, *node.args]
        if node.func.attr == "pow" and len(given) == 2:
            return _operate(ast.Pow(), _evaluate(given[0], number), _evaluate(given[1], number))
        if function is not None and len(given) == 1 and not node.keywords:
            return function(_evaluate(given[0], number))
    raise TypeError(f"{type(node).__name__} has no value here")


def _operate(operator: ast.operator, left: float, right: float) -> float:
    if isinstance(operator, ast.Add):
        return left + right
    if isinstance(operator, ast.Sub):
        return left - right
    if isinstance(operator, ast.Mult):
        return left * right
    if isinstance(operator, ast.Div):
        return left / right
    if isinstance(operator, ast.Pow):
        return math.pow(left, right)
    raise TypeError(f"{type(operator).__name__} has no value here")
