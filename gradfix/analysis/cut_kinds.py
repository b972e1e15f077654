"""The ways in which a value loses its graph, and what that does to a loss."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class CutKind(Enum):
    """How a value is handed on without its graph."""

    TENSOR = "tensor"  # torch.tensor(t), torch.tensor([a, b]), x.new_tensor(t), torch.Tensor([a, b])
    NUMBER = "number"  # t.item(), float(t), t.tolist(), math.sqrt(t)
    DATA = "data"  # t.data
    DETACH = "detach"  # t.detach()
    PARAMETER = "parameter"  # nn.Parameter(t) of a computed t
    GRADIENTS_OFF = "gradients-off"  # computed under no_grad, used outside
    DISCRETE = "discrete"  # argmax, a comparison, an integer dtype or buffer
    FLAT = "flat"  # rounding: a graph, but gradients of zero
    NO_LEAF = "no-leaf"  # nothing was cut: nothing that the loss is computed from requires grad


class CutEffect(Enum):
    """What a cut does to a loss, most severe first."""

    NO_GRAPH = "no-graph"  # the loss has no graph at all: backward raises
    NUMBER = "number"  # the loss is a Python number: it has no backward
    NEW_LEAF = "new-leaf"  # the loss is a leaf of its own: gradients end there
    ZERO = "zero"  # every gradient is zero
    RETURNED = "returned"  # what is returned as a loss has no graph
    RETURNED_LEAF = "returned-leaf"  # what is returned as a loss is a leaf of its own
    STARVED = "starved"  # it has a graph, but what was cut gets a gradient from no loss, though one is waited for
    CONSTANT = "constant"  # the loss has a graph, but the term that was cut only adds a constant to it
    PARTIAL = "partial"  # the loss has a graph, and the values matter to it


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A piece of another file of the project."""

    file: str  # its name, for the reader
    line: int
    text: str  # on one line
