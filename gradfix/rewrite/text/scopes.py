"""Where a name lives: the statement that binds it, and every place of its scope that reads it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

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
    expressions, parents = _placed(tree)
    paths = [tuple(_up(parents, node)) for node in expressions.get((type(wanted), *place), ())]
    # Inside f-strings Python < 3.12 tells other places: others may seem to stand there.
    holding = (path for path in paths if all(_may_hold(node, place) for node in path[:-1]))
    return next(chain(holding, paths), ())


@lru_cache(maxsize=1)
def _placed(tree: ast.Module) -> tuple[dict[tuple[object, ...], list[ast.expr]], dict[int, ast.AST]]:
    """The expressions of a tree by kind and place, in order, and the node around each node by id."""
    found: dict[tuple[object, ...], list[ast.expr]] = {}
    parents: dict[int, ast.AST] = {}
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.expr):
            found.setdefault((type(node), *_place(node)), []).append(node)
        inner = list(ast.iter_child_nodes(node))
        parents.update((id(child), node) for child in inner)
        waiting.extend(reversed(inner))
    return found, parents


def _up(parents: dict[int, ast.AST], node: ast.AST) -> Iterator[ast.AST]:
    while (around := parents.get(id(node))) is not None:
        yield around
        node = around


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
