"""Memory in huge pages: a fork copies one entry for each of them, and one for each page of 4 KiB otherwise.

A process that holds torch has some 36,000 small pages of its own; gathered into huge ones, its fork and the child's
end take two fifths of the time (4.0 ms for 10.4 ms, torch 2.13). Linux 6.1 or newer; elsewhere nothing happens.
`MADV_COLLAPSE` is that of the kernel's public header `asm-generic/mman-common.h`; see madvise(2).
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

HUGE = 2 << 20  # bytes, on x86-64 and on ARM with pages of 4 KiB
MADV_COLLAPSE = 25


def gather() -> None:
    """Collapse the private anonymous memory of this process into huge pages, as far as the kernel does it."""
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is None:
        return
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in _own_memory():
        for address in range(start, end, HUGE):
            madvise(address, HUGE, MADV_COLLAPSE)


def _own_memory() -> Iterator[tuple[int, int]]:
    """Addresses of writable memory that no file backs, from one border of a huge page to another."""
    lines: list[str] = []
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as handle:
        lines = handle.readlines()
    for line in lines:
        addresses, rights, _, _, _, *name = line.split(maxsplit=5)
        if rights == "rw-p" and "".join(name).strip() in ("", "[heap]"):
            start, end = (int(address, 16) for address in addresses.split("-"))
            yield -(-start // HUGE) * HUGE, end // HUGE * HUGE
