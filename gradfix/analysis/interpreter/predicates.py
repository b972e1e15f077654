"""Functions that only answer a question: `if is_plain(x):` where `is_plain` returns one expression about `x`."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Function
from gradfix.analysis.text.parameters import positional_of


def asked(m: Machine, state: State, call: ast.Call) -> ast.expr | None:
    """What a call asks about gradients, in terms of its arguments; None where it isn't that plain."""
    if call.keywords or not call.args or not all(isinstance(a, (ast.Name, ast.Attribute)) for a in call.args):
        return None
    callee = m.look(state, call.func) if isinstance(call.func, (ast.Name, ast.Attribute)) else None
    node = callee.info.node if isinstance(callee, Function) and callee.receiver is None else None
    if not isinstance(node, ast.FunctionDef) or not isinstance(node.body[-1], ast.Return):
        return None
    before, value = node.body[:-1], node.body[-1].value
    said = all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) for s in before)  # a docstring at most
    names = [a.arg for a in positional_of(node.args)]
    if value is None or not said or len(names) != len(call.args) or not _asks_for_gradients(value):
        return None
    return _Put(dict(zip(names, call.args, strict=True))).visit(copy.deepcopy(value))  # type: ignore[no-any-return]


def _asks_for_gradients(value: ast.expr) -> bool:
    return any(isinstance(part, ast.Attribute) and part.attr == "requires_grad" for part in ast.walk(value))


class _Put(ast.NodeTransformer):
    """Puts arguments in the place of parameters."""

    def __init__(self, given: Mapping[str, ast.expr]) -> None:
        self._given = given

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._given.get(node.id, node)
