"""What a call is followed by: backward passes through what it left behind, and another call that finds that."""

from __future__ import annotations

import dataclasses
import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import torch

from gradfix.backward.worker import tensors as wire
from gradfix.backward.worker.forked import can_fork, in_a_fork
from gradfix.backward.worker.messages import (
    AGAIN,
    ARGUMENT,
    LATER,
    MORE,
    PASSED,
    THIRD,
    TWICE,
    ErrorMessage,
    LeafMessage,
    StateMessage,
)
from gradfix.backward.worker.observe import Observer, accumulators
from gradfix.backward.worker.results import consumed, tensors_of
from gradfix.backward.worker.state import Root, State

_MOST = 24  # tensors whose gradients are told
_LONG = 1.0  # seconds of a processor that a call may take and is made again
_MORE_CALLS = 0.2  # the same for further calls, after which none beyond the third begins
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

    def now(self) -> dict[str, StateMessage]:
        """Which objects there are now, and in which version; plain values as they are."""
        state = State(None)
        state.walk(self.roots())
        return state.found

    def written(self) -> dict[str, torch.Tensor]:
        """Tensors handed over that were written to since."""
        numbered = enumerate(self.given, 1)
        return {f"{ARGUMENT}{n}": tensor for n, (tensor, version) in numbered if tensor._version != version}


class Afterwards:
    """Adds it to the outcome of a call."""

    def __init__(
        self, observer: Observer, held: Held, left: dict[str, torch.Tensor], driven: list[torch.Tensor], *, plain: bool
    ) -> None:
        """`left` are tensors that the call left, by the expression that leads to each; others of them are `driven`.

        In a `plain` run more is told.
        """
        self._observer, self._held, self._is_plain = observer, held, plain
        known = set(map(id, driven))
        self._left = {path: tensor for path, tensor in left.items() if id(tensor) not in known}
        self._driven = driven
        self._found = held.now()
        self._is_changed = self._found != held.state.found
        self._seconds, self._busy = observer.clock.read()[0], observer.clock.busy()

    def tell(self, call: Callable[[], Any] | None) -> None:
        """The gradients through what is left, and what another `call` gives where the first changed what it finds."""
        outcome = self._observer.outcome
        if outcome is None:
            return
        outcome["state"].update(self._passed())
        for path, tensor in list(self._left.items())[:_MOST]:
            if tensor.requires_grad:
                outcome["gradients"][path] = self._observer.gradients([tensor], cotangents([tensor]))
        if self._is_plain and self._busy <= _LONG:
            outcome["gradients"][TWICE] = self._through_gradients()
        if call is None or not self._is_changed or self._busy > _LONG or not can_fork():
            return
        again = in_a_fork(lambda: self._again(call), _WAIT + _WAIT * self._seconds)
        if again is None:
            again = {"state": {AGAIN: "gave nothing"}, "gradients": {}}
        outcome["state"].update(again["state"])
        outcome["gradients"].update(again["gradients"])

    def _through_gradients(self) -> list[LeafMessage] | ErrorMessage:
        """What the leaves would receive from a pass through their gradients; nothing where those have no graph."""
        roots = [root for root in self._driven if root.requires_grad]
        leaves = [node.variable for node in accumulators(roots)]
        with self._observer.paused():
            try:
                found = torch.autograd.grad(
                    roots, leaves, cotangents(roots), create_graph=True, retain_graph=True, allow_unused=True
                )
            except Exception as error:
                return wire.error(error, "")
        tracked = [(leaf, one) for leaf, one in zip(leaves, found) if one is not None and one.requires_grad]
        weights = [_cotangent(one, zlib.crc32(wire.digest(leaf).encode())) for leaf, one in tracked]
        return self._observer.gradients([one for _, one in tracked], weights) if tracked else []

    def _passed(self) -> dict[str, StateMessage]:
        """What the backward pass over the results has changed: hooks may do anything."""
        now = self._held.now()
        changed = [path for path, value in now.items() if self._found.get(path) != value]
        if not changed or MORE in now:
            return {}
        state = State(self._observer.wire)
        state.gradients = False
        state.walk(self._held.roots())
        return {path + PASSED: state.found[path] for path in changed if path in state.found}

    def _again(self, call: Callable[[], Any]) -> dict[str, Any]:
        """What a second and a third call give and leave, and in a plain run some more, which take little time."""
        told: dict[str, Any] = {"state": {}, "gradients": {}}
        until, late = time.process_time() + _MORE_CALLS, time.monotonic() + _WAIT / 2
        for when in (AGAIN, THIRD, *(LATER if self._is_plain else ())):
            if when in LATER and (time.process_time() > until or time.monotonic() > late):
                break
            one = self._once_more(call, when, whole=when not in LATER[:-1])
            told = {key: {**told[key], **one[key]} for key in told}
            if one["state"][when] != "":
                break
        return told

    def _once_more(self, call: Callable[[], Any], when: str, *, whole: bool) -> dict[str, Any]:
        """What another call gives and, as a `whole`, leaves, told under paths that end with `when`."""
        with self._observer.paused():
            try:
                result = consumed(call())
            except BaseException as error:
                return {"state": {when: f"raised {type(error).__qualname__}"}, "gradients": {}}
        state = State(self._observer.wire)
        state.gradients = False  # they have come from the first call by now
        state.walk([("the result", result), *(self._held.roots() if whole else ())])
        told = {path if path == MORE else path + when: value for path, value in state.found.items()}
        roots = [tensor for tensor in tensors_of(result) if tensor.requires_grad]
        gradients = {when: self._observer.gradients(roots, cotangents(roots))} if roots else {}
        return {"state": {when: "", **told}, "gradients": gradients}


def cotangents(roots: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Fixed ones, another for each: a plain sum would hide what cancels in it."""
    return [_cotangent(root, 104_729 + index) for index, root in enumerate(roots)]


def _cotangent(root: torch.Tensor, seed: int) -> torch.Tensor:
    with torch._C.DisableTorchFunction():
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(root.shape, generator=generator, dtype=torch.float32).to(root.dtype)
