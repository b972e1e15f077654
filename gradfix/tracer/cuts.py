"""Where values leave the graph: results without gradients made from what has some, and whether they reach the loss.

What is made from such a result carries its taint, so that of all the places where a value left the graph those are told
that feed a given tensor. Python numbers carry it as a subclass of `float` until something makes plain ones of them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch

from gradfix.tracer.spots import Mark, Marker

Taint = frozenset[int]  # numbers of cuts
_NONE: Taint = frozenset()
_QUIET = {
    "__get__",
    "size",
    "dim",
    "numel",
    "stride",
    "is_floating_point",
    "is_complex",
    "storage_offset",
    "element_size",
}
_QUIET |= {
    "__set__",
    "__len__",
    "__repr__",
    "__format__",
    "__hash__",
    "is_contiguous",
    "untyped_storage",
    "data_ptr",
    "backward",
}
_QUIET |= {
    "get_device",
    "__deepcopy__",
    "type",
    "ndimension",
    "nelement",
    "is_same_size",
    "requires_grad_",
    "retain_grad",
}
_QUIET |= {
    "register_hook",
    "is_nonzero",
    "has_names",
    "is_inference",
    "_is_view",
    "grad_sample",
    "zero_",
    "uniform_",
    "normal_",
}


class Cuts:
    """The places where this run's values left the graph."""

    def __init__(self, marker: Marker) -> None:
        self._marker = marker
        self._taints: dict[int, tuple[weakref.ref[Any], Taint]] = {}
        self.found: list[tuple[Mark | None, str]] = []  # place and function, by number

    def called(self, name: str, given: Iterable[Any], result: Any, written: Iterable[torch.Tensor]) -> Any:
        """Take note of one call of torch. Returns the result, a tainted number in the place of a plain one."""
        taint, tracked = _NONE, False
        for value in given:
            taint |= self.taint(value)
            tracked = tracked or (isinstance(value, torch.Tensor) and value.requires_grad)
        if name == "__bool__":
            return result
        results = [item for item in _items(result) if isinstance(item, (torch.Tensor, float))]
        loose = [item for item in results if not (isinstance(item, torch.Tensor) and item.requires_grad)]
        if tracked and loose and torch.is_grad_enabled() and name not in _QUIET:
            taint |= {len(self.found)}
            self.found.append((self._marker.mark(), name))
        if not taint:
            return result
        for tensor in (*loose, *written):
            self._put(tensor, taint)
        return Number.of(result, taint) if type(result) is float else result

    def feeding(self, values: Iterable[Any]) -> list[tuple[Mark | None, str]]:
        """The cuts that the values were made from; all of them where none is known to be."""
        numbers = sorted(frozenset().union(*(self.taint(value) for value in values)))
        return [self.found[number] for number in numbers] or list(self.found)

    def taint(self, value: Any) -> Taint:
        """The cuts a tensor or number was made from."""
        if isinstance(value, Number):
            return value.taint
        known = self._taints.get(id(value))
        return known[1] if known is not None and known[0]() is value else _NONE

    def _put(self, value: Any, taint: Taint) -> None:
        if isinstance(value, torch.Tensor):
            key = id(value)
            known = self.taint(value)
            self._taints[key] = (weakref.ref(value, lambda _: self._taints.pop(key, None)), known | taint)


class Number(float):
    """A float that remembers the cuts it came from, through arithmetic."""

    taint: Taint

    @staticmethod
    def of(value: float, taint: Taint) -> Number:
        made = Number(value)
        made.taint = taint
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (float(self),)


def _tainted(name: str) -> Callable[..., Any]:
    plain = getattr(float, name)

    def operate(self: Number, *others: Any) -> Any:
        result = plain(self, *others)
        if type(result) is not float:
            return result
        taints = [other.taint for other in others if isinstance(other, Number)]
        return Number.of(result, self.taint.union(*taints))

    return operate


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    for _side in ("__", "__r"):
        setattr(Number, f"{_side}{_name}__", _tainted(f"{_side}{_name}__"))
for _name in ("__neg__", "__pos__", "__abs__"):
    setattr(Number, _name, _tainted(_name))


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]
