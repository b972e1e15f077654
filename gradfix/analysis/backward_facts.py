"""What is told of what comes after a backward: another one, and gradients of tensors that keep none."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix.analysis.cut_kinds import Elsewhere
from gradfix.findings import Hazard, Severity


@dataclass(frozen=True, slots=True)
class SecondBackward:
    """A backward through a graph that was freed by a backward before it."""

    node: ast.Call
    statement: ast.stmt
    function: str
    identity_ordinal: int
    first: ast.Call  # the one that freed it; `node` itself in a later round of a loop, or where its function ran twice
    severity: Severity
    hazards: tuple[Hazard, ...]
    looped: bool = False  # in a later round of a loop
    shared: ast.expr | None = None  # the call of a network from elsewhere that both pass
    stepped: ast.Call | None = None  # the step in between that updates the parameters of that network
    of_gradients: bool = False  # of a loss that is computed from the gradients which `first` gave
    elsewhere: Elsewhere | None = None  # the backward itself, when `node` calls a function of another file
    freed_elsewhere: Elsewhere | None = None  # the same of `first`


@dataclass(frozen=True, slots=True)
class NonLeafGrad:
    """`.grad` of a tensor that was computed, or an optimizer over one."""

    node: ast.expr
    statement: ast.stmt
    function: str
    identity_ordinal: int
    target: ast.expr  # the tensor
    made: ast.expr | None  # the expression that computed it
    leaf: ast.expr | None  # the only leaf it was computed from
    by_optimizer: bool
    severity: Severity
    hazards: tuple[Hazard, ...]
