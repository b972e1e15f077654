"""Which names are bound for certain where a statement begins, as far as the order of statements tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache

from gradfix.analysis.text.nodes import Function, every_node, nodes_of

_BINDING = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Import, ast.ImportFrom)


@lru_cache(maxsize=16)  # asked again in every passage
def unsure_names(scope: Function | ast.Module, statement: ast.stmt) -> frozenset[str]:
    """The names that `scope` binds itself, but not for certain before `statement`, which stands in it."""
    if isinstance(scope, ast.Lambda):
        return frozenset()
    parameters = set() if isinstance(scope, ast.Module) else {arg.arg for arg in _arguments(scope)}
    bound = {node.id for node in nodes_of(scope) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    deleted = {node.id for node in nodes_of(scope) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)}
    return frozenset((bound - parameters - set(_bound_before(scope.body, statement))) | deleted)


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.arg]:
    return (node for node in every_node(function.args) if isinstance(node, ast.arg))


def _bound_before(block: Sequence[ast.stmt], statement: ast.stmt) -> Iterator[str]:
    """What runs from the start of a block to a statement in it, or in a block inside, has bound."""
    for here in block:
        if here is statement:
            return
        if _contains(here, statement):
            yield from _on_the_way(here)
            for name in ("body", "orelse", "finalbody", "handlers", "cases"):
                for inner in _blocks(getattr(here, name, [])):
                    if any(part is statement or _contains(part, statement) for part in inner):
                        yield from _bound_before(inner, statement)
            return
        yield from _bound_by(here)


def _blocks(parts: Sequence[ast.AST]) -> Iterator[Sequence[ast.stmt]]:
    if parts and isinstance(parts[0], ast.stmt):
        yield [part for part in parts if isinstance(part, ast.stmt)]
    else:
        yield from (part.body for part in parts if isinstance(part, (ast.ExceptHandler, ast.match_case)))


def _on_the_way(compound: ast.stmt) -> Iterator[str]:
    """What the head of a compound statement binds before its body begins."""
    if isinstance(compound, (ast.For, ast.AsyncFor)):
        yield from _stored(compound.target)
    elif isinstance(compound, (ast.With, ast.AsyncWith)):
        for item in compound.items:
            yield from () if item.optional_vars is None else _stored(item.optional_vars)


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    """What a statement that has ended has bound, whichever way it took."""
    if isinstance(statement, _BINDING) and getattr(statement, "value", statement) is not None:
        yield from _stored(statement)
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        yield from _on_the_way(statement)
        for here in statement.body:
            yield from _bound_by(here)
    elif isinstance(statement, ast.If) and statement.orelse:
        arms = [{name for here in arm for name in _bound_by(here)} for arm in (statement.body, statement.orelse)]
        yield from arms[0] & arms[1]


def _stored(node: ast.AST) -> Iterator[str]:
    return (n.id for n in every_node(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _contains(outer: ast.stmt, inner: ast.stmt) -> bool:
    return outer.lineno <= inner.lineno and (inner.end_lineno or 0) <= (outer.end_lineno or 0)
