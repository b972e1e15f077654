"""Python's collector of cycles, kept from looking through what grows and stays: trees, states, graphs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ROOM = 4_000_000  # objects that may be new before it is worth looking for those that nobody can reach any more


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside; what one file takes is let go of at the end, nearly all of it without a collector."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def seldom(room: int = ROOM) -> Iterator[Callable[[], None]]:
    """Collections only where what is given, called between files, finds so many new objects, and as many as there are.

    Else each file is followed by one that looks through all modules which the files have in common, and finds little.
    """
    least = room

    def look() -> None:
        nonlocal least
        if enabled and (new := gc.get_count()[0]) >= least:
            least = max(room, least + new - gc.collect())

    enabled = gc.isenabled()
    with paused():
        yield look
        if enabled:
            gc.freeze()
            gc.unfreeze()  # what is left counts as old: else the next collection would look through all of it
