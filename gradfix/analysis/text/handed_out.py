"""Which names a scope hands to somebody who can tell what memory they share: returned, kept, given to a call.

Whoever has two views of one tensor sees in the one what is written to the other, after any fix, too.
"""

from __future__ import annotations

import ast

from gradfix import torch_ops
from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.nodes import every_node
from gradfix.analysis.text.scopes import Parents

_DISPLAYS = (ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Starred, ast.keyword, ast.IfExp, ast.BoolOp, ast.NamedExpr)
_VIEWS = frozenset({"T", "mT", "H", "mH", "real", "imag", "data"})
_LEAVING = (ast.Return, ast.Yield, ast.YieldFrom)
_READING = frozenset("print len float int bool str repr isinstance type id sum abs max min range".split())


def handed_out(parents: Parents, scope: ast.AST) -> frozenset[str]:
    """The names of `scope` that are handed out as they are, in a display, or as a view of them."""
    loaded = (node for node in every_node(scope) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    return frozenset(node.id for node in loaded if _is_handed_out(parents, node))


def _is_handed_out(parents: Parents, name: ast.Name) -> bool:
    inner: ast.AST = name
    outer = parents.of(name)
    while outer is not None:
        if isinstance(outer, ast.Call):
            if _is_view(outer) and (inner is outer.func or inner in outer.args[:1]):
                inner, outer = outer, parents.of(outer)
                continue
            return inner is not outer.func and not _computes(outer)
        if isinstance(outer, ast.Attribute):
            if outer.attr not in _VIEWS and not _is_view(parents.of(outer)):
                return False
        elif isinstance(outer, ast.Subscript):
            if inner is not outer.value or not isinstance(outer.ctx, ast.Load):
                return False
        elif not isinstance(outer, _DISPLAYS):
            return isinstance(outer, _LEAVING) or (isinstance(outer, ast.Assign) and not _is_taken(outer, inner))
        inner, outer = outer, parents.of(outer)
    return False


def _is_taken(statement: ast.Assign, value: ast.AST) -> bool:
    """`row = y[0]`, `a, b = y[0], y[1]`: views of the scope's own."""
    names = (ast.Name, ast.Tuple, ast.List)
    views = (ast.Subscript, ast.Attribute, ast.Call, ast.Tuple, ast.List)
    return all(isinstance(target, names) for target in statement.targets) and isinstance(value, views)


def _is_view(node: ast.AST | None) -> bool:
    """A call of a method or function of torch that gives a view of what it is called on or given first."""
    op = _op(node)
    return op is not None and any(output.view is not torch_ops.ViewKind.NONE for output in op.outputs)


def _computes(call: ast.Call) -> bool:
    return builtin(call.func) in _READING or _op(call) is not None


def _op(node: ast.AST | None) -> torch_ops.Operator | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    return torch_ops.method(node.func.attr) or torch_ops.function(ast.unparse(node.func))
