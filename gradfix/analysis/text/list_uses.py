"""Arguments that may as well be lists: a function takes and replaces their items, by number, and does nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeGuard

from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.nodes import Function, every_node, nodes_of

_COUNTING = ("range", "enumerate")
_TAKING = ("len", "enumerate", "zip", "reversed", "list", "tuple", "iter")


def used_as_lists(node: Function) -> frozenset[str]:
    """Names used as in `for i in range(len(x)): x[i] = self.layers[i](x[i])`, which tells nothing of a tensor."""
    counters = _counters(node)
    numbered = [inner for inner in nodes_of(node) if _is_numbered(inner, counters)]
    names = {inner.value.id for inner in numbered if isinstance(inner.value, ast.Name)}
    if not names:
        return frozenset()
    fitting = {id(use) for inner in every_node(node) for use in _uses(inner)} | {id(inner.value) for inner in numbered}
    others = (inner for inner in every_node(node) if isinstance(inner, ast.Name) and id(inner) not in fitting)
    return frozenset(names.difference(inner.id for inner in others))


def _counters(node: Function) -> frozenset[str]:
    """Variables that count in the loops of a function."""
    found: set[str] = set()
    for inner in nodes_of(node):
        if isinstance(inner, (ast.For, ast.AsyncFor, ast.comprehension)) and isinstance(inner.iter, ast.Call):
            first = inner.target.elts[0] if isinstance(inner.target, ast.Tuple) else inner.target
            if builtin(inner.iter.func) in _COUNTING and isinstance(first, ast.Name):
                found.add(first.id)
    return frozenset(found)


def _is_numbered(node: ast.AST, counters: frozenset[str]) -> TypeGuard[ast.Subscript]:
    """Whether this is `x[0]`, `x[-1]`, `x[i]` or `x[i + 1]` with a counter `i`."""
    if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)):
        return False
    parts = [part for part in every_node(node.slice) if not isinstance(part, (ast.BinOp, ast.UnaryOp))]
    return all(
        part.id in counters
        if isinstance(part, ast.Name)
        else isinstance(part, ast.Constant) and type(part.value) is int
        for part in parts
    )


def _uses(node: ast.AST) -> Iterator[ast.expr]:
    """What `node` uses as lists can be used, too."""
    if isinstance(node, ast.Call) and builtin(node.func) in _TAKING:
        yield from node.args
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        yield node.iter
    elif isinstance(node, (ast.Return, ast.Yield, ast.Starred)) and node.value is not None:
        yield node.value
    elif isinstance(node, ast.Compare) and all(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
        yield node.left
