"""The ways out of a block of statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gradfix.analysis.domain.joins import join
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Value


class Exit(NamedTuple):
    """A way out of a function: the state there, and what it brings."""

    state: State
    value: Value
    at: ast.Return
    records: bool  # whether autograd may record what is computed there
    branch: ast.If | None = None  # the innermost `if` on tensor data that decides whether it is taken


@dataclass(slots=True)
class Flow:
    """The ways out of a block."""

    after: State | None
    breaks: list[State] = field(default_factory=list)
    continues: list[State] = field(default_factory=list)
    returns: list[Exit] = field(default_factory=list)
    raises: list[State] = field(default_factory=list)  # at each `raise`, in its own function

    def absorb(self, other: Flow) -> None:
        """Add the exits of an inner block, except its normal end."""
        if other.leaves:
            self.breaks.extend(other.breaks)
            self.continues.extend(other.continues)
            self.returns.extend(other.returns)
        self.raises.extend(other.raises)

    def ends(self) -> Iterator[State]:
        """The state at every way out."""
        if self.after is not None:
            yield self.after
        yield from self.breaks
        yield from self.continues
        yield from (exit.state for exit in self.returns)
        yield from self.raises

    @property
    def leaves(self) -> bool:
        """True when some way doesn't lead to the statement that follows."""
        return bool(self.returns or self.breaks or self.continues)


def join_all(states: Sequence[State], branch: ast.stmt | None) -> State | None:
    """What holds when any of the states may have been reached."""
    result: State | None = None
    for state in states:
        result = state if result is None else join(result, state, branch)
    return result
