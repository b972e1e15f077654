"""What a function that is played does to gradients: the backward passes it starts, and the steps of optimizers."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from gradfix.analysis.domain.graph import Node
from gradfix.analysis.domain.reverse import Reverse
from gradfix.analysis.domain.values import Flows, Optimizer, Tensor


@dataclass(frozen=True, slots=True)
class Happened:
    """One of them, as it was when it took place."""

    kind: str  # "backward", or the method of an optimizer
    call: ast.Call
    certain: bool  # whenever the function is called
    tick: int  # when, on the clock that orders writes
    root: Tensor | None = None  # what is differentiated
    node: Node | None = None  # the graph behind it
    flows: Flows = frozenset()
    how: Reverse = field(default_factory=Reverse)
    optimizer: Optimizer | None = None
