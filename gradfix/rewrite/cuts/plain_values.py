"""`t.item()`, `float(t)`, `t.tolist()` and `math.sqrt(t)` as the tensor itself; `t.data` and `t.detach()` likewise."""

from __future__ import annotations

import ast

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.facts import Cut, Spelling
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.cuts import stacking
from gradfix.rewrite.text import names
from gradfix.rewrite.text.pieces import atom, has_comment, instead, text_of, without_call
from gradfix.source import Source

Edits = tuple[Edit, ...]

_COMMENT = Refusal(
    RefusalKind.SPELLING, "a comment inside the expression would be lost", "move it before the statement"
)
_UNUSUAL = Refusal(RefusalKind.SPELLING, "it is spelled in an unusual way", "use the tensor itself")
_FILLS = Refusal(
    RefusalKind.NO_FORM,
    "the number fills a tensor, and `torch.full` and its like take no tensor with a graph for it",
    "expand the tensor itself to the size: `t.expand(size)`",
)
# Functions of `math` with a namesake in torch that computes the same from a tensor.
_NAMESAKES = frozenset(
    "sqrt exp log sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh log2 log10 log1p expm1 erf erfc".split()
)
_TWINS = {**{name: name for name in _NAMESAKES}, "fabs": "abs", "gamma": "", "lgamma": "lgamma"}


def reconnected(source: Source, cut: Cut, spelling: Spelling) -> Edits | Refusal:
    """The edits that put the tensor where the number was."""
    node = cut.node
    if not isinstance(node, (ast.Call, ast.Attribute)):
        return _UNUSUAL
    if has_comment(source, source.span_of(node)):
        return _COMMENT
    if cut.fills:
        return _FILLS
    copy = copying(cut, spelling) if cut.op == "item" else None
    if copy is not None and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return stacking.without_copy(source, cut, copy, node.func.value, spelling)
    if cut.op.startswith("math."):
        return _function(source, cut, node, spelling)
    if isinstance(node, ast.Attribute):
        return (without_call(source, node, node),)
    if cut.op == "detach_":
        return Refusal(RefusalKind.MEANING, "`detach_` cuts the graph of a tensor that others may hold", "leave it out")
    if cut.op == "tolist" and not _is_scalar(cut):
        return _list(source, cut, node)
    if cut.kind is CutKind.DETACH and len(node.args) == 1:  # torch.detach(t)
        return (instead(source, node, atom(source, node.args[0])),)
    shape = "" if cut.kind is not CutKind.NUMBER or _is_scalar(cut) else ".reshape(())"
    if cut.kind is CutKind.NUMBER and cut.value_changes:
        shape += ".clone()"  # the number was what it was then
    if isinstance(node.func, ast.Attribute) and not node.args:
        return (without_call(source, node.func, node, shape),)
    if len(node.args) == 1 and not node.keywords:
        return (instead(source, node, atom(source, node.args[0]) + shape),)
    return _UNUSUAL


def copying(cut: Cut, spelling: Spelling) -> ast.Call | None:
    """`torch.tensor(loss.item())` around `loss.item()`: without the number there is nothing to copy."""
    made = names.torch_name(spelling, "tensor")
    for inner in ast.walk(cut.statement):
        if isinstance(inner, ast.Call) and len(inner.args) == 1 and inner.args[0] is cut.node:
            keywords = {keyword.arg for keyword in inner.keywords}
            if ast.unparse(inner.func) == made and keywords <= {"dtype", "device", "requires_grad"}:
                return inner
    return None


def _is_scalar(cut: Cut) -> bool:
    tensor = None if cut.value is None else cut.value.tensor
    return tensor is not None and tensor.rank == 0


def _list(source: Source, cut: Cut, node: ast.Call) -> Edits | Refusal:
    """`t.tolist()` of one dimension: iterating over `t` gives its items as tensors."""
    tensor = None if cut.value is None else cut.value.tensor
    if tensor is None or tensor.rank != 1 or not isinstance(node.func, ast.Attribute):
        return Refusal(
            RefusalKind.NO_FORM,
            "the lists that `tolist` makes have no graph",
            "compute with the tensor, without `.tolist()`",
        )
    return (without_call(source, node.func, node, f"{'.clone()' * cut.value_changes}.unbind()"),)


def _function(source: Source, cut: Cut, node: ast.Call | ast.Attribute, spelling: Spelling) -> Edits | Refusal:
    twin = _TWINS.get(cut.op.removeprefix("math."), "")
    if (
        not twin
        or not names.can_spell_torch(spelling)
        or not isinstance(node, ast.Call)
        or len(node.args) != 1
        or node.keywords
    ):
        return Refusal(
            RefusalKind.NO_FORM, f"`{cut.op}` gives a number without a graph", "compute it with operations of torch"
        )
    argument = text_of(source, node.args[0]) if _is_scalar(cut) else f"{atom(source, node.args[0])}.reshape(())"
    function = names.torch_name(spelling, twin)
    edit = instead(source, node, f"{function}({argument})")
    return (edit, *names.import_torch(source, spelling, edit.text))
