"""The attributes that a class gives its objects, told from its text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from gradfix.analysis.text.nodes import every_node

# What a module is told to hold.
REGISTERING = frozenset({"add_module", "register_module", "register_buffer", "register_parameter"})


@lru_cache(maxsize=16)  # several questions are asked of one class, one after the other
def _nodes(node: ast.ClassDef) -> list[ast.AST]:
    return every_node(node)


@lru_cache(maxsize=256)
def given_names(node: ast.ClassDef) -> frozenset[str]:
    """The names that a class assigns to attributes of anything, registers, or defines in its body."""
    inside = {one.attr for one in _nodes(node) if isinstance(one, ast.Attribute) and not _is_read(one)}
    registered = {name for _, name, _ in registrations(node)}
    body = {
        target.id
        for statement in node.body
        if isinstance(statement, ast.Assign) or (isinstance(statement, ast.AnnAssign) and statement.value is not None)
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name)
    }
    return frozenset(inside | registered | body)


def assignments(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """What is assigned to attributes of `self`, by name."""
    for one in _nodes(node):
        if isinstance(one, (ast.Assign, ast.AnnAssign)) and one.value is not None:
            targets = one.targets if isinstance(one, ast.Assign) else [one.target]
            own = (t for t in targets if isinstance(t, ast.Attribute) and ast.unparse(t.value) == "self")
            yield from ((target.attr, one.value) for target in own)


def registrations(node: ast.ClassDef) -> Iterator[tuple[str, str, ast.expr | None]]:
    """Calls as `self.register_buffer("steps", value)`: method, name and value."""
    for one in _nodes(node):
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in REGISTERING:
            values = {keyword.arg: keyword.value for keyword in one.keywords}
            name = one.args[0] if one.args else values.get("name")
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                value = one.args[1] if len(one.args) > 1 else values.get("tensor", values.get("param"))
                yield one.func.attr, name.value, value


def _is_read(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Load)
