"""Calls that give nothing with a graph: what they give is compared, where the rewrite is about constants only."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection
from dataclasses import replace

from gradfix.backward.protocol import Run
from gradfix.backward.verdict.endings import UncheckedError
from gradfix.backward.verdict.symptoms import symptom_of
from gradfix.backward.worker.messages import GRAPH
from gradfix.backward.worker.requests import Request
from gradfix.findings import HazardKind


def as_returned(before: Run, after: Run) -> tuple[Run, Run]:
    """Two calls of which neither gives anything with a graph, without the backward that was tried; others unchanged."""
    if not (_gives_constants(before) and _gives_constants(after)):
        return before, after
    one, other = (replace(r, events=(), ended=r.ended and replace(r.ended, error=None)) for r in (before, after))
    return one, other


def without_graphs(make: Callable[[Request], Run], before: Request, after: Request) -> None:
    """Raises `UncheckedError` where the lines that differ compute something with a graph, though none is given.

    What else uses it would show what these calls don't.
    """
    for request in (before, after):
        lines = _statements(request.text, request.lines)
        ended = make(replace(request, lines=lines, graphs=True)).ended
        if ended is None or GRAPH in ended.stops:
            raise UncheckedError("the call returns nothing differentiable, though what is changed is")


def _statements(text: str, lines: Collection[int]) -> tuple[int, ...]:
    """All lines of the innermost statements that these lines are part of."""
    every = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    found: set[int] = set(lines)
    for line in lines:
        around = [node for node in every if node.lineno <= line <= (node.end_lineno or node.lineno)]
        if around:
            node = max(around, key=lambda one: one.lineno)
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return tuple(sorted(found))


def _gives_constants(run: Run) -> bool:
    if run.ended is None or len(run.events) != 1 or run.events[0].line is not None:
        return False
    (event,) = run.events
    symptom = None if event.error is None else symptom_of(event.error.message)
    tracked = any(root.requires_grad for root in event.roots)
    return (
        symptom is not None
        and symptom.kind is HazardKind.DISCONNECTED
        and event.error == run.ended.error
        and not tracked
    )
