"""Saves that stand below the write they come before: they ran in an earlier round of a loop, or in an earlier call."""

from __future__ import annotations

import ast

from gradfix.analysis.text.scopes import parents
from gradfix.findings import Earlier

_LOOPS = (ast.For, ast.AsyncFor, ast.While)


def earlier(tree: ast.Module, statement: ast.stmt, write: ast.AST, save: ast.AST) -> Earlier | None:
    """When `save` ran; None where it stands above the `write` of the statement, or in another function."""
    if _begin(save) <= _end(write):
        return None
    around = list(parents(tree).up(statement))
    scope = around[-1] if around else tree
    if not isinstance(scope, ast.Module) and not _begin(scope) <= _begin(save) <= _end(scope):
        return None
    inside = [statement, *around]
    rounds = (isinstance(node, _LOOPS) and below in node.body for below, node in zip(inside, around, strict=False))
    return Earlier.ROUND if any(rounds) else Earlier.CALL


def _begin(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _end(node: ast.AST) -> tuple[int, int]:
    line, column = _begin(node)
    return getattr(node, "end_lineno", None) or line, getattr(node, "end_col_offset", None) or column
