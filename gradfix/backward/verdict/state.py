"""What two runs leave behind for later calls: the same values, whatever storage holds them."""

from __future__ import annotations

import symtable
from collections.abc import Iterator

from gradfix.backward.protocol import Run, Tensor
from gradfix.backward.verdict.compare import Agreement, DiffersError, distance
from gradfix.backward.worker.messages import MORE, UNSHARED


def shared_names(*texts: str) -> tuple[str, ...]:
    """The names of a module that functions in one of these versions of it read or write."""
    found: set[str] = set()
    for text in texts:
        try:
            todo = symtable.symtable(text, "<module>", "exec").get_children()
        except (SyntaxError, ValueError, RecursionError):
            continue
        while todo:
            table = todo.pop()
            todo += table.get_children()
            found.update(symbol.get_name() for symbol in table.get_symbols() if symbol.is_global())
    return tuple(sorted(found))


def same_state(before: Run, after: Run, agreement: Agreement) -> None:
    """Raises `DiffersError` where something is left otherwise than before, but for what is known to vary."""
    for path, one, other in _pairs(before, after, agreement.volatile):
        what = path if path.startswith("the result") else f"`{path}` afterwards"
        if one is None or other is None:
            raise DiffersError(f"{what} is {'nothing' if one is None else _shown(one)} before, {_shown(other)} after")
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            distance(one, other, what, agreement, improve=False)
            if one.requires_grad and not other.requires_grad:
                raise DiffersError(f"{what} has a graph before, none after")
        elif one != other:
            raise DiffersError(f"{what} is {_shown(one)} before, {_shown(other)} after")


def varying(one: Run, other: Run) -> frozenset[str]:
    """What two runs of the same text leave otherwise: times, addresses, what is drawn elsewhere."""
    found: set[str] = set()
    for path, mine, theirs in _pairs(one, other, frozenset()):
        try:
            if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
                distance(mine, theirs, path, Agreement(), improve=False)
            elif mine != theirs:
                found.add(path)
        except DiffersError:
            found.add(path)
    return frozenset(found)


def _pairs(
    before: Run, after: Run, volatile: frozenset[str]
) -> Iterator[tuple[str, Tensor | str | None, Tensor | str | None]]:
    """Values under the same expression, None where there is none. Where not all is told, those that both have."""
    if before.ended is None or after.ended is None:
        return
    ones, others = before.ended.state, after.ended.state
    partial = MORE in ones or MORE in others
    for path in dict.fromkeys((*ones, *others)):
        if path in volatile or ((partial or UNSHARED in path) and not (path in ones and path in others)):
            continue
        yield path, ones.get(path), others.get(path)


def _shown(value: Tensor | str | None) -> str:
    if isinstance(value, Tensor):
        return str(value.values[0]) if value.dtype == "float" and value.values else str(value)
    return "nothing" if value is None else value
