"""Expressions that run only sometimes, `a if test else b` or a lambda's body, made to say that they did.

Lines can't tell: all of a conditional expression stands in one. So a text in which some of them matter is compiled with
`note(number) or expression` in the place of each, which has its value and its position.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Sequence
from types import CodeType

from gradfix.backward.worker.requests import Place

_NOTE = "__gradfix_way__"


def compiled(text: str, path: str, places: Sequence[Place]) -> CodeType:
    """The code of a file whose expressions at these places note that they run, as the lines -1, -2 …"""
    if not places:
        return compile(text, path, "exec", dont_inherit=True)
    tree = ast.parse(text, filename=path)
    _Noting(places).visit(tree)
    return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


def told_to(note: Callable[[int], None]) -> None:
    """From now on `note` is called with what runs."""
    setattr(builtins, _NOTE, note)


def place_of(node: ast.expr) -> Place:
    """Where an expression stands."""
    return node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0


class _Noting(ast.NodeTransformer):
    def __init__(self, places: Sequence[Place]) -> None:
        self._numbers = {place: -number for number, place in enumerate(places, 1)}

    def visit(self, node: ast.AST) -> ast.AST:
        number = self._numbers.pop(place_of(node), None) if isinstance(node, ast.expr) else None
        visited = self.generic_visit(node)
        if number is None or not isinstance(visited, ast.expr):
            return visited
        call = ast.Call(ast.Name(_NOTE, ast.Load()), [ast.UnaryOp(ast.USub(), ast.Constant(-number))], [])
        return ast.copy_location(ast.BoolOp(ast.Or(), [call, visited]), node)
