"""Branches that a rewrite put into the program: each way of them must have run before anything is concluded."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence


def one_sided(before: str, after: str, changed: frozenset[int], executed: Sequence[frozenset[int]]) -> int | None:
    """The line of an `if` that only the rewritten text has and that went one way in all runs; None without such a one.

    `changed` are the lines of the rewritten text that differ, `executed` those of them that ran, run by run. A test
    that stands somewhere in the original, whatever for, is none of the rewrite's own.
    """
    known = {ast.dump(node.test) for node in _branches(before)}
    for branch in _branches(after):
        if branch.lineno not in changed or ast.dump(branch.test) in known:
            continue
        taken = [bool(lines & _lines(branch.body)) for lines in executed if branch.lineno in lines]
        otherwise = [
            bool(lines & _lines(branch.orelse)) if branch.orelse else not lines & _lines(branch.body)
            for lines in executed
            if branch.lineno in lines
        ]
        if taken and not (any(taken) and any(otherwise)):
            return branch.lineno
    return None


def _branches(text: str) -> Iterator[ast.If]:
    return (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.If))


def _lines(body: Iterable[ast.stmt]) -> set[int]:
    return {statement.lineno for statement in body}
