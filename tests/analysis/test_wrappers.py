"""What decorators do to what they decorate, told from their text."""

from __future__ import annotations

import ast

import pytest

from gradfix.analysis.text.wrappers import alters

SAME = (
    "return fn(*args)",
    "out = fn(*args)\n        print(out)\n        return out",
    "return fn(*args, 3)",
    "print(fn(*args))",
    "return other(fn, *args)",
)
CHANGED = (
    "return fn(*args).clone()",
    "out = fn(*args)\n        out = out + 1\n        return out",
    "return fn(*[a.clone() for a in args])",
    "args = tuple(a.clone() for a in args)\n        return fn(*args)",
    "out = fn(*args)\n        return {'out': out}",
)


def decorator(body: str) -> ast.FunctionDef:
    node = ast.parse(f"def decorate(fn):\n    def wrapper(*args):\n        {body}\n    return wrapper\n").body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


@pytest.mark.parametrize("body", SAME)
def test_what_hands_on_alters_nothing(body: str) -> None:
    assert not alters(decorator(body))


@pytest.mark.parametrize("body", CHANGED)
def test_what_computes_with_it_alters_it(body: str) -> None:
    assert alters(decorator(body))


def test_a_lambda_is_a_wrapper_too() -> None:
    (node,) = ast.parse("def each(fn):\n    return lambda *args: fn(*args).clone()\n").body
    assert isinstance(node, ast.FunctionDef)
    assert alters(node)
