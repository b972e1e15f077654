"""Verbs are imported when they are first named, and what a type checker sees is what there is."""

from __future__ import annotations

import ast
import inspect

import pytest

from gradfix import rewrite

DECLARED = {
    alias.asname: f"{node.module}.{alias.name}"
    for node in ast.walk(ast.parse(inspect.getsource(rewrite)))
    if isinstance(node, ast.ImportFrom) and str(node.module).startswith("gradfix.")
    for alias in node.names
}


def test_each_verb_is_the_one_that_a_type_checker_sees() -> None:
    found = {name: getattr(rewrite, name) for name in rewrite._HOMES}
    assert {name: f"{verb.__module__}.{verb.__name__}" for name, verb in found.items()} == DECLARED


def test_another_name_is_no_verb() -> None:
    with pytest.raises(AttributeError, match="rebound"):
        rewrite.rebound  # noqa: B018
