"""What a call gives in the end, and the tensors in it."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import AsyncIterable, Iterator
from typing import Any

import torch

STANDARD = frozenset(getattr(sys, "stdlib_module_names", ())) | {
    "torch",
    "builtins",
    "gradfix",
}  # whose classes they are
MOST_ITEMS = 64  # taken of a generator


def consumed(result: Any) -> Any:
    """What a call gives in the end: a coroutine is awaited, of a generator and the like come the first items."""
    if isinstance(result, Iterator) and type(result).__module__ in ("builtins", "itertools"):
        return list(itertools.islice(result, MOST_ITEMS))
    if inspect.iscoroutine(result) or inspect.isasyncgen(result):
        import asyncio

        return asyncio.run(_items(result) if inspect.isasyncgen(result) else result)
    if type(result) in (list, tuple):
        return type(result)(map(consumed, result))
    return result


async def _items(generator: AsyncIterable[Any]) -> list[Any]:
    found: list[Any] = []
    async for item in generator:
        found.append(item)
        if len(found) == MOST_ITEMS:
            break
    return found


def tensors_of(value: Any) -> list[torch.Tensor]:
    """The tensors in a result."""
    return [item for item in parts(value) if isinstance(item, torch.Tensor)]


def parts(value: Any, depth: int = 4) -> list[Any]:
    """Tensors, numbers and texts in a result: nested sequences, mappings, and objects with fields."""
    if issubclass(type(value), (torch.Tensor, bool, int, float, complex, str)):
        return [value]
    if depth == 0 or answers_itself(value) or isinstance(value, torch.nn.Module):
        return []
    if isinstance(value, dict):
        items = list(value.values())
    elif isinstance(value, (list, tuple)):
        items = list(value)
    else:
        items = list(getattr(value, "__dict__", {}).values())
    return [part for item in items for part in parts(item, depth - 1)]


def answers_itself(value: Any) -> bool:
    """Whether an object of the user's own decides what reading any attribute of it gives: it may take its time."""
    deciding = (one for one in type(value).__mro__ if "__getattribute__" in vars(one))
    return any(str(one.__module__).partition(".")[0] not in STANDARD for one in deciding)
