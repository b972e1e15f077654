"""What a call is followed by: backward passes through what it left behind, and another call that finds that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch

from gradfix.backward.worker.forked import can_fork, in_a_fork
from gradfix.backward.worker.messages import AGAIN, ARGUMENT, MORE, THIRD
from gradfix.backward.worker.observe import Observer
from gradfix.backward.worker.results import consumed, tensors_of
from gradfix.backward.worker.state import Root, State

_MOST = 24  # tensors whose gradients are told
_LONG = 1.0  # seconds of a call that isn't made again
_WAIT = 3.0  # seconds for a second call, and so many for each that the first took
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
            if tensor.requires_grad:
                outcome["gradients"][path] = self._observer.gradients([tensor], cotangents([tensor]))
        if call is None or not self._is_changed or self._seconds > _LONG or not can_fork():
            return
        again = in_a_fork(lambda: self._again(call), _WAIT + _WAIT * self._seconds)
        if again is None:
            again = {"state": {AGAIN: "gave nothing"}, "gradients": {}}
        outcome["state"].update(again["state"])
        outcome["gradients"].update(again["gradients"])

    def _again(self, call: Callable[[], Any]) -> dict[str, Any]:
        """What a second and a third call give and leave."""
        told = self._once_more(call, AGAIN)
        if told["state"][AGAIN] == "":
            third = self._once_more(call, THIRD)
            told = {key: {**told[key], **third[key]} for key in told}
        return told

    def _once_more(self, call: Callable[[], Any], when: str) -> dict[str, Any]:
        """What another call gives and leaves, told under paths that end with `when`."""
        with self._observer.paused():
            try:
                result = consumed(call())
            except BaseException as error:
                return {"state": {when: f"raised {type(error).__qualname__}"}, "gradients": {}}
        state = State(self._observer.wire)
        state.gradients = False  # they have come from the first call by now
        state.walk([("the result", result), *self._held.roots()])
        told = {path if path == MORE else path + when: value for path, value in state.found.items()}
        roots = [tensor for tensor in tensors_of(result) if tensor.requires_grad]
        gradients = {when: self._observer.gradients(roots, cotangents(roots))} if roots else {}
        return {"state": {when: "", **told}, "gradients": gradients}


def cotangents(roots: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Fixed ones, another for each: a plain sum would hide what cancels in it."""
    found = []
    with torch._C.DisableTorchFunction():
        for index, root in enumerate(roots):
            generator = torch.Generator().manual_seed(104_729 + index)
            found.append(torch.randn(root.shape, generator=generator, dtype=torch.float32).to(root.dtype))
    return found
