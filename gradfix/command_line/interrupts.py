"""Ctrl-C that arrives as another error.

Python raises `KeyboardInterrupt` between any two instructions, also inside code that turns each error into one of its
own: before 3.12 a class body says `RuntimeError: Error calling __set_name__` (python/cpython#77757). Whoever takes an
error for a bug or a broken file asks here first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the `KeyboardInterrupt` from which an error came, directly or over others, in its place."""
    try:
        yield
    except Exception as error:
        if interrupt := _behind(error):
            raise interrupt from None
        raise


def _behind(error: BaseException) -> KeyboardInterrupt | None:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, KeyboardInterrupt):
            return one
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            waiting += (one.__cause__, one.__context__)
    return None
