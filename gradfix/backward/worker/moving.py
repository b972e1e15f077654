"""What moves on from call to call and shows no attributes: iterators, generators, caches of functions, and what stands
for something else.

They are told by what they hold, as the garbage collector sees it, and how much an iterator has left.
"""

from __future__ import annotations

import contextvars
import functools
import gc
import operator
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from gradfix.backward.worker.messages import FRAME

Parts = list[tuple[str, Any]]  # what follows in the path, and the value
_CACHE = type(functools.lru_cache(len))
_LINK = "_lru_list_elem"  # stands for key and result where the size is bounded: the cache itself holds those
_STANDS_FOR: dict[type, Callable[[Any], Parts]] = {
    contextvars.ContextVar: lambda value: [(".get()", value.get(None))],
    threading.local: lambda value: [(f".{name}", item) for name, item in vars(value).items()],
    weakref.ref: lambda value: [("()", value())],
}


def moving_parts(value: Any) -> tuple[str, Parts] | None:
    """What such a value is called, as long as it has come so far, and its parts; None for anything else."""
    kind = type(value)
    if kind is types.GeneratorType:
        frame = value.gi_frame
        parts = [] if frame is None else [(f"{FRAME}[{name!r}]", item) for name, item in frame.f_locals.items()]
        return ("a finished generator" if frame is None else "a generator"), parts
    if kind in _STANDS_FOR:
        return kind.__name__, _STANDS_FOR[kind](value)
    if kind is _CACHE:
        return f"a cache of {value.cache_info().currsize}", _numbered(".cache", _cached(value))
    if issubclass(kind, Iterator) and kind.__module__ in ("builtins", "itertools"):
        held = (item for item in gc.get_referents(value) if not isinstance(item, type))
        return f"{kind.__name__} with {operator.length_hint(value, -1)} left{_shown(value)}", _numbered(".held", held)
    return None


def _shown(value: Any) -> str:
    """Where one stands that has no end, as it shows itself."""
    text = repr(value)
    return "" if "0x" in text else f": {text:.80}"


def _cached(cache: Any) -> Iterator[Any]:
    """The results in a cache, in the order in which they came; with the keys where its size is bounded."""
    for held in gc.get_referents(cache):
        if type(held) is not dict:
            yield from () if isinstance(held, (type, types.FunctionType)) else (held,)
        elif held is not vars(cache):
            yield from (result for result in held.values() if type(result).__name__ != _LINK)


def _numbered(name: str, items: Any) -> Parts:
    return [(f"{name}[{number}]", item) for number, item in enumerate(items)]
