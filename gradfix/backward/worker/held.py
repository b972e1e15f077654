"""Constants held: what autograd cuts off in the first run of a process stays the same in those that follow.

A result without a graph, made from something that has one, is a constant to autograd, whatever made it: a detach, a
number, a copy, `no_grad`, a comparison. The first run notes the values of all of them in their order; the others hand
them out again where leaves are moved. Cuts that a rewrite undoes aren't held: from there on values count as tracked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gradfix.backward.worker.messages import ASTRAY, BEHIND, PLACELESS
from gradfix.backward.worker.origin import tensors_among
from gradfix.backward.worker.requests import Place
from gradfix.backward.worker.vary import Leaves, is_refill
from gradfix.tracer.spots import Marker

_NOTHING_COMPUTED = frozenset(
    "__set__ __repr__ __format__ __hash__ __len__ backward register_hook size requires_grad_ retain_grad dim numel "
    "stride is_floating_point is_complex data_ptr get_device has_names".split()
)


@dataclass
class Kept:
    """The constants that one call gave."""

    name: str
    values: list[Any]  # copies of tensors without a graph, and numbers
    written: list[torch.Tensor]  # copies of what it wrote to, where that has no graph
    own: list[tuple[torch.Tensor, int]] = field(default_factory=list)  # the tensors themselves and their versions
    read: bool = False

    @property
    def passed_on(self) -> bool:
        """It was a way to write to memory, which a copy wouldn't be."""
        return any(tensor._version != version for tensor, version in self.own)


class Constants:
    """What the first of several runs of a text came by."""

    def __init__(self) -> None:
        self.kept: list[Kept] | None = None


class Holding(TorchFunctionMode):  # type: ignore[misc]  # torch's stubs are not followed
    """Notes constants, or hands out those that were noted."""

    def __init__(self, constants: Constants, leaves: Leaves, path: str, cuts: Sequence[Place]) -> None:
        """`cuts` of the file at `path` are undone: they hold nothing."""
        super().__init__()
        self._leaves, self._path, self._cuts = leaves, path, cuts
        self._marker = Marker((path,))
        self._known = constants.kept
        self._made: list[Kept] = []
        self._unmet = set(cuts)
        if cuts:
            leaves.stops.add(PLACELESS)  # until all of them were met
        self._by_id: dict[int, Kept] = {}  # of tensors that `Kept.own` keeps alive
        if constants.kept is None:
            constants.kept = self._made
        elif any(one.read and one.passed_on for one in constants.kept):
            leaves.stops.add(BEHIND)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        attribute = getattr(getattr(function, "__self__", None), "__name__", "")
        given = list(tensors_among([*args, *keywords.values()]))
        tracked = any(tensor.requires_grad for tensor in given)
        if name == "__set__" and attribute == "data" and tracked and args[0].data_ptr() != args[1].data_ptr():
            self._leaves.stops.add(BEHIND)  # `x.data += 1` sets what was there
        if name in _NOTHING_COMPUTED or (name == "__get__" and attribute != "data"):
            return function(*args, **keywords)
        if name == "numpy" and tracked:  # only what was undone comes here with a graph
            return torch.Tensor.numpy(args[0].detach(), *args[1:], **keywords)
        versions = [tensor._version for tensor in given]
        contents = self._leaf_contents(given)
        leaf = tracked and bool(keywords.pop("requires_grad", False))
        result = function(*args, **keywords)
        written = [tensor for tensor, version in zip(given, versions) if tensor._version != version]
        self._note_reads(given, written)
        written = [tensor for tensor in written if not _is_as_before(tensor, contents)]
        if not tracked:
            return result
        result = self._held(function, result, given, written)
        return _as_leaf(result) if leaf else result

    def _held(
        self, function: Callable[..., Any], result: Any, given: list[torch.Tensor], written: list[torch.Tensor]
    ) -> Any:
        loose = [item for item in _items(result) if _is_constant(item) and not _is_one_of(item, given)]
        changed = [tensor for tensor in written if not tensor.requires_grad]
        behind = [t for t in written if t.requires_grad and not torch.is_grad_enabled() and not is_refill(function)]
        if any(not t.is_leaf or self._leaves.is_tracked(t) for t in behind):
            self._leaves.stops.add(BEHIND)
        if not loose and not changed:
            return result
        if self._is_undone():
            self._leaves.lets_numbers_through |= not isinstance(result, torch.Tensor)
            return _connected(result)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            one = _kept(function, loose, changed)
            number = len(self._made)
            self._made.append(one)
            if self._known is None:
                self._by_id.update({id(tensor): one for tensor, _ in one.own})
                return result
            noted = self._known[number] if number < len(self._known) else None
            if noted is None or not _alike(noted, one):
                self._leaves.stops.add(ASTRAY)
                return result
            for tensor, content in zip(changed, noted.written):
                tensor.data.copy_(content)
            if noted.passed_on:
                return result
            values = iter([_copy(value) for value in noted.values])
            return _mapped(result, lambda item: next(values) if any(item is known for known in loose) else item)

    def _leaf_contents(self, given: list[torch.Tensor]) -> dict[int, torch.Tensor]:
        """Copies of moved leaves that may be written past autograd: the step of an optimizer may change nothing."""
        if torch.is_grad_enabled():
            return {}
        with torch._C.DisableTorchFunction():
            moved = self._leaves.is_tracked
            return {id(tensor): tensor.detach().clone() for tensor in given if tensor.is_leaf and moved(tensor)}

    def _note_reads(self, given: list[torch.Tensor], written: list[torch.Tensor]) -> None:
        for tensor in given:
            known = self._by_id.get(id(tensor))
            if known is not None and not _is_one_of(tensor, written):
                known.read = True

    def _is_undone(self) -> bool:
        """Whether the call under way is a cut that isn't there any more after the rewrite."""
        mark = self._marker.mark()
        if mark is None or mark.code.co_filename != self._path or not self._cuts:
            return False
        place = mark.place()
        met = {cut for cut in self._cuts if place is not None and place[2:] == cut[2:]}
        self._unmet -= met
        if not self._unmet:
            self._leaves.stops.discard(PLACELESS)
        return bool(met)


