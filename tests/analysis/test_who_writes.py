"""Which functions of another file may write to an argument, as far as their text tells."""

from __future__ import annotations

import ast

import pytest

from gradfix.analysis.text.parameter_writes import ParameterWrites
from gradfix.analysis.text.write_spellings import Spellings

RING = """
def a(x):
    b(x)
    c(x)

def b(x):
    a(x)

def c(x):
    x[0] = 1

def d(x):
    return x + 1
"""


@pytest.mark.parametrize("asked", ["abcd", "badc", "dcba"])
def test_functions_that_call_each_other_write_if_one_leads_to_a_write(asked: str) -> None:
    for one in (Spellings(RING), ParameterWrites(ast.parse(RING))):
        assert {name: one.may_write(name) for name in asked} == {"a": True, "b": True, "c": True, "d": False}


@pytest.mark.parametrize(
    ("body", "writes"),
    [
        ("    x += y\n", True),
        ("    x['mean'] += y\n", True),
        ("    x['mean'] = y\n", False),
        ("    x += (y,)\n", False),
        ("    kept = (x,)\n    kept += y\n", False),
        ("    kept = [x]\n    kept = kept[1:] + [y]\n    kept += y\n", False),
        ("    kept = [x]\n    kept[0] += y\n", True),
        ("    kept = (x,)\n    kept = x\n    kept += y\n", True),
    ],
)
def test_what_grows_is_no_tensor(body: str, *, writes: bool) -> None:
    assert ParameterWrites(ast.parse(f"def f(x, y):\n{body}")).may_write("f") is writes
