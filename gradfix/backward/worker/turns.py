"""Backward passes of several threads, one at a time: what is observed of one is that pass's own.

A pass may wait for another thread's, in a hook say. So no thread waits for its turn for long.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

_PATIENCE = 1.0  # seconds


class Turns:
    """Lets one thread after the other into functions; one that is inside may enter again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def taken(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, as soon as no other thread is inside of one of those."""

        @functools.wraps(function)
        def waiting(*args: Any, **keywords: Any) -> Any:
            own = self._lock.acquire(timeout=_PATIENCE)
            try:
                return function(*args, **keywords)
            finally:
                if own:
                    self._lock.release()

        return waiting
