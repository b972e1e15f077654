"""Tests that may keep a run from coming where another way through a branch would have brought it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeGuard

from gradfix.analysis.text.nodes import Function, every_node, nodes_of

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_CHOICES = (ast.If, ast.IfExp, ast.BoolOp, ast.Match, ast.Assert)
_CAUGHT = frozenset({"RuntimeError", "Exception", "BaseException"})
_EXITS = frozenset({"exit", "quit", "sys.exit", "os._exit", "pytest.fail", "self.fail"})
_JUMPS = (ast.Return, ast.Continue, ast.Break, ast.Raise)


def is_guarded(tree: ast.Module, branch: ast.stmt, end: ast.AST) -> bool:
    """Whether a run that goes past `branch` may be kept from `end`: `if count > 0: loss.backward()`."""
    return any(
        _keeps_away(node, branch, end)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and not _contains(node, branch)
    )


def is_kept_away(tree: ast.Module, end: ast.AST, calls: Iterable[ast.AST] = ()) -> bool:
    """Whether its own function may keep a run from `end`, or from the `calls` that led there.

    By a test around it, or one before it that jumps; around a call, by a test of what that is given.
    """
    if any(guard.keeps_from(end) for guard in _guards(_scope(tree, end))):
        return True
    for call in calls:
        given = _names(call)
        guards = _guards(_scope(tree, call)) if given else ()
        if any(guard.keeps_from(call) and not given.isdisjoint(guard.asked) for guard in guards):
            return True
    return False


@lru_cache(maxsize=512)
def handler_of_errors(block: ast.Try | ast.With | ast.AsyncWith) -> ast.AST | None:
    """What lets a run go on after autograd raised in the block's body; None where the error goes further."""
    if not isinstance(block, ast.Try):
        given = _names(ast.Tuple([item.context_expr for item in block.items], ast.Load()))
        return block if not _CAUGHT.isdisjoint(given) and swallows(block) else None
    catching = (h for h in block.handlers if h.type is None or not _CAUGHT.isdisjoint(_names(h.type)))
    first = next(catching, None)
    return None if first is None or any(_ends_the_run(node) for node in every_node(first)) else first


def _ends_the_run(node: ast.AST) -> bool:
    called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    return isinstance(node, ast.Raise) or called in _EXITS


def swallows(block: ast.With | ast.AsyncWith) -> bool:
    """Whether a run may leave the block in its midst and go on behind it: `with suppress(ValueError):`."""
    spelled = (ast.unparse(item.context_expr).lower() for item in block.items)  # `self.assertRaises`
    return any("suppress" in text or "raises" in text for text in spelled)


class _Guard(NamedTuple):
    """What may keep a run from what stands in it, or, if it jumps, from what stands behind."""

    node: ast.stmt | ast.expr
    asked: frozenset[str]  # names in its test
    jumps: bool

    def keeps_from(self, end: ast.AST) -> bool:
        if isinstance(self.node, ast.expr):
            around = end.value if isinstance(end, ast.Expr) else end
            return any(inner is around for inner in every_node(self.node))
        if self.jumps and (self.node.end_lineno or self.node.lineno) < getattr(end, "lineno", 0):
            return True
        inside = self.node.body if isinstance(self.node, ast.Try) else [self.node]
        return any(_contains(statement, end) for statement in inside)


@lru_cache(maxsize=512)
def _guards(scope: Function | ast.Module) -> Sequence[_Guard]:
    found = []
    for node in nodes_of(scope):
        if isinstance(node, _CHOICES) or _hides(node):
            asked = _names(getattr(node, "test", getattr(node, "subject", node)))
            jumps = isinstance(node, ast.If) and any(isinstance(inner, _JUMPS) for inner in every_node(node))
            if "__name__" not in asked:
                found.append(_Guard(node, asked, jumps or isinstance(node, ast.Assert)))
    return found


def _hides(node: ast.AST) -> TypeGuard[ast.stmt]:
    """Whether the error of a backward in it ends there."""
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return swallows(node)
    handlers = node.handlers if isinstance(node, ast.Try) else []
    return any(handler.type is None or not _CAUGHT.isdisjoint(_names(handler.type)) for handler in handlers)


def is_hidden(tree: ast.Module, end: ast.AST) -> bool:
    """Whether the error of a backward may end in a `try`, or in a `with`, around it."""
    return any(_hides(guard.node) and guard.keeps_from(end) for guard in _guards(_scope(tree, end)))


@lru_cache(maxsize=4)
def functions_of(tree: ast.Module) -> Sequence[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All of a file, outer ones before those inside."""
    return [node for node in every_node(tree) if isinstance(node, _FUNCTIONS)]


def _scope(tree: ast.Module, end: ast.AST) -> Function | ast.Module:
    around = (function for function in functions_of(tree) if _contains(function, end))
    return max(around, key=lambda function: function.lineno, default=tree)


def _names(node: ast.AST) -> frozenset[str]:
    return frozenset(inner.id for inner in every_node(node) if isinstance(inner, ast.Name))


def _keeps_away(node: ast.If, branch: ast.stmt, end: ast.AST) -> bool:
    if _contains(node, end):
        return _is_around(node, end)
    return (branch.end_lineno or branch.lineno) < node.lineno and _jumps_before(node, end)


def _is_around(node: ast.If, end: ast.AST) -> bool:
    return _contains(node, end) and not any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))


def _jumps_before(node: ast.If, end: ast.AST) -> bool:
    is_before = (node.end_lineno or node.lineno) < getattr(end, "lineno", 0)
    return is_before and any(isinstance(inner, _JUMPS) for inner in ast.walk(node))


def _contains(outer: ast.stmt, inner: ast.AST) -> bool:
    return outer.lineno <= getattr(inner, "lineno", 0) <= (outer.end_lineno or outer.lineno)
