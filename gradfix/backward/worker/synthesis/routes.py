"""Ways into a file that lead to a line: functions to call, classes to build and what to call of the result.

Told from the text. A way is a head, the name of something of the module, and what follows after its parentheses.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Union

Definition = Union[ast.FunctionDef, ast.AsyncFunctionDef]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_CALLED = ("forward", "__call__")
_MADE = ("__init__", "__new__", "__post_init__", "reset_parameters")
MOST = 6


@dataclass(frozen=True)
class Route:
    """`Block` and then `.loss`: `Block(…).loss(…)`."""

    head: str
    method: str | None = None  # None: a function, or a class whose making is enough
    of_class: bool = False  # the head is called without an object first: `Block.make(…)`

    @property
    def text(self) -> str:
        """How it is called in reports."""
        return self.head if self.method is None else f"{self.head}.{self.method}"


def routes(tree: ast.Module, lines: Sequence[int]) -> list[Route]:
    """The ways that may lead to the lines, the straightest first; none for code of the module itself."""
    chains = [
        chain for chain in (_chain(tree, line) for line in lines) if any(isinstance(n, _FUNCTIONS) for n in chain)
    ]
    straight = [way for chain in chains for way in _ways(tree, chain)]
    around: list[Route] = []
    for chain in chains:
        for way in _ways(tree, chain):
            around += _through_callers(tree, way.method or way.head, chain)
    private = any(_is_private(way.method or way.head) for way in straight)
    ways = [*around, *straight] if private else [*straight, *around]
    return list(dict.fromkeys(ways))[:MOST]


def _is_private(name: str) -> bool:
    """Nobody but its own file calls it: what the callers there see is what counts."""
    return name.startswith("_") and not name.endswith("__")


def _chain(tree: ast.Module, line: int) -> list[ast.AST]:
    """The definitions around a line, the outermost first."""
    chain: list[ast.AST] = []
    body: list[ast.AST] = list(tree.body)
    while body:
        node = body.pop()
        if not getattr(node, "lineno", 0) <= line <= (getattr(node, "end_lineno", 0) or 0):
            continue
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            chain.append(node)
        body = list(ast.iter_child_nodes(node))
    return chain


def _ways(tree: ast.Module, chain: list[ast.AST]) -> Iterator[Route]:
    """From the outermost function or method of the chain."""
    classes: list[ast.ClassDef] = []
    for node in chain:
        if isinstance(node, ast.ClassDef):
            classes.append(node)
            continue
        assert isinstance(node, _FUNCTIONS)
        if not classes:
            yield Route(node.name)
            return
        path = ".".join(one.name for one in classes)
        names = _concrete(tree, classes[-1], path) if len(classes) == 1 else [path]
        for name in names:
            yield from _methods(name, node, _bases(classes[-1]))
        return


def _methods(name: str, node: Definition, bases: set[str]) -> Iterator[Route]:
    decorators = {ast.unparse(one).rpartition(".")[2] for one in node.decorator_list}
    if node.name in _MADE:
        yield Route(name, "__call__")
        yield Route(name)
    elif "Function" in bases and node.name in ("forward", "backward", "setup_context"):
        yield Route(name, "apply", of_class=True)
    elif decorators & {"staticmethod", "classmethod"}:
        yield Route(name, node.name, of_class=True)
    else:
        yield Route(name, "__call__" if node.name in _CALLED else node.name)


def _bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).rpartition(".")[2] for base in node.bases}


def _concrete(tree: ast.Module, node: ast.ClassDef, path: str) -> list[str]:
    """The class and those of the file that extend it; an abstract one comes last."""
    below = [
        other.name
        for other in tree.body
        if isinstance(other, ast.ClassDef) and other is not node and node.name in _bases(other)
    ]
    abstract = "ABC" in _bases(node) or any(
        isinstance(item, ast.FunctionDef) and ("abstractmethod" in ast.unparse(item) or _only_raises(item))
        for item in node.body
    )
    return [*below, path] if abstract else [path, *below]


def _only_raises(node: ast.FunctionDef) -> bool:
    body = [item for item in node.body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))]
    return len(body) == 1 and isinstance(body[0], ast.Raise)


def _through_callers(tree: ast.Module, name: str, chain: list[ast.AST], depth: int = 2) -> list[Route]:
    """Ways into what mentions the name, in the same class first."""
    own = [node for node in chain if isinstance(node, ast.ClassDef)]
    found: list[Route] = []
    for node in sorted(_definitions(tree), key=lambda one: one not in _of_classes(own)):
        if node in chain or node.name in (*_MADE, name) or not _mentions(node, name):
            continue
        ways = list(_ways(tree, _chain(tree, node.lineno)))
        found += ways
        if depth > 1:
            found += _through_callers(tree, node.name, [*chain, node], depth - 1)
    return found


def _of_classes(classes: list[ast.ClassDef]) -> list[ast.AST]:
    return [item for node in classes for item in node.body]


def _definitions(tree: ast.Module) -> list[Definition]:
    return [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]


def _mentions(node: Definition, name: str) -> bool:
    return any(
        (isinstance(child, ast.Name) and child.id == name) or (isinstance(child, ast.Attribute) and child.attr == name)
        for child in ast.walk(node)
    )
