"""Which calls of what stands in other files matter: what the caller may write, and what it differentiates."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.imports import Callee
from gradfix.analysis.text.nodes import Function, every_node, nodes_of
from gradfix.analysis.text.parameter_writes import bindings, written
from gradfix.analysis.text.survey import is_awaited
from gradfix.analysis.text.transform_names import REVERSE

_DIFFERENTIATING = REVERSE | {"backward"}
_STEPS = 3  # names that stand for a tensor through other names


def is_concerned(m: Machine, at: ast.Call) -> bool:
    """Whether something may be written that the call is given or gives: what it saves is then of interest.

    Functions around the caller are looked at as a whole, since their tensors have other names in it.
    """
    info = m.scope.info
    if info is None or m.imports is None or m.imports.follows_all or m.imports.layers:
        return True
    writers = frozenset(m.imports.writers)
    if any(_written_in(caller.node, writers) for caller in m.calls if caller is not info):
        return True
    names = _written_in(info.node, writers)
    return bool(names) and not names.isdisjoint(_spelled(at if m.statement is None else _simple(m.statement, at)))


def is_differentiated(m: Machine, callee: Callee) -> bool:
    """Whether a function on the way here starts backward, or is awaited to return a graph that the callee may end."""
    on_the_way = {caller.node for caller in m.calls} | ({m.scope.info.node} if m.scope.info is not None else set())
    trainers = frozenset(m.imports.trainers) if m.imports is not None else frozenset()
    return any(_starts_backward(node, trainers) for node in on_the_way) or (
        any(map(_is_awaited, on_the_way)) and callee.may_sever()
    )


@lru_cache(maxsize=512)
def _starts_backward(node: Function, trainers: frozenset[str]) -> bool:
    called = (one.func for one in nodes_of(node) if isinstance(one, ast.Call))
    names = (func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in called)
    return any(name in _DIFFERENTIATING or name in trainers for name in names)


def _is_awaited(node: Function) -> bool:
    return is_awaited(getattr(node, "name", ""))


@lru_cache(maxsize=512)
def _written_in(node: Function, writers: frozenset[str]) -> frozenset[str]:
    """The names at the root of what a function writes, or hands to one of the `writers`; and what may be the same."""
    nodes = nodes_of(node)
    names = {root for one in nodes for root in (*written(one), *_handed(one, writers))}
    bound = [pair for one in nodes for pair in bindings(one)] if names else []
    for _ in range(_STEPS):
        gained = {other for name, root in bound if root for own, other in ((name, root), (root, name)) if own in names}
        if gained <= names:
            break
        names |= gained
    return frozenset(names)


def _handed(node: ast.AST, writers: frozenset[str]) -> Iterator[str]:
    if isinstance(node, ast.Call) and writers:
        func = node.func
        if (func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")) in writers:
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                yield from _spelled(argument)


def _simple(statement: ast.AST, at: ast.Call) -> ast.AST:
    """The statement, where it is no more than one expression."""
    simple = isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return))
    return statement if simple else at


def _spelled(node: ast.AST) -> frozenset[str]:
    found = set[str]()
    for inner in every_node(node):
        if isinstance(inner, ast.Name):
            found.add(inner.id)
        elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "self":
            found.add(f"self.{inner.attr}")
    return frozenset(found)
