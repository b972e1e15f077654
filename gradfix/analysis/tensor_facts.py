"""What is known of one tensor; what isn't proven is `None` or `MAYBE`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Tracked(Enum):
    """Whether autograd records what happens to a tensor."""

    NO = "no"
    MAYBE = "maybe"  # depends on the caller, the data, or something the analysis can't see
    YES = "yes"


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What is known of a tensor just before the statement in question."""

    tracked: Tracked = Tracked.MAYBE
    leaf: bool = False  # certainly a leaf that requires grad
    dtype: str | None = None  # "float32", "int64", "bool", …; None: unknown (also under autocast)
    floating: bool = False  # proven to be of a floating or complex dtype, whichever it is
    shape: tuple[int | None, ...] | None = None  # None: rank unknown; None as item: that size unknown
    expanded: bool = False  # may have several indices for one memory cell
    transposed: bool = False  # its dimensions lie in memory in another order, as far as one can see
    plain: bool = True  # not known to be a subclass, sparse or complex layout that a twin may treat differently
    device: str | None = None  # "default" of factories without `device=`, "cpu", "cuda:0", …; None: unknown

    @property
    def rank(self) -> int | None:
        """Number of dimensions, or None."""
        return None if self.shape is None else len(self.shape)
