"""A piece of program in a message."""

from __future__ import annotations

_MOST = 60  # characters


def one_line(text: str) -> str:
    """`text` without its line breaks, and cut off where it is long."""
    plain = " ".join(text.split())
    return plain if len(plain) <= _MOST else plain[: _MOST - 1] + "…"
