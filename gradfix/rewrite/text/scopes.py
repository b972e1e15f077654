"""Where a name lives: the statement that binds it, and every place of its scope that reads it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True)
class Mention:
    """One place where a name or attribute stands, with the nodes around it, innermost first."""

    node: ast.expr
    around: tuple[ast.AST, ...]

    def statement(self) -> ast.stmt:
        """The innermost statement."""
        return next(node for node in self.around if isinstance(node, ast.stmt))

    def loops(self, within: ast.AST) -> tuple[ast.AST, ...]:
        """The loops around it, innermost first, as far as they stand in `within`."""
        found = []
        for node in self.around:
            if node is within:
                break
            if isinstance(node, _LOOPS):
                found.append(node)
        return tuple(found)


def path_to(tree: ast.Module, wanted: ast.expr) -> tuple[ast.AST, ...]:
    """The nodes around the node of `tree` that stands where `wanted` does, innermost first; itself excluded."""
    place = _place(wanted)
    for ways in (_walk_towards(tree, (), place), _walk(tree, ())):  # inside f-strings Python < 3.12 tells other places
        for node, around in ways:
            if type(node) is type(wanted) and _place(node) == place:
                return around
    return ()


def mentions_of(scope: ast.AST, path: str) -> Iterator[Mention]:
    """Every mention of a name, a dotted path or an item of it in `scope` and the functions nested there, in order."""
    kind = ast.Subscript if path.endswith("]") else ast.Attribute if "." in path else ast.Name
    for node, around in _walk(scope, ()):
        if isinstance(node, kind) and _spelled(node) == path:
            assert isinstance(node, ast.expr)
            yield Mention(node, around)


def binds_anew(node: ast.AST, name: str) -> bool:
    """Whether a function or comprehension has a variable of its own of that name."""
    if isinstance(node, _COMPREHENSIONS):
        targets = [inner for generator in node.generators for inner in ast.walk(generator.target)]
        return any(isinstance(inner, ast.Name) and inner.id == name for inner in targets)
    if not isinstance(node, _FUNCTIONS):
        return False
    arguments = node.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    return any(a is not None and a.arg == name for a in every) or (
        not isinstance(node, ast.Lambda)
        and any(
            isinstance(inner, ast.Name) and inner.id == name and not isinstance(inner.ctx, ast.Load)
            for inner in ast.walk(node)
        )
    )


def block_of(parent: ast.AST, statement: ast.stmt) -> list[ast.stmt]:
    """The list of statements of `parent` that `statement` stands in."""
    for part in ("body", "orelse", "finalbody"):
        block = getattr(parent, part, None)
        if isinstance(block, list) and any(inner is statement for inner in block):
            return block
    return []


def _walk(node: ast.AST, around: tuple[ast.AST, ...]) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    inner = (node, *around)
    for child in ast.iter_child_nodes(node):
        yield child, inner
        yield from _walk(child, inner)


def _walk_towards(
    node: ast.AST, around: tuple[ast.AST, ...], place: tuple[int, int, int, int]
) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    """The same, without what begins behind a place or ends before it."""
    inner = (node, *around)
    for child in ast.iter_child_nodes(node):
        if _may_hold(child, place):
            yield child, inner
            yield from _walk_towards(child, inner, place)


def _may_hold(node: ast.AST, place: tuple[int, int, int, int]) -> bool:
    end = getattr(node, "end_lineno", None)
    if end is None:
        return True
    first = (getattr(node, "decorator_list", None) or [node])[0]
    begins_before = (first.lineno, first.col_offset) <= place[:2]
    return begins_before and place[2:] <= (end, getattr(node, "end_col_offset", 0))


def _place(node: ast.AST) -> tuple[int, int, int, int]:
    assert isinstance(node, ast.expr)
    return node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0


def _spelled(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Subscript):
        return f"{_spelled(node.value)}[{ast.unparse(node.slice)}]"
    return f"{_spelled(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"