def _kept(function: Callable[..., Any], loose: list[Any], changed: list[torch.Tensor]) -> Kept:
    one = Kept(getattr(function, "__name__", ""), [_copy(item) for item in loose], [t.clone() for t in changed])
    one.own = [(item, item._version) for item in loose if isinstance(item, torch.Tensor)]
    return one


def _as_leaf(result: torch.Tensor) -> torch.Tensor:
    """The tensor as the program's own leaf, which isn't moved: the held constants are what it is made of."""
    return result.requires_grad_()


def _connected(result: Any) -> Any:
    """The results of a cut as if they had a graph."""

    def tracked(item: Any) -> Any:
        if not isinstance(item, torch.Tensor) or item.requires_grad or not item.is_floating_point():
            return item
        with torch._C.DisableTorchFunction(), torch.enable_grad():
            return item.detach().requires_grad_() * 1

    return _mapped(result, tracked)


def _alike(one: Kept, other: Kept) -> bool:
    def kinds(kept: Kept) -> list[object]:
        values = [*kept.values, *kept.written]
        return [(v.dtype, v.shape) if isinstance(v, torch.Tensor) else type(v) for v in values]

    return one.name == other.name and kinds(one) == kinds(other)


def _is_constant(item: Any) -> bool:
    return not item.requires_grad if isinstance(item, torch.Tensor) else type(item) in (float, int, bool)


def _is_as_before(tensor: torch.Tensor, contents: dict[int, torch.Tensor]) -> bool:
    with torch._C.DisableTorchFunction():
        content = contents.get(id(tensor))
        return content is not None and torch.equal(tensor, content)


def _is_one_of(item: Any, tensors: list[torch.Tensor]) -> bool:
    return any(item is tensor for tensor in tensors)


def _copy(item: Any) -> Any:
    return item.clone() if isinstance(item, torch.Tensor) else item


def _items(value: Any) -> Iterator[Any]:
    """What a result is made of."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _items(item)
    else:
        yield value


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same result with its items changed."""
    if not isinstance(value, (list, tuple)):
        return change(value)
    items = [_mapped(item, change) for item in value]
    if all(one is other for one, other in zip(items, value)):
        return value
    is_record = hasattr(value, "_fields") and not type(value).__module__.startswith("torch")
    return type(value)(*items) if is_record else type(value)(items)
