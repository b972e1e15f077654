"""What a call is followed by: backward passes through what it left behind, and another call that finds that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch

from gradfix.backward.worker.messages import AGAIN, ARGUMENT, FAILED, MORE, OutcomeMessage
from gradfix.backward.worker.observe import Observer
from gradfix.backward.worker.results import consumed, tensors_of
from gradfix.backward.worker.state import Root, State

_MOST = 24  # tensors whose gradients are told
_LONG = 2.0  # seconds of a call that isn't made again
Roots = Callable[[], list[Root]]  # where to look for what calls leave


@dataclasses.dataclass
class Held:
    """What a call finds, as it was before: which objects, and in which version."""

    roots: Roots
    state: State
    given: list[tuple[torch.Tensor, int]]  # tensors handed over, with their versions

    @classmethod
    def by(cls, roots: Roots, given: Iterable[torch.Tensor]) -> Held:
        """What these lead to now."""
        state = State(None)
        state.walk(roots())
        return cls(roots, state, [(tensor, tensor._version) for tensor in given])

    def is_changed(self) -> bool:
        """Whether something is another object now, or was written to."""
        state = State(None)
        state.walk(self.roots())
        return state.found != self.state.found

    def written(self) -> dict[str, torch.Tensor]:
        """Tensors handed over that were written to since."""
        numbered = enumerate(self.given, 1)
        return {f"{ARGUMENT}{n}": tensor for n, (tensor, version) in numbered if tensor._version != version}


class Afterwards:
    """Adds it to the outcome of a call."""

    def __init__(
        self, observer: Observer, held: Held, left: dict[str, torch.Tensor], driven: Iterable[torch.Tensor]
    ) -> None:
        """`left` are tensors that the call left, by the expression that leads to each; others of them are `driven`."""
        self._observer, self._held = observer, held
        known = set(map(id, driven))
        self._left = {path: tensor for path, tensor in left.items() if id(tensor) not in known}
        self._is_changed = held.is_changed()
        self._seconds, _ = observer.clock.read()

    def tell(self, call: Callable[[], Any] | None) -> None:
        """The gradients through what is left, and what another `call` gives where the first changed what it finds."""
        outcome = self._observer.outcome
        if outcome is None:
            return
        for path, tensor in list(self._left.items())[:_MOST]:
            self._tell_gradients(outcome, path, [tensor])
        if call is None or not self._is_changed:
            return
        if self._seconds > _LONG:
            outcome["state"][MORE] = ""
            return
        with self._observer.paused():
            try:
                result = consumed(call())
            except Exception as error:
                outcome["state"][AGAIN] = f"{FAILED}{type(error).__qualname__}"
                return
        outcome["state"][AGAIN] = ""
        state = State(self._observer.wire)
        state.gradients = False  # they have come from the first call by now
        state.walk([("the result", result), *self._held.roots()])
        outcome["state"].update({path if path == MORE else path + AGAIN: told for path, told in state.found.items()})
        self._tell_gradients(outcome, AGAIN, tensors_of(result))

    def _tell_gradients(self, outcome: OutcomeMessage, path: str, tensors: Iterable[torch.Tensor]) -> None:
        roots = [tensor for tensor in tensors if tensor.requires_grad]
        if roots:
            outcome["gradients"][path] = self._observer.gradients(roots, cotangents(roots))


def cotangents(roots: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Fixed ones, another for each: a plain sum would hide what cancels in it."""
    found = []
    with torch._C.DisableTorchFunction():
        for index, root in enumerate(roots):
            generator = torch.Generator().manual_seed(104_729 + index)
            found.append(torch.randn(root.shape, generator=generator, dtype=torch.float32).to(root.dtype))
    return found
