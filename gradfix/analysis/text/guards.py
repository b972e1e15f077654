"""Tests that may keep a run from coming where another way through a branch would have brought it."""

from __future__ import annotations

import ast

from gradfix.analysis.text.nodes import Function, every_node, nodes_of

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_JUMPS = (ast.Return, ast.Continue, ast.Break, ast.Raise)


def is_guarded(tree: ast.Module, branch: ast.stmt, end: ast.AST) -> bool:
    """Whether a run that goes past `branch` may be kept from `end`: `if count > 0: loss.backward()`."""
    return any(
        _keeps_away(node, branch, end)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and not _contains(node, branch)
    )


def is_kept_away(tree: ast.Module, end: ast.AST) -> bool:
    """Whether its own function may keep a run from `end`: a test around it, or one before it that jumps."""
    scopes = [node for node in every_node(tree) if isinstance(node, _FUNCTIONS) and _contains(node, end)]
    scope: Function | ast.Module = max(scopes, key=lambda node: node.lineno, default=tree)
    tests = (node for node in nodes_of(scope) if isinstance(node, ast.If))
    return any(_is_around(node, end) or _jumps_before(node, end) for node in tests)


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
