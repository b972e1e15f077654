"""The tables of torch's operators as they lie on disk, and which of them counts.

`gradfix/data/torch_ops-<minor>.json` has one entry a line, so that a run parses the rows it needs. The base holds every
row; another release's file holds the rows in which it differs from the base, and lists those that it lacks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("data")
MINORS = ("2.4", "2.13", "2.14", "2.15")  # the releases of torch that were measured, oldest first
NEWEST = MINORS[-1]
BASE, ABSENT = "base", "absent"  # in a file of differences: what it differs from, the names that the release lacks

_chosen: ContextVar[str] = ContextVar("chosen", default=NEWEST)


def chosen() -> str:
    """The release whose table counts here."""
    return _chosen.get()


@contextmanager
def of_torch(minor: str) -> Iterator[None]:
    """Let the table of that release, one of `MINORS`, count for what is asked inside the `with`."""
    token = _chosen.set(minor)
    try:
        yield
    finally:
        _chosen.reset(token)


def nearest(version: str | None) -> str:
    """The measured release for a torch version: the newest that is no newer, so that it has what the table names.

    The oldest for what is older still, and the newest where the version isn't known.
    """
    asked = _minor(version or "")
    if asked is None:
        return NEWEST
    return next((minor for minor in reversed(MINORS) if (_minor(minor) or asked) <= asked), MINORS[0])


def _minor(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version)
    return None if found is None else (int(found[1]), int(found[2]))


def row(minor: str, name: str) -> Any:
    """The row of a name as it was measured on that release; None when there is none."""
    line = lines(minor).get(name)
    return None if line is None else json.loads(line)


@cache
def lines(minor: str) -> Mapping[str, str]:
    """Name -> unparsed row, of everything that release has."""
    own = _entries(DATA / f"torch_ops-{minor}.json")
    if BASE not in own:
        return own
    base = dict(lines(json.loads(own.pop(BASE))))
    for name in json.loads(own.pop(ABSENT)):
        del base[name]
    return base | own


def _entries(path: Path) -> dict[str, str]:
    entries: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, separator, entry = line.partition(": ")
        if separator:
            entries[name[1:-1]] = entry.rstrip(",")
    return entries
