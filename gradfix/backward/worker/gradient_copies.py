"""Gradients handed to hooks as copies: what a hook writes goes on from where it stands, and nowhere else.

Autograd may hand out a gradient that others get as well, as an addition gives one to both its operands, or one of which
all elements share a memory cell, as `sum` gives it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

Hook = Callable[..., Any]
_PLACES = (  # who registers hooks, how, and which of the arguments of such a hook goes on when it gives nothing else
    (torch.Tensor, "register_hook", 0),
    (torch.nn.Module, "register_full_backward_hook", 1),
    (torch.nn.Module, "register_full_backward_pre_hook", 1),
)


@contextlib.contextmanager
def copied_gradients() -> Iterator[None]:
    """Meanwhile hooks that are registered get copies."""
    plain = [(kind, name, getattr(kind, name)) for kind, name, _ in _PLACES]
    for (kind, name, number), (_, _, register) in zip(_PLACES, plain):
        setattr(kind, name, _registering(register, number))
    try:
        yield
    finally:
        for kind, name, register in plain:
            setattr(kind, name, register)


def _registering(register: Callable[..., Any], number: int) -> Callable[..., Any]:
    @functools.wraps(register)
    def registered(self: Any, hook: Hook, *args: Any, **keywords: Any) -> Any:
        return register(self, _given_copies(hook, number), *args, **keywords)

    return registered


def _given_copies(hook: Hook, number: int) -> Hook:
    @functools.wraps(hook)
    def copied(*args: Any) -> Any:
        own = [_copy(value) for value in args]
        result = hook(*own)
        return own[number] if result is None and _is_written(own[number]) else result

    return copied


def _copy(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_copy, value))
    return value.clone() if isinstance(value, torch.Tensor) else value


def _is_written(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_written, value))
    return isinstance(value, torch.Tensor) and value._version > 0
