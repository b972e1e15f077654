"""What two runs leave behind for later calls: the same values, whatever storage holds them."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from gradfix.backward.protocol import Leaf, Raised, Run, Tensor
from gradfix.backward.verdict.compare import Agreement, DiffersError, OutsideError, distance, same_leaves
from gradfix.backward.verdict.printed import anywhere, complaints, same_print
from gradfix.backward.verdict.symptoms import symptom_of
from gradfix.backward.worker.messages import (
    AGAIN,
    ARGUMENT,
    FILE,
    FRAME,
    GRADIENT,
    LATER,
    MORE,
    PASSED,
    THIRD,
    TWICE,
    UNSHARED,
)

ERRORS = "the standard error"
_AGAIN = {AGAIN: "a second call", THIRD: "a third call", **{when: when.removeprefix(" after ") for when in LATER}}
_NOT_TWICE = re.compile(r"differentiate twice|derivative .* not implemented")


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


def end_names(
    before: str, after: str, changed_before: Collection[int], changed_after: Collection[int]
) -> tuple[str, ...]:
    """What both versions of a program come to: what they name at the top level behind all lines that differ.

    Not what those lines speak of, unless nobody reads it.
    """
    try:
        ours = _Named.of(before, changed_before)
        theirs = _Named.of(after, changed_after)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    later = (ours.later & theirs.later) - ours.changed - theirs.changed
    unread = (ours.own & theirs.own) - ours.read - theirs.read
    return tuple(sorted((later | unread) & set(bound_names(before, after))))


@dataclass(frozen=True, slots=True)
class _Named:
    """Names in a text."""

    own: frozenset[str]  # bound in the changed lines
    later: frozenset[str]  # bound behind them
    changed: frozenset[str]  # anywhere in them
    read: frozenset[str]

    @classmethod
    def of(cls, text: str, changed: Collection[int]) -> _Named:
        names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
        last = max(changed, default=0)
        bound = [node for node in names if isinstance(node.ctx, ast.Store)]
        return cls(
            own=frozenset(node.id for node in bound if node.lineno in changed),
            later=frozenset(node.id for node in bound if node.lineno > last),
            changed=frozenset(node.id for node in names if node.lineno in changed),
            read=frozenset(node.id for node in names if isinstance(node.ctx, ast.Load)),
        )


def same_state(before: Run, after: Run, agreement: Agreement, *, gradients: bool = True) -> None:
    """Raises `DiffersError` where something is left otherwise than before, but for what is known to vary.

    With `gradients`, those count that would pass through what is left. What optimizers made of passes that agree up to
    rounding only is no closer than that.
    """
    if not agreement.bitwise and before.ended is not None:
        agreement = replace(agreement, slack=agreement.slack * (1 + 4 * before.ended.passes))
    for path, one, other in _pairs(before, after, agreement.volatile):
        try:
            _same_value(path, one, other, agreement)
        except DiffersError as difference:
            if isinstance(one, Tensor) and isinstance(other, Tensor) and one.dtype != "float":
                raise
            raise OutsideError(str(difference)) from None
    if gradients and before.ended is not None and after.ended is not None:
        _same_gradients(before.ended.gradients, after.ended.gradients, agreement)


def _same_value(path: str, one: Tensor | str | None, other: Tensor | str | None, agreement: Agreement) -> None:
    what = _what(path)
    if path in _AGAIN:
        _same_ending(path, one, other)
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        distance(one, other, what, agreement, improve=False)
        if one.requires_grad and not other.requires_grad:
            raise DiffersError(f"{what} has a graph before, none after")
        if other.requires_grad and not one.requires_grad and not agreement.connects:
            raise DiffersError(f"{what} has a graph after, none before")
    elif isinstance(one, str) and isinstance(other, str) and path.startswith((FILE, ERRORS)):
        difference = same_print(one, other, prefix=False)
        if difference is not None:
            raise DiffersError(f"{what}: {difference.replace('printed ', '')}")
    elif not (isinstance(one, str) and isinstance(other, str) and anywhere(one) == anywhere(other)):
        raise DiffersError(f"{what} is {_shown(one)} before, {_shown(other)} after")


def _same_ending(path: str, one: Tensor | str | None, other: Tensor | str | None) -> None:
    if one == "" and other:
        raise DiffersError(f"{_AGAIN[path]} {other} after, and gave a result before")


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
            if symptom_of(others.message) is None and not (path == TWICE and _NOT_TWICE.search(others.message)):
                continue  # as a checkpoint does where gradients are asked for
            raise DiffersError(f"backward through {place} raises {others} after")
        local = agreement.fresh()
        same_leaves(ones, others, place, local)
        for leaf, nonzero in local.gained.items():
            if nonzero:
                raise DiffersError(f"the gradient of {leaf} at {place} was None, and is nonzero after")


def _what(path: str) -> str:
    """An expression, and when it has its value."""
    if path in _AGAIN:
        return f"the result of {_AGAIN[path]}"
    if path.startswith((FILE, ERRORS)) or path == TWICE:
        return path
    if path.endswith(PASSED):
        return f"`{path.removesuffix(PASSED)}`{PASSED}"
    when = next((suffix for suffix in _AGAIN if path.endswith(suffix)), " afterwards")
    expression = path.removesuffix(when)
    if expression.startswith("the result"):
        return expression if when == " afterwards" else f"{expression} of {_AGAIN[when]}"
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


def is_in_one(path: str, one: Run, other: Run) -> bool:
    """Whether only one of two runs has left such a file."""
    left = [path in run.ended.state for run in (one, other) if run.ended is not None]
    return path.startswith(FILE) and left != [True, True]


def _pairs(
    before: Run, after: Run, volatile: frozenset[str]
) -> Iterator[tuple[str, Tensor | str | None, Tensor | str | None]]:
    """Values under the same expression, None where there is none. Where not all is told, those that both have."""
    if before.ended is None or after.ended is None:
        return
    ones, others = _with_errors(before), _with_errors(after)
    partial = MORE in ones or MORE in others
    given = tuple(when for when in _AGAIN if all(told.get(when) == "" for told in (ones, others)))
    for path in dict.fromkeys((*ones, *others)):
        by_both = path in ones and path in others
        if path in volatile or ((partial or UNSHARED in path or FRAME in path or path in _AGAIN) and not by_both):
            continue
        if path not in _AGAIN and path.endswith(tuple(_AGAIN)) and not path.endswith(given):
            continue
        if path.startswith(FILE) and FILE in volatile and not by_both:
            continue
        if path.endswith(GRADIENT) and path not in ones:
            continue  # where it arrived, it was looked at
        yield path, ones.get(path), others.get(path)


def _with_errors(run: Run) -> Mapping[str, Tensor | str]:
    """What a run left, and what it wrote to its standard error."""
    assert run.ended is not None
    written = complaints(run) if run.ended.state else None
    return run.ended.state if written is None else {**run.ended.state, ERRORS: written}


def _shown(value: Tensor | str | None) -> str:
    if isinstance(value, Tensor):
        return str(value.values[0]) if value.dtype == "float" and value.values else str(value)
    return "nothing" if value is None else value
