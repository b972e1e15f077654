"""A step along the gradient that made a new tensor, `w = w - lr * w.grad`, is one of the leaf itself."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import partial

from gradfix.analysis.backward_facts import NonLeafGrad
from gradfix.analysis.facts import Spelling
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_place, mentions, same, short
from gradfix.rewrite.text.quiet_blocks import put_under
from gradfix.rewrite.text.scope_uses import start_of
from gradfix.rewrite.text.scopes import path_to
from gradfix.source import Source, Span

_SHORT = {ast.Sub: "-", ast.Add: "+"}
_ODD = Refusal(RefusalKind.SPELLING, "the step isn't spelled as expected", "update the leaf under `torch.no_grad()`")


def update_leaf(source: Source, grad: NonLeafGrad, spelling: Spelling, grads: Sequence[NonLeafGrad]) -> Rewrite | None:
    """Have the step that made the tensor of `grad` leave a leaf; None where it wasn't made by one.

    Where the gradient is reset by hand, the leaf is written to, with steps of `grads`, all there are in the file, that
    stand beside it; else each step makes a leaf of its own, whose gradient begins anew.
    """
    step = _step_of(source, grad)
    if step is None:
        return None
    name = short(source, grad.target)
    if not _is_reset(source, grad):
        build = partial(_build_anew, step=step)
        return Rewrite(f"Make `{name}` a leaf after each step", Applicability.UNSAFE, build, "leaf-last")
    if not names.can_spell_torch(spelling):
        return None
    steps = [other for one in grads if (other := _step_of(source, one)) is not None and _is_reset(source, one)]
    build = partial(_build_in_place, step=step, steps=steps, spelling=spelling)
    return Rewrite(f"Update `{name}` under `torch.no_grad()`", Applicability.UNSAFE, build, "no-grad")


def _step_of(source: Source, grad: NonLeafGrad) -> ast.Assign | None:
    """`w = w - lr * w.grad`, where that is what made `w`."""
    if grad.made is None or grad.by_optimizer or not is_place(grad.target):
        return None
    around = path_to(names.tree_of(source), grad.made)
    statement = around[0] if around else None
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    target = statement.targets[0]
    along = any(_is_gradient(node, target) for node in ast.walk(statement.value))
    from_it = isinstance(statement.value, ast.BinOp) and mentions(statement.value, target)
    return statement if along and from_it and same(target, grad.target) else None


def _is_gradient(node: ast.AST, leaf: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "grad" and same(node.value, leaf)


def _is_reset(source: Source, grad: NonLeafGrad) -> bool:
    """Whether its function empties the gradient: `w.grad.zero_()`, `w.grad = None`."""
    return any(_resets(node, grad.target) for node in ast.walk(names.scope_of(source, grad.statement)))


def _resets(node: ast.AST, leaf: ast.expr) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("zero_", "fill_"):
        return any(_is_gradient(inner, leaf) for inner in ast.walk(node.func))
    return isinstance(node, ast.Assign) and any(_is_gradient(target, leaf) for target in node.targets)


def _build_anew(source: Source, *, step: ast.Assign) -> tuple[Edit, ...] | Refusal:
    start, end = source.span_of(step.targets[0]).end, source.span_of(step).end
    between = source.text[start : source.span_of(step.value).start]
    if between.strip() != "=" or source.span_of(step.value).end != end:
        return _ODD  # parentheses or a comment around the value
    at = source.span_of(step.value).start
    return (Edit(Span(at, at), "("), Edit(Span(end, end), ").detach().requires_grad_()"))


def _build_in_place(
    source: Source, *, step: ast.Assign, steps: Sequence[ast.Assign], spelling: Spelling
) -> tuple[Edit, ...] | Refusal:
    shortened = {start_of(one): edit for one in (*steps, step) if (edit := _shortened(source, one)) is not None}
    if start_of(step) not in shortened:
        return _ODD
    head = f"with {names.torch_name(spelling, 'no_grad')}():"
    made = put_under(source, step, head, lambda statement: start_of(statement) in shortened)
    if isinstance(made, Refusal):
        return made
    inside = {start_of(node) for one in made.statements for node in ast.walk(one) if isinstance(node, ast.stmt)}
    edits = [edit for place, edit in shortened.items() if place in inside]
    return (*made.edits, *edits, *names.import_torch(source, spelling, made.opened))


def _shortened(source: Source, step: ast.Assign) -> Edit | None:
    """`w -= lr * w.grad` of `w = w - lr * w.grad`; None for a spelling that has no such form."""
    value, target = step.value, step.targets[0]
    if not isinstance(value, ast.BinOp) or type(value.op) not in _SHORT or not same(value.left, target):
        return None
    sign = _SHORT[type(value.op)]
    span = Span(source.span_of(target).end, source.span_of(value.right).start)
    head, found, rest = span.text(source.text).partition(sign)
    if not found or head.replace(short(source, target), "").split() != ["="] or "\n" in rest or "#" in rest:
        return None
    return Edit(span, f" {sign}={rest}")
