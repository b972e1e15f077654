"""What is told of ways to a value that bring no graph."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix.analysis.tensor_facts import TensorFacts
from gradfix.findings import Hazard, Severity


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor with a graph, under the name it has at some place."""

    name: str
    tensor: TensorFacts
    same_dtype: bool  # as what it is combined with there


@dataclass(frozen=True, slots=True)
class BareWay:
    """A tensor without a graph that a function returns on one of its ways, where another brings one with a graph."""

    node: ast.expr  # what is returned
    statement: ast.stmt
    test: ast.expr  # of tensor data, which decides
    when: bool | None  # the truth of the test that leads there; None: one of the cases of a `match` does
    function: str
    identity_ordinal: int
    tensor: TensorFacts
    proven: bool  # a backward has nothing else to go back through; else: a loss whose callers aren't known returns it
    operands: tuple[Operand, ...]  # in scope there, which the other ways go back to
    records: bool  # whether autograd may record what is computed there
    severity: Severity
    hazards: tuple[Hazard, ...]
