"""What stands around a place, held against a walk over the whole tree."""

from __future__ import annotations

import ast

from gradfix.rewrite.text import names
from gradfix.rewrite.text.scopes import path_to
from gradfix.source import Source

TEXT = """
import torch
total = 0
@torch.no_grad()
def f(x, y=0):
    h = x.exp(); k = 0
    for t in range(3):
        h = h * 2
        if t: z = 1; h[0] = z
        else: k = 2
    try:
        k = x.sin()
    finally:
        h = f"{h} {h.shape}"
    def g():
        global total
        total = h
        w = 1
        return lambda: w
    return g

class A:
    n = 0
    def m(self):
        self.n = 0; n = 1
        while n:
            n -= 1
        return n
async def last(u): return u
"""
SOURCE = Source.from_text("scopes.py", TEXT)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def below(node: ast.AST, wanted: ast.AST) -> bool:
    return node is not wanted and any(inner is wanted for inner in ast.walk(node))


def test_scopes_and_uses() -> None:
    tree = names.tree_of(SOURCE)
    for statement in statements():
        around = [node for node in ast.walk(tree) if isinstance(node, SCOPES) and below(node, statement)]
        check_uses(statement, around[-1] if around else tree)


def check_uses(statement: ast.stmt, scope: ast.AST) -> None:
    assert names.scope_of(SOURCE, statement) is scope
    inner = [n for n in ast.walk(scope) if isinstance(n, (*SCOPES[:2], ast.Lambda)) and n is not scope]
    for name in ("h", "k", "n", "w", "z", "total", "x", "absent"):
        place = ast.Name(name, ast.Load())
        seen = any(isinstance(n, ast.Name) and n.id == name for function in inner for n in ast.walk(function))
        assert names.visible_to_calls(SOURCE, statement, place) == seen
        given = [n for n in ast.walk(scope) if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name]
        assert names.starts_as_number(SOURCE, statement, place) == any(isinstance(n.value, ast.Constant) for n in given)


def statements() -> list[ast.stmt]:
    return [node for node in ast.walk(names.tree_of(SOURCE)) if isinstance(node, ast.stmt)]


def statement_at(line: int, column: int) -> ast.stmt:
    return next(s for s in statements() if (s.lineno, s.col_offset) == (line, column))


def test_what_is_dead() -> None:
    assert names.is_dead_after(SOURCE, statement_at(6, 17), "k") is False  # assigned below
    assert names.is_dead_after(SOURCE, statement_at(10, 14), "z") is False  # a later round
    assert names.is_dead_after(SOURCE, statement_at(12, 8), "k") is False  # `finally` comes behind it
    assert names.is_dead_after(SOURCE, statement_at(25, 20), "n") is False  # the loop reads it
    assert names.is_dead_after(SOURCE, statement_at(28, 8), "n") is True
    assert names.is_dead_after(SOURCE, statement_at(6, 4), "h") is False  # a function inside mentions it
    assert names.is_dead_after(SOURCE, statement_at(3, 0), "total") is False  # of the module
    assert names.is_dead_after(SOURCE, statement_at(29, 19), "u") is True


def test_paths_lead_up_to_the_module() -> None:
    tree = names.tree_of(SOURCE)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and not any(isinstance(n, ast.JoinedStr) for n in (node, *_up(parents, node))):
            assert path_to(tree, node) == tuple(_up(parents, node))


def _up(parents: dict[ast.AST, ast.AST], node: ast.AST) -> list[ast.AST]:
    return [] if node not in parents else [parents[node], *_up(parents, parents[node])]
