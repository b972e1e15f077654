"""Which names are bound for certain where a statement begins, as far as the order of statements tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.guards import functions_of, swallows
from gradfix.analysis.text.nodes import Function, every_node, nodes_of

_BINDING = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Import, ast.ImportFrom)


def unsure_names(tree: ast.Module, scope: Function | ast.Module, statement: ast.stmt) -> frozenset[str]:
    """The names that `scope` binds itself, but not for certain before `statement`, which stands in it.

    Nor does a name stand for a tensor for certain that the scope, or the function whose it is, deletes or asks whether
    it is None or something else.
    """
    if isinstance(scope, ast.Lambda):
        return frozenset()
    known = _names_of(scope)
    own = known.parameters | known.bound
    outer = (_names_of(one).unfit for one in functions_of(tree) if one is not scope and _contains(one, statement))
    return known.bound - set(_bound_before(scope.body, statement)) | known.unfit | frozenset().union(*outer) - own


class _Names(NamedTuple):
    parameters: frozenset[str]
    bound: frozenset[str]  # besides
    unfit: frozenset[str]  # deleted, or asked something


@lru_cache(maxsize=512)  # asked again for every statement, and in every passage
def _names_of(scope: ast.FunctionDef | ast.AsyncFunctionDef | ast.Module) -> _Names:
    parameters = set() if isinstance(scope, ast.Module) else {arg.arg for arg in _arguments(scope)}
    stored = [node for node in nodes_of(scope) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    deleted = {name.id for name in stored if isinstance(name.ctx, ast.Del)}
    bound = {name.id for name in stored} - parameters
    return _Names(frozenset(parameters), frozenset(bound), frozenset(deleted | set(_asked(scope))))


def _asked(scope: Function | ast.Module) -> Iterator[str]:
    """`x` of `def f(x=None)`, `x is None`, `isinstance(x, str)`, `if x:`."""
    if not isinstance(scope, (ast.Module, ast.Lambda)):
        given = scope.args
        positional = (*given.posonlyargs, *given.args)
        defaults = [*zip(reversed(positional), reversed(given.defaults), strict=False)]
        defaults += [(arg, value) for arg, value in zip(given.kwonlyargs, given.kw_defaults, strict=True) if value]
        yield from (arg.arg for arg, value in defaults if isinstance(value, ast.Constant))
    for node in nodes_of(scope):
        asked = _asked_by(node)
        yield from (part.id for part in asked if isinstance(part, ast.Name))


def _asked_by(node: ast.AST) -> Sequence[ast.expr]:
    if isinstance(node, ast.Compare):
        return (node.left, *node.comparators) if any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops) else ()
    if isinstance(node, ast.Call):
        return node.args[:1] if builtin(node.func) == "isinstance" else ()
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.UnaryOp):
        return (node.operand,) if isinstance(node.op, ast.Not) else ()
    return (node.test,) if isinstance(node, (ast.If, ast.IfExp, ast.While, ast.Assert)) else ()


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.arg]:
    return (node for node in every_node(function.args) if isinstance(node, ast.arg))


def _bound_before(block: Sequence[ast.stmt], statement: ast.stmt) -> Iterator[str]:
    """What runs from the start of a block to a statement in it, or in a block inside, has bound."""
    for here in block:
        if here is statement:
            return
        if _contains(here, statement):
            for name in ("body", "orelse", "finalbody", "handlers", "cases"):
                for inner in _blocks(getattr(here, name, [])):
                    if any(part is statement or _contains(part, statement) for part in inner):
                        yield from _on_the_way(here) if name == "body" else ()
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


@lru_cache(maxsize=4096)
def _bound_by(statement: ast.stmt) -> frozenset[str]:
    """What a statement that has ended has bound, whichever way it took."""
    if isinstance(statement, _BINDING) and getattr(statement, "value", statement) is not None:
        return frozenset(_stored(statement))
    if isinstance(statement, (ast.With, ast.AsyncWith)) and not swallows(statement):
        return frozenset(_on_the_way(statement)).union(*map(_bound_by, statement.body))
    if isinstance(statement, ast.If) and statement.orelse:
        first, second = (frozenset[str]().union(*map(_bound_by, arm)) for arm in (statement.body, statement.orelse))
        return first & second
    return frozenset()


def _stored(node: ast.AST) -> Iterator[str]:
    return (n.id for n in every_node(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _contains(outer: ast.stmt, inner: ast.stmt) -> bool:
    return outer.lineno <= inner.lineno and (inner.end_lineno or 0) <= (outer.end_lineno or 0)
