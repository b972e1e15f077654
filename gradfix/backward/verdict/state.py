"""What two runs leave behind for later calls: the same values, whatever storage holds them."""

from __future__ import annotations

import symtable
from collections.abc import Iterator, Mapping
from dataclasses import replace

from gradfix.backward.protocol import Leaf, Raised, Run, Tensor
from gradfix.backward.verdict.compare import Agreement, DiffersError, distance, same_leaves
from gradfix.backward.verdict.symptoms import symptom_of
from gradfix.backward.worker.messages import AGAIN, ARGUMENT, FRAME, GRADIENT, MORE, UNSHARED


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


def bound_names(*texts: str) -> tuple[str, ...]:
    """The names that each of these versions of a module gives a value at its top level, imports left out."""
    kept: set[str] | None = None
    for text in texts:
        try:
            symbols = symtable.symtable(text, "<module>", "exec").get_symbols()
        except (SyntaxError, ValueError, RecursionError):
            return ()
        bound = {one.get_name() for one in symbols if one.is_assigned() and not one.is_imported()}
        kept = bound if kept is None else kept & bound
    return tuple(sorted(kept or ()))


def same_state(before: Run, after: Run, agreement: Agreement, *, gradients: bool = True) -> None:
    """Raises `DiffersError` where something is left otherwise than before, but for what is known to vary.

    With `gradients`, those count that would pass through what is left. What optimizers made of passes that agree up to
    rounding only is no closer than that.
    """
    if not agreement.bitwise and before.ended is not None:
        agreement = replace(agreement, slack=agreement.slack * (1 + 4 * before.ended.passes))
    for path, one, other in _pairs(before, after, agreement.volatile):
        what = _what(path)
        if path == AGAIN:
            _same_ending(one, other)
            continue
        if one is None or other is None:
            raise DiffersError(f"{what} is {'nothing' if one is None else _shown(one)} before, {_shown(other)} after")
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            distance(one, other, what, agreement, improve=False)
            if one.requires_grad and not other.requires_grad:
                raise DiffersError(f"{what} has a graph before, none after")
        elif one != other:
            raise DiffersError(f"{what} is {_shown(one)} before, {_shown(other)} after")
    if gradients and before.ended is not None and after.ended is not None:
        _same_gradients(before.ended.gradients, after.ended.gradients, agreement)


def _same_ending(one: Tensor | str | None, other: Tensor | str | None) -> None:
    if one == "" and other:
        raise DiffersError(f"a second call {other} after, and gave a result before")


def _same_gradients(
    before: Mapping[str, tuple[Leaf, ...] | Raised],
    after: Mapping[str, tuple[Leaf, ...] | Raised],
    agreement: Agreement,
) -> None:
    """Those of a pass that raised before aren't known, and no more is expected of the other."""
    for path, ones in before.items():
        if isinstance(ones, Raised) or path not in after or path in agreement.volatile:
            continue
        place, others = _what(path), after[path]
        if isinstance(others, Raised):
            if symptom_of(others.message) is None:
                continue  # as a checkpoint does where gradients are asked for
            raise DiffersError(f"backward through {place} raises {others} after")
        local = agreement.fresh()
        same_leaves(ones, others, place, local)
        for leaf, nonzero in local.gained.items():
            if nonzero:
                raise DiffersError(f"the gradient of {leaf} at {place} was None, and is nonzero after")


def _what(path: str) -> str:
    """An expression, and when it has its value."""
    if path == AGAIN:
        return "the result of a second call"
    expression = path.removesuffix(AGAIN)
    when = AGAIN if path.endswith(AGAIN) else " afterwards"
    if expression.startswith("the result"):
        return expression if when == " afterwards" else f"{expression} of a second call"
    return f"`{expression}`{when}"


def left_by_both(before: Run, after: Run) -> tuple[str, ...]:
    """The expressions that lead to tensors which `after` left with a graph, and which are tensors in `before`, too."""
    if before.ended is None or after.ended is None:
        return ()
    known, given = before.ended.state, len(before.ended.arguments)
    arguments = {f"{ARGUMENT}{number}" for number in range(1, given + 1)}
    told = (path for path, leaves in after.ended.gradients.items() if not isinstance(leaves, Raised))
    return tuple(path for path in told if path in arguments or isinstance(known.get(path), Tensor))


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
    twice = all(told.get(AGAIN) == "" for told in (ones, others))
    for path in dict.fromkeys((*ones, *others)):
        by_both = path in ones and path in others
        if path in volatile or ((partial or UNSHARED in path or FRAME in path or path == AGAIN) and not by_both):
            continue
        if path.endswith(AGAIN) and path != AGAIN and not twice:
            continue
        if path.endswith(GRADIENT) and path not in ones:
            continue  # where it arrived, it was looked at
        yield path, ones.get(path), others.get(path)


def _shown(value: Tensor | str | None) -> str:
    if isinstance(value, Tensor):
        return str(value.values[0]) if value.dtype == "float" and value.values else str(value)
    return "nothing" if value is None else value
