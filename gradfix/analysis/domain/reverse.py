"""What a call that goes back is told, beside what it goes back from."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradfix.analysis.domain.graph import Node
from gradfix.analysis.domain.values import NONE, Const, Value

# The parameters of what goes back, in their order; of the method without the tensor.
METHOD = ("gradient", "retain_graph", "create_graph", "inputs")
BACKWARD = ("tensors", "grad_tensors", "retain_graph", "create_graph", "grad_variables", "inputs")
GRAD = ("outputs", "inputs", "grad_outputs", "retain_graph", "create_graph")


@dataclass(frozen=True, slots=True)
class Reverse:
    """How a call goes back."""

    has_gradient: bool = False  # of its root: which needn't have one element then
    ends: Sequence[Node] | None = None  # what alone it goes back to, none if nobody knows; None: every leaf
    retained: bool = False  # it keeps the graph, or may
    accumulates: bool = True  # into `.grad`, as `backward` does and `grad` doesn't


def bound(parameters: Sequence[str], args: Sequence[Value], keywords: Mapping[str, Value]) -> dict[str, Value]:
    """What a call gives, by the names of the parameters."""
    return {**dict(zip(parameters, args, strict=False)), **keywords}


def retains(given: Mapping[str, Value], call: ast.Call) -> bool:
    """Whether the graph is kept, or may be: by a setting that isn't known, or by arguments that the call spreads.

    `retain_graph` decides; where it isn't given, or None, it is what `create_graph` is.
    """
    if any(isinstance(one, ast.Starred) for one in call.args) or any(k.arg is None for k in call.keywords):
        return True
    said = given.get("retain_graph", NONE)
    decides = given.get("create_graph", NONE) if said == NONE else said
    return not (isinstance(decides, Const) and not decides.value)
