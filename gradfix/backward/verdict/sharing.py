"""Which of the tensors that a caller holds after a call share memory: it may write to one of them."""

from __future__ import annotations

from gradfix.backward.protocol import Ended, Tensor
from gradfix.backward.verdict.compare import DiffersError
from gradfix.backward.worker.messages import ARGUMENT, RESULT


def same_sharing(before: Ended, after: Ended) -> None:
    """Raises `DiffersError` where two tensors that both runs have share memory in one of them only."""
    if before.sharing is None or after.sharing is None:
        return
    known = _held(before) & _held(after)
    for one, other in sorted(before.sharing ^ after.sharing):
        if one in known and other in known:
            when = "before, not after" if (one, other) in before.sharing else "after, not before"
            told = " and ".join(map(_what, (one, other)))
            raise DiffersError(f"{told} share memory {when}: a write to one changes the other")


def _held(ended: Ended) -> set[str]:
    """The paths to tensors."""
    results = (f"{RESULT}{number}" for number in range(1, len(ended.results) + 1))
    arguments = (f"{ARGUMENT}{number}" for number in range(1, len(ended.arguments) + 1))
    return {*results, *arguments, *(path for path, value in ended.state.items() if isinstance(value, Tensor))}


def _what(path: str) -> str:
    return path if path.startswith((RESULT, ARGUMENT)) else f"`{path}`"
