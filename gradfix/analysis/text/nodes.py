"""The nodes of a tree as lists: what many questions are asked of is walked once, and without generators.

Operators, contexts and names that are plain strings are no nodes here.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_LEAVES = (ast.Name, ast.Constant, ast.Global, ast.Nonlocal, ast.MatchSingleton)
_SAYING_LITTLE = frozenset(
    "arg asname attr conversion ctx id is_async kind kwd_attrs level module op ops rest simple type_comment".split()
)
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = dict.fromkeys(_LEAVES, ())  # of each kind, those that hold nodes
# The same, last to first, for walks that stay out of the bodies of scopes inside.
_OF_SCOPE: dict[type[ast.AST], tuple[str, ...]] = dict.fromkeys(_LEAVES, ()) | {
    kind: ("decorator_list",) if kind is not ast.Lambda else () for kind in _SCOPES
}


@lru_cache(maxsize=512)  # several questions are asked of one function, mostly one after the other
def nodes_of(function: Function | ast.Module | ast.ClassDef) -> Sequence[ast.AST]:
    """Every node of a function's body in order, without the bodies of scopes inside, whose own nodes are included."""
    body: Sequence[ast.AST] = [function.body] if isinstance(function, ast.Lambda) else function.body
    stack: list[ast.AST] = list(reversed(body))
    found: list[ast.AST] = []
    while stack:
        node = stack.pop()
        found.append(node)
        kind = node.__class__
        fields = _OF_SCOPE.get(kind)
        if fields is None:
            fields = _OF_SCOPE[kind] = _fields_of(kind)[::-1]
        for name in fields:
            part = getattr(node, name, None)
            if part.__class__ is list:
                stack.extend(filter(None, reversed(part)))
            elif part is not None:
                stack.append(part)
    return found


def every_node(root: ast.AST) -> list[ast.AST]:
    """`root` and all below it, as `ast.walk` orders them."""
    found = [root]
    for node in found:  # grows
        fields = _FIELDS.get(node.__class__)
        for name in _fields_of(node.__class__) if fields is None else fields:
            part = getattr(node, name, None)
            if part.__class__ is list:
                found.extend(filter(None, part))
            elif part is not None:
                found.append(part)
    return found


def parents_of(root: ast.AST) -> dict[int, ast.AST]:
    """The node around each node below `root`, by id."""
    found: dict[int, ast.AST] = {}
    nodes = [root]
    for node in nodes:  # grows
        first = len(nodes)
        fields = _FIELDS.get(node.__class__)
        for name in _fields_of(node.__class__) if fields is None else fields:
            part = getattr(node, name, None)
            if part.__class__ is list:
                nodes.extend(filter(None, part))
            elif part is not None:
                nodes.append(part)
        for i in range(first, len(nodes)):
            found[id(nodes[i])] = node
    return found


def _fields_of(kind: type[ast.AST]) -> tuple[str, ...]:
    strings = _SAYING_LITTLE if kind.__name__ == "TypeAlias" else _SAYING_LITTLE | {"name"}
    found = _FIELDS[kind] = tuple(name for name in kind._fields if name not in strings)
    return found
