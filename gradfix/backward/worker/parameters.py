"""Parameters fed as `leaf * 1`: what reads or writes one, with gradients on, gets a result in its place.

Modules hold their parameters and optimizers step them, so nothing else can be handed out. Instead every call of torch
is given the result, from the first use of the parameter to the next backward pass: what is written to it shows until
then, and the gradient arrives at the parameter. Where nothing was written, code without gradients sees the parameter.

What `__init__` and the like write are the first values of the parameter. What is written to one of a module before
anything is computed with it, at first or since the last backward pass, are its first values, too, or an update of them.
Then the parameter itself is written, with gradients off.
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
# Functions that make parameters; the same in `gradfix.rewrite.writes.first_values`.
INITIAL = re.compile(r"__init__|(\w*_)?(re)?(init|initiali[sz]e|reset)(_\w*)?")
_VIEWING = frozenset("__getitem__ select narrow view reshape flatten t transpose permute diagonal unsqueeze".split())
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
        self._held: dict[int, torch.Tensor] = {}  # what modules hold, by id
        self._unused: set[int] = set()  # the ids of those that nothing was computed with since the last pass
        self._watching = contextlib.ExitStack()
        leaves.after_pass = self._after_pass

    def __enter__(self) -> FedParameters:
        """Watch what modules are given and when they are called, too."""
        watched = torch.nn.modules.module
        for handle in (
            watched.register_module_parameter_registration_hook(self._note_held),
            watched.register_module_forward_pre_hook(self._note_call),
        ):
            self._watching.callback(handle.remove)
        super().__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        """Leave both."""
        super().__exit__(*details)
        self._watching.close()

    def _note_held(self, module: torch.nn.Module, name: str, parameter: torch.Tensor | None) -> None:
        if parameter is not None and id(parameter) not in self._fed:
            self._held[id(parameter)] = parameter
            self._unused.add(id(parameter))

    def _note_call(self, module: torch.nn.Module, args: Any) -> None:
        self._unused.difference_update(map(id, module.parameters()))

    def _after_pass(self) -> None:
        self._fed.clear()
        self._unused.update(self._held)

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
        if (name in _VIEWING or attribute is not None) and args and id(args[0]) in self._unused:
            return function(*args, **keywords)  # a part of it, which may be written by itself
        written = _leaf_written(name, args)
        if _gives_first_values(sys._getframe(1)) or (id(written) in self._unused and not _have_graphs(args[1:])):
            with contextlib.nullcontext() if written is None else torch.no_grad():
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
        self._unused.discard(id(value))
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
    return caller is not None and INITIAL.fullmatch(caller.f_code.co_name) is not None


def _have_graphs(args: tuple[Any, ...]) -> bool:
    return any(isinstance(arg, torch.Tensor) and arg.grad_fn is not None for arg in args)


def _leaf_written(name: str, args: tuple[Any, ...]) -> torch.Tensor | None:
    """The leaf that a function of that name writes to, itself or by a view of it."""
    if _WRITE.fullmatch(name) is None or not args or not isinstance(args[0], torch.Tensor):
        return None
    with torch._C.DisableTorchFunction():
        base: torch.Tensor = args[0] if args[0]._base is None else args[0]._base
        return base if base.is_leaf else None


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same with its items changed; what has none to change is left as it is."""
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if type(value) not in (list, tuple):
        return change(value) if isinstance(value, torch.Tensor) else value
    items = [_mapped(item, change) for item in value]
    return value if all(one is other for one, other in zip(items, value)) else type(value)(items)
