"""What codemods are told of optimizers that step too early."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix.analysis.cut_kinds import Elsewhere
from gradfix.findings import Hazard, Severity


@dataclass(frozen=True, slots=True)
class EarlyStep:
    """An optimizer steps, in place, over parameters that a backward after it needs as they were."""

    node: ast.Call
    statement: ast.stmt
    function: str
    identity_ordinal: int
    severity: Severity
    hazards: tuple[Hazard, ...]  # each with the place that saved the parameters
    elsewhere: Elsewhere | None = None  # the step itself, when `node` calls a function of another file
