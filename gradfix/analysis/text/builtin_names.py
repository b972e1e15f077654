"""Which names are Python's own: `range` is something else where the file defines, imports or binds it."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator

from gradfix.analysis.text.names import FUNCTIONS, SCOPES, imports_of
from gradfix.analysis.text.nodes import every_node, nodes_of

BUILTINS = frozenset(dir(builtins))
_OTHER = "stands_for_other"  # the attribute of a name's node that is none of Python's own
_SCOPES = frozenset(SCOPES)
_NAMED = frozenset({ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar})
_BINDING = _NAMED | {ast.Name, ast.Import, ast.ImportFrom, ast.MatchMapping}
_Names = frozenset[str]

# What `import *` takes of names that Python has (torch 2.4 and 2.13, NumPy 2.4): any other module may pass on NumPy's.
_NUMPYS = frozenset({"abs", "all", "any", "bool", "divmod", "max", "min", "pow", "round", "sum"})
_TORCHS = _NUMPYS - {"divmod"} | {"compile", "complex", "float", "int", "range"}
_STARS = {
    "torch": _TORCHS,
    "math": frozenset({"pow"}),
    "os": frozenset({"open"}),
    **dict.fromkeys(("torch.nn", "torch.nn.functional", "torch.autograd", "typing", "builtins"), frozenset[str]()),
}
_Inner = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Scope = ast.Module | _Inner


def builtin(node: ast.AST | None) -> str:
    """The function or type of Python's own that `node` names, as "range"; "" for all else.

    Only in a tree that went through `mark_others`.
    """
    return node.id if isinstance(node, ast.Name) and node.id in BUILTINS and not is_other(node) else ""


def is_other(node: ast.AST) -> bool:
    """Whether a name that Python has, too, is bound by the file where `node` stands."""
    return getattr(node, _OTHER, False)


def mark_others(tree: ast.Module) -> ast.Module:
    """Mark each name of `tree` that is spelled as one of Python's own, and stands for something else; gives `tree`."""
    waiting: list[tuple[_Scope, _Names]] = [(tree, frozenset())]  # each scope, with what is others' around it
    said_global: set[str] = set()
    for scope, around in waiting:  # grows
        bound, foreign, scopes = _of_scope(scope)
        said_global |= foreign
        visible = around | bound
        _mark(nodes_of(scope), visible)
        seen_inside = around if isinstance(scope, ast.ClassDef) else visible
        for inner in scopes:
            if not isinstance(inner, ast.ClassDef) and visible:
                _mark(every_node(inner.args), visible)
            waiting.append((inner, seen_inside))
    if said_global:  # by a function, which may bind it for all
        _mark(every_node(tree), frozenset(said_global))
    return tree


def bound_by(node: ast.AST) -> Iterator[str]:
    """The names that a node binds by itself; for `import *` those of Python's that the module may have, too."""
    kind = node.__class__
    if kind is ast.Name:
        if node.ctx.__class__ is not ast.Load:  # type: ignore[attr-defined]  # of a name
            yield node.id  # type: ignore[attr-defined]
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        own = ("builtins", "six.moves")  # what these have under the name is Python's
        yield from (local for local, name in imports_of(node) if name not in [f"{module}.{local}" for module in own])
        if any(alias.name == "*" for alias in node.names):
            yield from _STARS.get(getattr(node, "module", None) or "", _NUMPYS)
    elif kind is ast.MatchMapping:
        yield from filter(None, (node.rest,))  # type: ignore[attr-defined]
    elif kind in _NAMED:
        yield from filter(None, (node.name,))  # type: ignore[attr-defined]


def _of_scope(scope: _Scope) -> tuple[_Names, _Names, list[_Inner]]:
    """Python's names that a scope binds for itself, those it says are of others, and the scopes inside."""
    bound: set[str] = set()
    foreign: set[str] = set()
    scopes: list[_Inner] = []
    if isinstance(scope, FUNCTIONS):
        bound.update(node.arg for node in every_node(scope.args) if isinstance(node, ast.arg))
    for node in nodes_of(scope):
        kind = node.__class__
        if kind is ast.Name:
            if node.ctx.__class__ is not ast.Load:  # type: ignore[attr-defined]  # of a name
                bound.add(node.id)  # type: ignore[attr-defined]
        elif kind in _BINDING:
            bound.update(bound_by(node))
        if kind in _SCOPES:
            scopes.append(node)  # type: ignore[arg-type]  # it is one
        elif kind is ast.Global or kind is ast.Nonlocal:
            foreign.update(node.names)  # type: ignore[attr-defined]
    return frozenset(bound - foreign) & BUILTINS, frozenset(foreign) & BUILTINS, scopes


def _mark(nodes: Iterable[ast.AST], others: _Names) -> None:
    if others:
        for node in nodes:
            if node.__class__ is ast.Name and node.id in others:
                setattr(node, _OTHER, True)
