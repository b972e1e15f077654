"""What stands around a place of a tree, and where its scopes use names: listed once for all questions about it."""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache

from gradfix.analysis.text.nodes import every_node
from gradfix.rewrite.text.expressions import is_literal_number, shape

Place = tuple[int, int]  # line and column
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def start_of(node: ast.stmt | ast.expr) -> Place:
    """Where a node begins."""
    return node.lineno, node.col_offset


def end_of(node: ast.stmt | ast.expr) -> Place:
    """Where a node ends."""
    return node.end_lineno or node.lineno, node.end_col_offset or 0


class Nested:
    """Statements of one tree, each of which lies in another one or beside it."""

    def __init__(self, statements: Iterable[ast.stmt]) -> None:
        self._statements = sorted(statements, key=start_of)
        self._starts = [start_of(statement) for statement in self._statements]
        self._around: list[int] = []  # of each the number of the one it lies in, -1 for none
        open_: list[int] = []
        for number, statement in enumerate(self._statements):
            while open_ and end_of(self._statements[open_[-1]]) <= start_of(statement):
                open_.pop()
            self._around.append(open_[-1] if open_ else -1)
            open_.append(number)

    def around(self, place: Place) -> Iterator[ast.stmt]:
        """Those that begin at a place or before it and end behind it, innermost first."""
        at = bisect_right(self._starts, place) - 1
        while at >= 0:
            if place < end_of(self._statements[at]):
                yield self._statements[at]
            at = self._around[at]


class Uses:
    """What one scope, with all that is nested in it, does with names."""

    def __init__(self, scope: ast.AST) -> None:
        nodes = every_node(scope)
        self.last: dict[str, Place] = {}  # where a name stands for the last time
        for node in nodes:
            if isinstance(node, ast.Name):
                self.last[node.id] = max(self.last.get(node.id, (0, 0)), start_of(node))
        self.declared = {name for node in nodes if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names}
        functions = [node for node in nodes if isinstance(node, FUNCTIONS) and node is not scope]
        self.inside_functions = _names_in(functions)  # names that functions nested in the scope mention
        self.loops = Nested(node for node in nodes if isinstance(node, LOOPS))
        self.finals = Nested(node for node in nodes if isinstance(node, ast.Try) and node.finalbody)


def _names_in(functions: Iterable[ast.AST]) -> set[str]:
    found, seen = set[str](), set[int]()
    for function in functions:  # outer ones first
        if id(function) not in seen:
            nodes = every_node(function)
            seen.update(id(node) for node in nodes if isinstance(node, FUNCTIONS))
            found.update(node.id for node in nodes if isinstance(node, ast.Name))
    return found


class Scopes:
    """The scopes of one tree."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        nodes = every_node(tree)
        self._scopes = Nested(node for node in nodes if isinstance(node, _SCOPES))
        self._uses: dict[ast.AST, Uses] = {}
        self.decorated = {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.decorator_list}
        self._numbered: dict[str, list[Place]] = {}  # by what is given a number written out
        for node in nodes:
            if (
                isinstance(node, (ast.Assign, ast.AnnAssign))
                and node.value is not None
                and is_literal_number(node.value)
            ):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    self._numbered.setdefault(shape(target), []).append(start_of(node))

    def around(self, statement: ast.stmt) -> ast.AST:
        """The innermost module, class or function around the place of `statement`."""
        place = start_of(statement)
        return next((scope for scope in self._scopes.around(place) if start_of(scope) < place), self.tree)

    def uses(self, statement: ast.stmt) -> Uses:
        """What the scope of `statement` does with names."""
        scope = self.around(statement)
        if scope not in self._uses:
            self._uses[scope] = Uses(scope)
        return self._uses[scope]

    def starts_as_number(self, place: ast.expr, scope: ast.AST) -> bool:
        """Whether `place` is given a number written out, somewhere in `scope`."""
        given = self._numbered.get(shape(place), [])
        if not isinstance(scope, _SCOPES):
            return bool(given)
        return any(start_of(scope) <= at < end_of(scope) for at in given)


@lru_cache(maxsize=1)
def scopes_of(tree: ast.Module) -> Scopes:
    """The scopes of a tree that is asked about again and again."""
    return Scopes(tree)
