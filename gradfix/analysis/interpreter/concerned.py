"""Which calls of what stands in other files matter: those whose arguments or result the caller may write."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.text.nodes import Function, every_node, nodes_of
from gradfix.analysis.text.parameter_writes import bindings, written

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
