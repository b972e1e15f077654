"""A piece of another text as it is followed from here: a copy that stands where it is called."""

from __future__ import annotations

import ast
from typing import TypeVar

_Node = TypeVar("_Node", bound=ast.AST)
_Lines = dict[ast.AST, int]


def relocated(node: _Node, at: ast.AST) -> tuple[_Node, _Lines]:
    """A copy of `node`, all of it at the place of `at`; and of each node that has a place the line that it had."""
    lines: _Lines = {}
    place = {name: getattr(at, name) for name in ("lineno", "col_offset", "end_lineno", "end_col_offset")}
    return _copy(node, place, lines), lines


def _copy(node: _Node, place: dict[str, int], lines: _Lines) -> _Node:
    if isinstance(node, (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)):
        return node  # one of each for all texts
    made = type(node)()
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            value = _copy(value, place, lines)
        elif isinstance(value, list):
            value = [_copy(one, place, lines) if isinstance(one, ast.AST) else one for one in value]
        setattr(made, name, value)
    if hasattr(node, "lineno"):
        lines[made] = node.lineno
        for name, number in place.items():
            setattr(made, name, number)
    return made
