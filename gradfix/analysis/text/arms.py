"""Branches that every call of a module takes the same way: what one arm writes isn't what the other one left."""

from __future__ import annotations

import ast


def replaces(branch: ast.AST | None, statement: ast.stmt) -> bool:
    """Whether `statement` writes to a variable in an arm of `if self.training:` that then gives it other memory."""
    test = branch.test if isinstance(branch, ast.If) else None
    test = test.operand if isinstance(test, ast.UnaryOp) else test
    if not isinstance(branch, ast.If) or not (isinstance(test, ast.Attribute) and test.attr == "training"):
        return False
    for arm in (branch.body, branch.orelse):
        inside = [node for part in arm for node in ast.walk(part) if isinstance(node, ast.stmt)]
        if any(node is statement for node in inside):
            return any(_gives_again(node, statement) for node in inside)
    return False


def _gives_again(later: ast.stmt, statement: ast.stmt) -> bool:
    """Whether `later` stands behind and assigns to the variable that `statement` writes to."""
    if not isinstance(later, ast.Assign) or later.lineno <= statement.lineno:
        return False
    names = {target.id for target in later.targets if isinstance(target, ast.Name)}
    return _written_name(statement) in names


def _written_name(statement: ast.stmt) -> str | None:
    node: ast.AST | None = None
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        node = statement.value.func
    elif isinstance(statement, ast.AugAssign):
        node = statement.target
    elif isinstance(statement, ast.Assign):
        node = statement.targets[0]
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None
