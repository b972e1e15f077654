"""What can't require grad, told from a function's text: what `out=` computes with refuses gradients, or is frozen.

Measured (2.13): `torch.mul(a, b, out=y)` raises as soon as `a`, `b` or `y` requires grad and gradients are on. A
function that comes to such a call whatever its arguments are is written for data: what the operands are made of.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from gradfix.analysis.text.nodes import every_node, nodes_of


def refused(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> frozenset[str]:
    """The names of a function whose values go into an `out=` call that nothing in it can avoid."""
    if isinstance(node, ast.Lambda):
        return frozenset()
    if not any(inner.__class__ is ast.Call and _gives_out(inner) for inner in nodes_of(node)):
        return frozenset()
    found = {name for call in _out_calls(node.body) for name in _names(_operands(call))}
    if not found:
        return frozenset()
    made = [(set(_names(targets)), set(_names([value]))) for targets, value in _assignments(node)]
    while grown := {n for targets, values in made if targets & found for n in values} - found:
        found |= grown
    return frozenset(found)


@lru_cache(maxsize=64)
def freezes(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, last: int) -> bool:
    """Whether a function lets something require no grad by the line `last`: `p.requires_grad_(False)`."""
    return any(_is_freezing(inner) and getattr(inner, "lineno", last) <= last for inner in nodes_of(node))


def _is_freezing(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        given = [*node.args, *(k.value for k in node.keywords)]
        asks = isinstance(node.func, ast.Attribute) and node.func.attr == "requires_grad_"
        return asks and len(given) == 1 and _is_false(given[0])
    targets = node.targets if isinstance(node, ast.Assign) else ()
    flags = (t for t in targets if isinstance(t, ast.Attribute) and t.attr == "requires_grad")
    return isinstance(node, ast.Assign) and _is_false(node.value) and any(flags)


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _out_calls(body: Sequence[ast.stmt]) -> Iterator[ast.Call]:
    """Calls with `out=` in statements that run each time: not in a branch, nor where gradients may be off."""
    for statement in body:
        if isinstance(statement, (ast.For, ast.While)):
            yield from _out_calls(statement.body)
        elif isinstance(statement, (ast.Expr, ast.Assign, ast.AnnAssign, ast.Return)):
            yield from (n for n in every_node(statement) if isinstance(n, ast.Call) and _gives_out(n))


def _gives_out(call: ast.Call) -> bool:
    return any(
        k.arg == "out" and not (isinstance(k.value, ast.Constant) and k.value.value is None) for k in call.keywords
    )


def _operands(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(k.value for k in call.keywords)]


def _assignments(
    function: ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[tuple[list[ast.expr], ast.expr]]:
    for node in nodes_of(function):
        if isinstance(node, ast.Assign):
            yield node.targets, node.value
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)) and node.value is not None:
            yield [node.target], node.value


def _names(expressions: Iterable[ast.expr]) -> Iterator[str]:
    """Names whose values are used, not only asked for a size, a dtype or a device."""
    stack: list[ast.AST] = list(expressions)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            yield node.id
        elif not (isinstance(node, ast.Attribute) and node.attr in _ASKED):
            stack.extend(ast.iter_child_nodes(node))


_ASKED = frozenset("shape size dtype device dim ndim numel".split())
