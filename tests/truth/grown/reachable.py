"""Which tensors a program reaches at a point of its run, and by which expressions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

from ..running import FILE

DEEPEST, WIDEST = 3, 4  # containers inside of each other, and items of each


def tensors(space: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Small dense tensors of real floats, the oldest names first."""
    for name, thing in space.items():
        if not name.startswith("__"):
            for path, tensor in _inside(name, thing, 0):
                if _takes_part(tensor):
                    yield path, tensor


def is_object(thing: Any) -> bool:
    """Whether it has a class of the program and attributes to write."""
    kind = type(thing)
    return kind.__module__ == FILE and hasattr(thing, "__dict__") and not isinstance(thing, torch.nn.Module)


def is_leaf(tensor: torch.Tensor) -> bool:
    """Of one of several views torch doesn't say any more once its base was written: it is none."""
    try:
        return tensor.is_leaf
    except RuntimeError:
        return False


def root(path: str) -> str:
    return path.replace("[", ".").split(".")[0]


def _takes_part(tensor: torch.Tensor) -> bool:
    dense = tensor.layout is torch.strided and not tensor.is_nested
    return dense and tensor.is_floating_point() and 0 < tensor.dim() <= 3 and 2 <= tensor.numel() <= 160


def _inside(path: str, thing: Any, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(thing, torch.Tensor):
        yield path, thing
        return
    for tail, item in _items(thing) if depth < DEEPEST else ():
        yield from _inside(path + tail, item, depth + 1)


def _items(thing: Any) -> list[tuple[str, Any]]:
    """What it holds, with what is written behind its name to reach it."""
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return [(f".{name}", getattr(thing, name)) for name in thing._fields]
    if isinstance(thing, list | tuple | deque):
        return [(f"[{place}]", item) for place, item in enumerate(list(thing)[:WIDEST])]
    if isinstance(thing, dict):
        keys = [key for key in list(thing)[:WIDEST] if isinstance(key, str | int)]
        return [(f'["{key}"]' if isinstance(key, str) else f"[{key}]", thing[key]) for key in keys]
    if isinstance(thing, torch.nn.Module):
        held = {**thing._parameters, **thing._buffers, **thing._modules, **vars(thing)}
    else:
        held = vars(thing) if is_object(thing) else {}
    return [(f".{name}", item) for name, item in held.items() if name.isidentifier() and not name.startswith("_")]
