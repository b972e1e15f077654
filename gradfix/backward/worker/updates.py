"""Updates of leaves made without gradients: `w -= lr * w.grad`, which autograd forbids outside of `no_grad`.

A step along a gradient is no part of any graph: as one, it would leave a result in the place of the leaf, and the next
pass no gradient to go on with. So what is written to a leaf is taken for an update where its value comes from gradients
that have no graph of their own, as is what else is written to that leaf before the next pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gradfix.backward.worker.vary import getter_name

_WRITE = re.compile(r"__setitem__|__i[a-z]+__|[a-z]\w*_")


class Updates(TorchFunctionMode):  # type: ignore[misc]  # torch's stubs are not followed
    """Turns gradients off for each update."""

    def __init__(self) -> None:
        super().__init__()
        self._stepping: dict[int, torch.Tensor] = {}  # what comes from gradients, by id, kept so that ids stay theirs
        self._updated: dict[int, torch.Tensor] = {}  # leaves, since the last pass

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        name = getattr(function, "__name__", "")
        if name in ("backward", "grad"):
            self._updated.clear()
        given = list(_tensors([args, keywords]))
        stepping = any(id(one) in self._stepping for one in given)
        leaf = _leaf_of(args[0]) if args and _WRITE.fullmatch(name) and torch.is_grad_enabled() else None
        if leaf is not None and self._is_update(leaf, given[1:], stepping):
            self._updated[id(leaf)] = leaf
            with torch.no_grad():
                result = function(*args, **keywords)
        else:
            result = function(*args, **keywords)
        if stepping or name == "grad" or getter_name(function) == "grad":
            self._stepping.update((id(one), one) for one in _tensors(result) if not one.requires_grad)
        return result

    def _is_update(self, leaf: torch.Tensor, given: list[torch.Tensor], stepping: bool) -> bool:
        plain = all(not one.requires_grad or one._base is leaf for one in given)
        return plain and (stepping or id(leaf) in self._updated)


def _leaf_of(value: Any) -> torch.Tensor | None:
    """The leaf that a write to `value` would change, where that is one that requires grad or a view of it."""
    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        return None
    base = value if value._base is None else value._base
    return base if base.is_leaf else None


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
