"""A step along the gradient that makes a new tensor, `w = w - lr * w.grad`, as one of the leaf itself."""

from __future__ import annotations

import ast
from typing import TypeGuard

from gradfix.edits import Edit
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_place, mentions, same
from gradfix.source import Source, Span

_SHORT = {ast.Sub: "-", ast.Add: "+"}


def is_step(statement: ast.AST) -> TypeGuard[ast.Assign]:
    """`w = w - lr * w.grad`: a new value of a place, made of the old one and its gradient."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return False
    target, value = statement.targets[0], statement.value
    along = any(_is_gradient(node, target) for node in ast.walk(value))
    return along and is_place(target) and isinstance(value, ast.BinOp) and mentions(value, target)


def is_reset(source: Source, step: ast.Assign) -> bool:
    """Whether the function around empties the gradient: `w.grad.zero_()`, `w.grad = None`."""
    return any(_resets(node, step.targets[0]) for node in ast.walk(names.scope_of(source, step)))


def _resets(node: ast.AST, leaf: ast.expr) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("zero_", "fill_"):
        return any(_is_gradient(inner, leaf) for inner in ast.walk(node.func))
    return isinstance(node, ast.Assign) and any(_is_gradient(target, leaf) for target in node.targets)


def _is_gradient(node: ast.AST, leaf: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "grad" and same(node.value, leaf)


def in_place(source: Source, step: ast.Assign) -> tuple[Edit, ...]:
    """`w -= lr * w.grad`; nothing for a spelling that has no such form."""
    value, target = step.value, step.targets[0]
    if not isinstance(value, ast.BinOp) or type(value.op) not in _SHORT or not same(value.left, target):
        return ()
    sign = _SHORT[type(value.op)]
    span = Span(source.span_of(target).end, source.span_of(value.right).start)
    left = source.span_of(value.left)
    before, between = source.text[span.start : left.start], source.text[left.end : span.end]
    rest = between.lstrip().removeprefix(sign)
    if before.strip() != "=" or rest == between.lstrip() or "\n" in between or "#" in between:
        return ()
    return (Edit(span, f" {sign}={rest}"),)


def with_new_leaf(source: Source, step: ast.Assign, made: str) -> tuple[Edit, ...]:
    """`w = (w - lr * w.grad).requires_grad_()`, by the calls `made`; nothing where the value has parentheses around."""
    start, end = source.span_of(step.targets[0]).end, source.span_of(step).end
    value = source.span_of(step.value)
    if source.text[start : value.start].strip() != "=" or value.end != end:
        return ()
    return (Edit(Span(value.start, value.start), "("), Edit(Span(end, end), f"){made}"))
