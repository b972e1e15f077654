"""How a run departs from the plain one: other seeds, scaled inputs, leaves under our control, double precision.

One `TorchFunctionMode` sees every factory call. It is installed only when a run asks for one of these, so the plain
run is torch's own. The same departures are made for the original and for the rewritten text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gradfix.backward.worker.messages import NARROW, NUMBERS
from gradfix.backward.worker.origin import Origin, Origins, tensors_among
from gradfix.backward.worker.requests import Plan

Function = Callable[..., Any]

_RANDOM = {torch.randn, torch.rand, torch.normal, torch.randn_like, torch.rand_like}
_FILLED = {torch.tensor, torch.zeros, torch.ones, torch.full, torch.arange, torch.linspace, torch.eye} | {
    torch.zeros_like,
    torch.ones_like,
    torch.full_like,
    torch.as_tensor,
}
_REFILLS = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.exponential_, torch.Tensor.random_} | {
    function for name, function in vars(torch.nn.init).items() if name.endswith("_") and not name.startswith("_")
}
_DETACHING = {torch.Tensor.detach, torch.detach}
_SHAPES_ONLY = {torch.zeros_like, torch.ones_like, torch.empty_like, torch.rand_like, torch.randn_like} | {
    getattr(torch.Tensor, name) for name in ("size", "dim", "numel", "stride", "__len__", "is_floating_point")
}
_SETTING = ("__setitem__", "__set__")  # what they write to comes first
_SHAPES = ("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf")
_TO_NUMBERS = {torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.__float__, torch.Tensor.numpy, torch.tensor}
_TORCH_FOLDER = os.path.dirname(torch.__file__) + os.sep
_TRANSPARENT = ("grad_mode.py", "_contextlib.py")  # frames between the user's `no_grad` and the switch itself
_MODE = "__torch_function__"
_LESS_THAN_DOUBLE = {torch.float32, torch.float16, torch.bfloat16}


class Leaves:
    """The leaves of a run in the order they were made, and what stops gradients on purpose in it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tracked: list[torch.Tensor] = []
        self.stops: set[str] = set()
        self.scaling = True  # whether what is drawn at random is scaled
        self.lets_numbers_through = False  # a number that stands for what leaves were moved by: made a leaf, it is none
        self.detached: dict[int, torch.Tensor] = {}  # what `detach` returned, by id
        self.ignored: dict[int, torch.Tensor] = {}  # leaves of our own making that stand for nothing of the user's
        self.labels: dict[int, str] = {}  # names of leaves that no variable of the user holds, by id
        self.after_pass: Callable[[], None] = lambda: None  # done when a backward pass is over
        self._ordinal: dict[int, int] = {}
        self._derived: list[tuple[torch.Tensor, torch.Tensor]] = []  # (what the user holds, the leaf behind it)
        self.origins = Origins()

    def hidden(self) -> dict[int, torch.Tensor]:
        """The leaf behind each tensor that the user holds in its place, by id of the latter."""
        return {id(derived): leaf for derived, leaf in self._derived}

    def handed_out(self) -> list[torch.Tensor]:
        """What the user holds in the place of leaves."""
        return [derived for derived, _ in self._derived] if self.plan.fresh_leaves else []

    def note_roots(self, roots: list[torch.Tensor]) -> None:
        """What backward starts from counts as used."""
        if any(id(root) in self.detached for root in roots):
            self.stops.add("detach")

    @property
    def scales(self) -> bool:
        """Whether inputs are other than the program makes them."""
        return self.plan.scale != 1.0 or self.plan.ties

    def scale(self, tensor: torch.Tensor) -> None:
        """Multiply a freshly made floating tensor in place, once, without bumping its version.

        What was computed from leaves may share their memory, which they have been saved with: it stays as it is.
        """
        if not self.scales or not tensor.is_floating_point():
            return
        origin = self.origins.of(tensor)
        with torch.no_grad():
            if origin is Origin.OWN:
                _numbers(tensor).mul_(self.plan.scale)
            if origin is not Origin.COMPUTED and self.plan.ties:
                _numbers(tensor).mul_(2).round_().div_(2)
        self.origins.note(tensor, max(origin, Origin.SCALED))

    def hand_over(self, tensor: torch.Tensor) -> None:
        """The same for what a call is given, which may be of another type or hold no numbers, too."""
        self.scale(tensor)
        if self.plan.wide and tensor.dtype == torch.float32:
            tensor.data = tensor.data.double()
        if self.plan.nan and tensor.is_floating_point() and tensor.dim() and tensor.numel():
            tensor.data[(-1,) * tensor.dim()] = float("nan")

    def follow(self, leaf: torch.Tensor) -> torch.Tensor:
        """Take a new leaf into account. Returns what the user gets: the leaf, or `leaf * 1`."""
        if not (leaf.is_floating_point() or leaf.is_complex()) or id(leaf) in self._ordinal:
            return leaf
        self._ordinal[id(leaf)] = len(self.tracked)
        self.tracked.append(leaf)
        self.move(leaf)
        if not self.plan.fresh_leaves:
            return leaf
        derived = leaf * 1
        self.keep(derived, leaf)
        return derived

    def follow_parameter(self, parameter: torch.Tensor) -> None:
        """Take a parameter into account where it stands: modules hold it, so nothing else can be handed out."""
        self._ordinal[id(parameter)] = len(self.tracked)
        self.tracked.append(parameter)
        self.move(parameter)

    def keep(self, derived: torch.Tensor, leaf: torch.Tensor) -> None:
        """Remember that the user holds `derived` where the gradient arrives at `leaf`."""
        if self.scales:
            self.origins.note(derived, self.origins.of(leaf))
        self._derived.append((derived, leaf))

    def name(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Call leaves by the expressions that lead to them, or to what the user holds in their place."""
        hidden = self.hidden()
        for path, tensor in tensors.items():
            self.labels.setdefault(id(hidden.get(id(tensor), tensor)), path)

    def move(self, leaf: torch.Tensor) -> None:
        """Add `step` times the direction to a tracked leaf."""
        if self.plan.direction is not None and self.plan.step and id(leaf) in self._ordinal:
            with torch._C.DisableTorchFunction():
                leaf.data.add_(self.direction(self.plan.direction, leaf).to(leaf.dtype), alpha=self.plan.step)

    def direction(self, number: int, leaf: torch.Tensor) -> torch.Tensor:
        """A unit vector in the leaf's shape that depends on its place among the leaves alone."""
        with torch._C.DisableTorchFunction():
            generator = torch.Generator().manual_seed(7919 * (number + 1) + self._ordinal[id(leaf)])
            vector = torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
            return vector / vector.norm().clamp_min(1e-30)

    def derivative(self, number: int, gradients: dict[int, torch.Tensor]) -> float:
        """Derivative along direction `number` from the gradients, by id of leaf; absent ones are zero."""
        total = 0.0
        for leaf in self.tracked:
            gradient = gradients.get(id(leaf))
            if gradient is not None:
                with torch._C.DisableTorchFunction():
                    total += float((gradient.detach().to(torch.float64) * self.direction(number, leaf)).sum())
        return total

    def fill_gradients(self) -> None:
        """Give zeros to the leaves that have no gradient yet, for what is done with gradients after a pass."""
        with torch._C.DisableTorchFunction():
            for leaf in self.tracked:
                if leaf.is_leaf and leaf.requires_grad and leaf.grad is None:
                    leaf.grad = torch.zeros_like(leaf)

    def is_tracked(self, leaf: torch.Tensor) -> bool:
        """Whether the leaf can be moved."""
        return id(leaf) in self._ordinal


class Departure(TorchFunctionMode):  # type: ignore[misc]  # torch's stubs are not followed
    """Carries out a `Plan` on every torch call of the program."""

    def __init__(self, leaves: Leaves) -> None:
        super().__init__()
        self._leaves = leaves
        self._plan = leaves.plan
        self._data_views: dict[int, torch.Tensor] = {}  # results of `.data`, kept alive so that ids stay theirs

    def __torch_function__(
        self, function: Function, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if self._plan.double:
            self._look_for_stops(function, args)
            self._look_for_detached(function, [*args, *keywords.values()])
        hashable = _known(function)
        origin = self._origin(hashable, [*args, *keywords.values()])
        if hashable in _RANDOM or hashable in _FILLED:
            return self._make(function, args, keywords, origin, random=hashable in _RANDOM)
        if hashable in _REFILLS:
            return self._refill(function, args, keywords)
        result = function(*args, **keywords)
        if origin:
            written = getattr(function, "__name__", "") in _SETTING
            self._leaves.origins.hand_on(origin, args[0] if written else result)
        if hashable in _DETACHING and self._plan.double and not _called_from_inside(sys._getframe(1)):
            self._leaves.detached[id(result)] = result
        if hashable is torch.Tensor.requires_grad_ and isinstance(result, torch.Tensor) and result.requires_grad:
            return result if _called_from_inside(sys._getframe(1)) else self._new_leaf(result)
        asks = _setter_name(function) == "requires_grad" and len(args) > 1 and args[1]
        if asks and not _called_from_inside(sys._getframe(1)):  # a checkpoint asks, too
            self._new_leaf(args[0])
        if getter_name(function) == "data" and self._plan.double:
            self._data_views[id(result)] = result
        if self._plan.double:
            self._note_precision(function, result)
        return result

    def _origin(self, function: Function | None, given: list[Any]) -> Origin:
        """Where a result of the function comes from, as far as that counts in this run."""
        unread = not self._leaves.scales or function in _SHAPES_ONLY
        return Origin.OWN if unread else self._leaves.origins.of_all(given)

    def _make(
        self, function: Function, args: tuple[Any, ...], keywords: dict[str, Any], origin: Origin, *, random: bool
    ) -> Any:
        wanted = bool(keywords.pop("requires_grad", False))
        of_tensors = function is torch.normal and any(isinstance(arg, torch.Tensor) for arg in args)
        free = keywords.get("dtype") is None and "out" not in keywords
        if random and self._plan.double and free and not of_tensors:
            keywords.pop("dtype", None)
            result = function(*args, **keywords, dtype=torch.float32).double()
        else:
            result = function(*args, **keywords)
            self._note_precision(function, result)
        if not isinstance(result, torch.Tensor):
            return result
        self._leaves.origins.hand_on(origin, result)
        if random and self._leaves.scaling:
            self._leaves.scale(result)
        if wanted and self._leaves.lets_numbers_through and args and isinstance(args[0], (float, complex)):
            return result.requires_grad_()
        return self._new_leaf(result.requires_grad_()) if wanted else result

    def _refill(self, function: Function, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """An in-place random fill, of a float64 tensor with the numbers that a float32 one would get."""
        filled = args[0] if args else keywords.get("tensor")
        if not isinstance(filled, torch.Tensor):
            return function(*args, **keywords)
        if not self._plan.double or filled.dtype != torch.float64:
            result = function(*args, **keywords)
        else:
            narrow = filled.detach().float()
            function(narrow, *args[1:], **{name: value for name, value in keywords.items() if name != "tensor"})
            filled.data.copy_(narrow)
            result = filled
        if self._plan.weights != 1.0 and filled.is_floating_point():
            with torch.no_grad():
                _numbers(filled).mul_(self._plan.weights)
        self._leaves.move(filled)
        return result

    def _new_leaf(self, leaf: torch.Tensor) -> torch.Tensor:
        if not leaf.is_leaf or isinstance(leaf, torch.nn.Parameter):
            return leaf
        self._leaves.scale(leaf)
        with torch.enable_grad():
            return self._leaves.follow(leaf)

    def _note_precision(self, function: Function, result: Any) -> None:
        if self._plan.double and isinstance(result, torch.Tensor) and result.dtype in _LESS_THAN_DOUBLE:
            self._leaves.stops.add(NARROW)

    def _look_for_detached(self, function: Function, given: list[Any]) -> None:
        """A detached tensor stops a gradient where something is computed from its values."""
        if _known(function) in _SHAPES_ONLY or getter_name(function) in _SHAPES:
            return
        if self._leaves.detached and _is_among(self._leaves.detached, given):
            self._leaves.stops.add("detach")

    def _look_for_stops(self, function: Function, args: tuple[Any, ...]) -> None:
        """Central differences see through whatever stops a gradient on purpose: note that it ran."""
        if _known(function) is torch.Tensor.detach_ and not _called_from_inside(sys._getframe(2)):
            self._leaves.stops.add("detach")
        if _known(function) in _TO_NUMBERS and torch.is_grad_enabled() and any(map(has_graph, args)):
            self._leaves.stops.add(NUMBERS)
        if getattr(function, "__name__", "") == "_set_grad_enabled" and args and args[0] is False:
            if not _called_from_inside(sys._getframe(2)):
                self._leaves.stops.add("no_grad")
        elif any(isinstance(arg, torch.Tensor) and id(arg) in self._data_views for arg in args):
            name = getattr(function, "__name__", "")
            written = isinstance(args[0], torch.Tensor) and id(args[0]) in self._data_views
            if not (written and (name == "__setitem__" or (name.endswith("_") and not name.endswith("__")))):
                self._leaves.stops.add(".data")


def _numbers(tensor: torch.Tensor) -> torch.Tensor:
    """What its numbers are written through, so that no version tells: itself inside of `vmap`, which gives no data."""
    return tensor if torch._C._functorch.peek_interpreter_stack() is not None else tensor.data


def _is_among(tensors: dict[int, torch.Tensor], value: Any) -> bool:
    return any(id(tensor) in tensors for tensor in tensors_among(value))


def has_graph(value: Any) -> bool:
    """Whether a tensor, or one in a sequence, needs gradients."""
    return any(tensor.requires_grad for tensor in tensors_among(value))


def _known(function: Function) -> Function | None:
    """The function itself when it can be looked up in a set, else None."""
    try:
        hash(function)
    except TypeError:
        return None
    return function


def is_refill(function: Function) -> bool:
    """Whether it fills a tensor in place, whatever that held."""
    return _known(function) in _REFILLS


def _setter_name(function: Function) -> str | None:
    if getattr(function, "__name__", "") != "__set__":
        return None
    return getattr(getattr(function, "__self__", None), "__name__", None)


def getter_name(function: Function) -> str | None:
    """The attribute that the function reads, None for another function."""
    if getattr(function, "__name__", "") != "__get__":
        return None
    return getattr(getattr(function, "__self__", None), "__name__", None)


def users_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the user's code, from `frame` outwards."""
    while frame is not None and _is_inside(frame):
        frame = frame.f_back
    return frame


def _called_from_inside(frame: FrameType | None) -> bool:
    while frame is not None and _hands_on(frame):
        frame = frame.f_back
    return frame is None or _is_inside(frame)


def _hands_on(frame: FrameType) -> bool:
    """Whether it only hands on what the program calls: a switch of gradients, or a mode of the check above this one."""
    code = frame.f_code
    return os.path.basename(code.co_filename) in _TRANSPARENT or (code.co_name == _MODE and _is_inside(frame))


def _is_inside(frame: FrameType) -> bool:
    """Whether it is code of torch or of the check."""
    if str(frame.f_globals.get("__name__")).startswith("gradfix.backward."):
        return True
    return frame.f_code.co_filename.startswith(_TORCH_FOLDER)
