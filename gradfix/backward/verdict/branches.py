"""Branches that a rewrite put into the program: each way of them must have run before anything is concluded.

That holds for statements, and for expressions that run only sometimes: the sides of `a if test else b`, what follows
`and` or `or`, and the bodies of lambdas and comprehensions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from gradfix.backward.worker.requests import Place
from gradfix.backward.worker.ways import place_of

_SIMPLE = (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return)


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


def new_ways(before: str, after: str, changed: frozenset[int]) -> tuple[Place, ...]:
    """Where expressions stand that run only sometimes and that no such place of the original has, in changed lines.

    Nor does one count with which the statement around would be one of the original's, as `y` of
    `return stack(ys) if ys else y`, or would keep what is there.
    """
    try:
        known = {told for _, told in _ways(before)}
        ways = list(_ways(after))
        as_before = _as_before(before, after)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    new = (place for one, told in ways if told not in known and (place := place_of(one)) not in as_before)
    return tuple(dict.fromkeys(place for place in new if changed & set(range(place[0], place[2] + 1))))


def _as_before(before: str, after: str) -> set[Place]:
    """Where sides of `a if test else b` stand that make a statement one of the original's, or `y = y`."""
    known = {ast.dump(node) for node in ast.walk(ast.parse(before)) if isinstance(node, _SIMPLE)}
    found: set[Place] = set()
    for statement in ast.walk(ast.parse(after)):
        choices = (
            [node for node in ast.walk(statement) if isinstance(node, ast.IfExp)]
            if isinstance(statement, _SIMPLE)
            else []
        )
        told = ast.dump(statement) if choices else ""
        for choice in choices:
            for side in (choice.body, choice.orelse):
                keeps = isinstance(statement, ast.Assign) and choice is statement.value and _is_target(statement, side)
                if keeps or told.replace(ast.dump(choice), ast.dump(side)) in known:
                    found.add(place_of(side))
    return found


def _is_target(statement: ast.Assign, side: ast.expr) -> bool:
    return [ast.unparse(target) for target in statement.targets] == [ast.unparse(side)]


def _ways(text: str) -> Iterator[tuple[ast.expr, str]]:
    """Each with what decides whether it runs, as text that doesn't tell places."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.IfExp):
            yield node.body, f"if {ast.dump(node.test)}: {ast.dump(node.body)}"
            yield node.orelse, f"if not {ast.dump(node.test)}: {ast.dump(node.orelse)}"
        elif isinstance(node, ast.BoolOp):
            for number, value in enumerate(node.values[1:], 1):
                above = ", ".join(map(ast.dump, node.values[:number]))
                yield value, f"{ast.dump(node.op)} {above}: {ast.dump(value)}"
        elif isinstance(node, ast.Lambda):
            yield node.body, f"lambda: {ast.dump(node.body)}"
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            yield node.elt, f"for: {ast.dump(node.elt)}"
        elif isinstance(node, ast.DictComp):
            yield node.value, f"for: {ast.dump(node.value)}"
