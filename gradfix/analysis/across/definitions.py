"""What the text of a module tells of its classes, functions and variables, before anything in it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache

from gradfix.analysis.effects import Parameter
from gradfix.analysis.text.nodes import nodes_of

Function = ast.FunctionDef | ast.AsyncFunctionDef


@lru_cache(maxsize=512)
def methods_of(node: ast.ClassDef) -> dict[str, Function]:
    """The methods that stand in a class; of several with one name, the first."""
    methods = (s for s in reversed(node.body) if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return {method.name: method for method in methods}


@lru_cache(maxsize=512)
def asked_of_object(node: Function) -> frozenset[str]:
    """The attributes that a method reads or sets of its first parameter."""
    first = next(iter((*node.args.posonlyargs, *node.args.args)), None)
    return frozenset(
        one.attr
        for one in nodes_of(node)
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and first and one.value.id == first.arg
    )


def is_read(node: Function) -> bool:
    """Whether it is a property: called where its name is read."""
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def holders_made(statement: ast.Assign | ast.AnnAssign) -> Iterator[str]:
    """The variables that get what is made here: of a call, or a collection of them."""
    if isinstance(statement.value, (ast.Call, ast.Dict, ast.List, ast.Tuple, ast.DictComp, ast.ListComp)):
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            if isinstance(target, ast.Name):
                yield target.id


def dotted(node: ast.expr) -> str:
    """The text of an expression, mostly a name or one with dots."""
    rest = ""
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        rest = f".{inner.attr}{rest}"
        inner = inner.value
    return inner.id + rest if isinstance(inner, ast.Name) else ast.unparse(node)


def parameters_stepping(node: Function | None, parameters: Sequence[Parameter]) -> tuple[int, ...]:
    """The places of those without a default whose `step` or `zero_grad` a function calls: optimizers, mostly."""
    called = (one.func for one in nodes_of(node) if isinstance(one, ast.Call)) if node is not None else ()
    owners = (f.value for f in called if isinstance(f, ast.Attribute) and f.attr in ("step", "zero_grad"))
    names = {owner.id for owner in owners if isinstance(owner, ast.Name)}
    return tuple(place for place, p in enumerate(parameters) if not p.has_default and p.name in names)


def parameters_called(node: Function | None, parameters: Sequence[Parameter]) -> tuple[int, ...]:
    """The places of those without a default that a function calls: networks, mostly."""
    called = (one.func for one in nodes_of(node) if isinstance(one, ast.Call)) if node is not None else ()
    names = {func.id for func in called if isinstance(func, ast.Name)}
    return tuple(place for place, p in enumerate(parameters) if not p.has_default and p.name in names)
