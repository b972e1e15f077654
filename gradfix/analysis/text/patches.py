"""Attributes that a text sets on classes and modules from outside: `Act.half = halved`, `config.INPLACE = False`."""

from __future__ import annotations

import ast
from functools import lru_cache

from gradfix.analysis.text.nodes import every_node

_OBJECTS = frozenset({"self", "cls"})


@lru_cache(maxsize=64)  # a module has several classes
def patched(tree: ast.Module) -> frozenset[tuple[str, str]]:
    """The last names of what has an attribute set, each with the attribute's."""
    return frozenset(found for node in every_node(tree) if (found := _patch(node)) is not None)


def _patch(node: ast.AST) -> tuple[str, str] | None:
    owner, name = None, ""
    if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
        owner, name = node.value, node.attr
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
        asked = node.args[1] if len(node.args) == 3 else None
        if isinstance(asked, ast.Constant) and isinstance(asked.value, str):
            owner, name = node.args[0], asked.value
    last = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    return (last, name) if last and last not in _OBJECTS else None
