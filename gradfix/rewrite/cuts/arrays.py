"""Detours through NumPy as operations of torch: `torch.from_numpy(np.sqrt(x.detach().numpy()))` is `torch.sqrt(x)`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradfix.analysis.facts import Cut, Spelling
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import enclosing, is_literal_number
from gradfix.rewrite.text.pieces import atom, has_comment, is_parenthesised, text_of
from gradfix.source import Source

_LEAVES = frozenset({"detach", "data", "cpu", "numpy", "clone", "contiguous"})
_BACK = frozenset({"from_numpy", "tensor", "as_tensor"})
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
# Functions of NumPy and the ones of torch that give the same bits (measured on float32 and float64) …
_EXACT = {"sqrt": "sqrt", "abs": "abs", "absolute": "abs", "fabs": "abs", "square": "square", "negative": "neg"}
# … and those that may differ in the last digit.
_CLOSE = {
    **{name: name for name in "exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh sum mean".split()},
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
}
_ADVICE = "compute it with operations of torch, without the array"


def is_exact(cut: Cut) -> bool:
    """Whether torch gives the same bits as the functions of NumPy that the detour goes through."""
    detour = _detour(cut)
    used = [] if detour is None else [name for name in map(_function, ast.walk(detour)) if name is not None]
    return all(name in _EXACT for name in used)


def reconnected(source: Source, cut: Cut, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """The edits that compute in torch what the detour computes in NumPy."""
    detour = _detour(cut)
    if detour is None:
        return Refusal(RefusalKind.UNKNOWN, "its value goes through a NumPy array over several steps", _ADVICE)
    if has_comment(source, source.span_of(detour)):
        return Refusal(
            RefusalKind.SPELLING, "a comment inside the expression would be lost", "move it before the statement"
        )
    made = _in_torch(source, detour.args[0], spelling)
    if made is None or not names.can_spell_torch(spelling):
        return Refusal(RefusalKind.NO_FORM, "torch has no equal of everything NumPy does here", _ADVICE)
    if _name(detour) == "tensor" and _tensor_behind(detour.args[0]) is not None:
        made += ".clone()"  # `torch.tensor` copies, the others share
    keywords = [f"{k.arg}={text_of(source, k.value)}" for k in detour.keywords if k.arg in ("dtype", "device")]
    if len(keywords) != len(detour.keywords):
        return Refusal(
            RefusalKind.NO_FORM, "the call has arguments that a tensor computed in torch has no place for", _ADVICE
        )
    text = f"({made}).to({', '.join(keywords)})" if keywords else made
    edit = Edit(source.span_of(detour), text)
    return (edit, *names.import_torch(source, spelling, text))


def _detour(cut: Cut) -> ast.Call | None:
    """The call of the statement that makes a tensor of the array again."""
    for node in reversed(enclosing(cut.statement, cut.node)):
        if isinstance(node, ast.Call) and _name(node) in _BACK and len(node.args) == 1:
            return node
        if not isinstance(node, (ast.Call, ast.Attribute, ast.BinOp, ast.UnaryOp, ast.keyword)):
            return None
    return None


def _name(call: ast.Call) -> str | None:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)


def _in_torch(source: Source, node: ast.expr, spelling: Spelling) -> str | None:
    """`node`, computed from tensors instead of arrays; None where that isn't known to be equal."""
    tensor = _tensor_behind(node)
    if tensor is not None:
        return atom(source, tensor)
    if is_literal_number(node):
        return text_of(source, node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _in_torch(source, node.operand, spelling)
        return None if inner is None else f"-{_grouped(source, node.operand, inner)}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
        return _binary(source, node, spelling)
    twin = None if (name := _function(node)) is None else _EXACT.get(name) or _CLOSE.get(name)
    if twin is None or not isinstance(node, ast.Call) or len(node.args) != 1 or not _axes_only(node):
        return None
    inner = _in_torch(source, node.args[0], spelling)
    axes = "".join(f", dim={text_of(source, k.value)}" for k in node.keywords)
    return None if inner is None or _is_number(node.args[0]) else f"{names.torch_name(spelling, twin)}({inner}{axes})"


def _binary(source: Source, node: ast.BinOp, spelling: Spelling) -> str | None:
    left, right = (_in_torch(source, part, spelling) for part in (node.left, node.right))
    if left is None or right is None or (_is_number(node.left) and _is_number(node.right)):
        return None
    between = source.text[source.span_of(node.left).end : source.span_of(node.right).start]
    symbol = between.strip("() \t\r\n\\")
    return f"{_grouped(source, node.left, left)} {symbol} {_grouped(source, node.right, right)}"


def _grouped(source: Source, node: ast.expr, text: str) -> str:
    return f"({text})" if isinstance(node, (ast.BinOp, ast.UnaryOp)) and is_parenthesised(source, node) else text


def _is_number(node: ast.expr) -> bool:
    return not any(_tensor_behind(inner) is not None for inner in ast.walk(node) if isinstance(inner, ast.expr))


def _axes_only(call: ast.Call) -> bool:
    return all(k.arg == "axis" for k in call.keywords) and (not call.keywords or _function(call) in ("sum", "mean"))


def _function(node: ast.AST) -> str | None:
    """The name of a call `np.sqrt(…)`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    return node.func.attr if isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "numpy") else None


def _tensor_behind(node: ast.expr) -> ast.expr | None:
    """`x` of `x.detach().cpu().numpy()`."""
    steps = list(_steps(node))
    if not steps or steps[0][0] != "numpy":
        return None
    return steps[-1][1]


def _steps(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The methods that lead from a tensor to its array, last first, with what each is called on."""
    while True:
        call = isinstance(node, ast.Call) and not node.args and not node.keywords
        inner = node.func if isinstance(node, ast.Call) and call else node
        if not isinstance(inner, ast.Attribute) or inner.attr not in _LEAVES or (inner.attr == "data") == call:
            return
        yield inner.attr, inner.value
        node = inner.value
