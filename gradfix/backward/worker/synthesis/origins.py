"""Which parameters the names, attributes and statements of a function come from, as far as its text tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Union

Function = Union[ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda]


def parameters(function: Function) -> list[str]:
    """All names in the signature, in order."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return [one.arg for one in (*every, *filter(None, (given.vararg, given.kwarg)))]


def origins(function: Function) -> dict[str, frozenset[str]]:
    """For each local name, the parameters it may be computed from; `self.x` counts as the name ".x"."""
    known: dict[str, set[str]] = {name: {name} for name in parameters(function)}
    bindings = list(_bindings(function))
    for _ in range(3):
        for targets, value in bindings:
            sources = {s for name in mentioned(value) for s in known.get(name, {name} if name[0] == "." else ())}
            for target in targets:
                known.setdefault(target, set()).update(sources)
    return {name: frozenset(sources) for name, sources in known.items()}


def mentioned(node: ast.AST) -> set[str]:
    """Names in a piece of code; attributes of `self` as ".name"."""
    names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    own = {
        f".{child.attr}"
        for child in ast.walk(node)
        if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name) and child.value.id == "self"
    }
    return names | own


def statement_at(function: ast.AST, line: int) -> ast.AST | None:
    """What is run at a line: a simple statement, or the head of a compound one."""
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    around = [node for node in statements if node.lineno <= line <= (node.end_lineno or node.lineno)]
    best = max(around, key=lambda node: node.lineno, default=None)
    if isinstance(best, (ast.If, ast.While)):
        return best.test
    return best.iter if isinstance(best, ast.For) else best


def guards(function: ast.AST, line: int) -> Iterator[ast.expr]:
    """The conditions and loops on the way to a line, and conditions before it that may leave early."""
    for node in ast.walk(function):
        if isinstance(node, (ast.For, ast.AsyncFor)) and node.lineno < line <= (node.end_lineno or node.lineno):
            yield node.iter
        if isinstance(node, (ast.If, ast.While)):
            inside = node.lineno <= line <= (node.end_lineno or node.lineno)
            if inside or (node.lineno < line and any(isinstance(c, (ast.Return, ast.Raise)) for c in ast.walk(node))):
                yield node.test


def attributes(node: ast.ClassDef) -> set[str]:
    """What objects of a class have: methods, and what its methods assign to `self`."""
    names = {item.name for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))}
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store):
            names.add(child.attr)
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            names.add(child.target.id)
    return names


def _bindings(function: Function) -> Iterator[tuple[set[str], ast.AST]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            yield {name for target in node.targets for name in mentioned(target) - {"self"}}, node.value
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)) and node.value is not None:
            yield mentioned(node.target) - {"self"}, node.value
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            yield mentioned(node.target), node.iter
        elif isinstance(node, ast.NamedExpr):
            yield mentioned(node.target), node.value
