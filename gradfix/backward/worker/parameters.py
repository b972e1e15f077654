"""Parameters fed as `leaf * 1`: what reads or writes one, with gradients on, gets a result in its place.

Modules hold their parameters and optimizers step them, so nothing else can be handed out. Instead every call of torch
is given the result, from the first use of the parameter to the next backward pass: what is written to it shows until
then, and the gradient arrives at the parameter. Where nothing was written, code without gradients sees the parameter.

What `__init__` and the like write are the first values of the parameter: it is written itself, with gradients off.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gradfix.backward.worker.vary import Leaves, getter_name, users_frame

_OF_THE_LEAF = frozenset(  # what is asked of the parameter itself, or done to it whatever it holds
    "__set__ __hash__ __len__ __deepcopy__ __reduce_ex__ backward grad register_hook retain_grad size dim numel stride "
    "register_post_accumulate_grad_hook requires_grad_ is_floating_point is_complex data_ptr get_device has_names "
    "storage_offset untyped_storage share_memory_".split()
)
_VALUES = {None, *"data T mT H mH real imag".split()}  # attributes that give what is held, and no attribute
_FIRST = re.compile(r"__init__|_?(reset|init|initiali[sz]e)_(parameters|weights|params)")
_WRITE = re.compile(r"__setitem__|__i[a-z]+__|[a-z]\w*_")
_UNMADE = torch.nn.parameter.UninitializedTensorMixin


@dataclass
class _Fed:
    parameter: torch.Tensor
    version: int  # of the parameter, when the result was made
    result: torch.Tensor

    @property
    def is_written(self) -> bool:
        return bool(self.result._version > 0)


class FedParameters(TorchFunctionMode):  # type: ignore[misc]  # torch's stubs are not followed
    """Puts results in the place of parameters."""

    def __init__(self, leaves: Leaves) -> None:
        super().__init__()
        self._fed: dict[int, _Fed] = {}  # by id of the parameter
        leaves.after_pass = self._fed.clear

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        name, attribute = getattr(function, "__name__", ""), getter_name(function)
        is_shared = name in ("detach", "detach_") or attribute == "data"
        if name == "__set__" or (is_shared and not self._is_written(args[0])):
            self._fed.pop(id(args[0]), None)  # what it holds may change without a new version
            return function(*args, **keywords)
        if name in _OF_THE_LEAF or attribute not in _VALUES or _initialises(function):
            return function(*args, **keywords)
        if _gives_first_values(sys._getframe(1)):
            with torch.no_grad() if _is_write_of_leaf(name, args) else contextlib.nullcontext():
                return function(*args, **keywords)
        result = function(*_mapped(args, self._in_place_of), **_mapped(keywords, self._in_place_of))
        return _mapped(result, self._parameter) if self._fed else result

    def _is_written(self, value: Any) -> bool:
        known = self._fed.get(id(value))
        return known is not None and known.is_written

    def _in_place_of(self, value: Any) -> Any:
        """What is handed to torch where the user hands over `value`."""
        if not isinstance(value, torch.nn.Parameter) or isinstance(value, _UNMADE) or not value.requires_grad:
            return value
        known = self._fed.get(id(value))
        if known is not None and known.is_written:
            return known.result
        if not torch.is_grad_enabled():
            return value
        if known is None or known.version != value._version:
            known = self._fed[id(value)] = _Fed(value, value._version, value * 1)
        return known.result

    def _parameter(self, value: Any) -> Any:
        """What the user gets where torch gives `value`: a write gives what was written to."""
        found = (one.parameter for one in self._fed.values() if one.result is value)
        return next(found, value)


def _initialises(function: Callable[..., Any]) -> bool:
    return bool(getattr(function, "__module__", None) == torch.nn.init.__name__)


def _gives_first_values(frame: FrameType) -> bool:
    """Whether the user's function that calls torch is one that makes parameters."""
    caller = users_frame(frame)
    return caller is not None and _FIRST.fullmatch(caller.f_code.co_name) is not None


def _is_write_of_leaf(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a function of that name writes to a leaf, or to a view of one."""
    if _WRITE.fullmatch(name) is None or not args or not isinstance(args[0], torch.Tensor):
        return False
    return bool(args[0].is_leaf or (args[0]._base is not None and args[0]._base.is_leaf))


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same with its items changed; what has none to change is left as it is."""
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if type(value) not in (list, tuple):
        return change(value) if isinstance(value, torch.Tensor) else value
    items = [_mapped(item, change) for item in value]
    return value if all(one is other for one, other in zip(items, value)) else type(value)(items)
