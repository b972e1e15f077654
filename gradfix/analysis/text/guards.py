"""Tests that may keep a run from coming where another way through a branch would have brought it."""

from __future__ import annotations

import ast

_JUMPS = (ast.Return, ast.Continue, ast.Break, ast.Raise)


def is_guarded(tree: ast.Module, branch: ast.stmt, end: ast.AST) -> bool:
    """Whether a run that goes past `branch` may be kept from `end`: `if count > 0: loss.backward()`."""
    return any(
        _keeps_away(node, branch, end)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and not _contains(node, branch)
    )


def _keeps_away(node: ast.If, branch: ast.stmt, end: ast.AST) -> bool:
    if _contains(node, end):
        return not any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))
    is_between = (branch.end_lineno or branch.lineno) < node.lineno < getattr(end, "lineno", 0)
    return is_between and any(isinstance(inner, _JUMPS) for inner in ast.walk(node))


def _contains(outer: ast.stmt, inner: ast.AST) -> bool:
    return outer.lineno <= getattr(inner, "lineno", 0) <= (outer.end_lineno or outer.lineno)
