"""The verb `own_memory`: an expanded tensor gets memory of its own where it is expanded."""

from __future__ import annotations

import ast
from functools import partial

from gradfix.analysis.facts import Write
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.text.expressions import short
from gradfix.source import Source, Span

_UNKNOWN = Refusal(
    RefusalKind.UNKNOWN,
    "nothing shows where the tensor is expanded",
    "expand it with `.repeat()`, or `.clone()` it there",
)


def own_memory(source: Source, write: Write) -> tuple[Rewrite, ...] | Refusal:
    """Clone where the tensor is expanded. Unsafe where the write ran: it reached every element that shares the cell."""
    if not write.expansions or not all(isinstance(made, ast.Call) for made in write.expansions):
        return _UNKNOWN
    grade = Applicability.SAFE if write.refused else Applicability.UNSAFE
    title = f"Clone `{short(source, write.expansions[0])}`"
    return (Rewrite(title, grade, partial(_build, expansions=write.expansions), "clone-expanded"),)


def _build(source: Source, *, expansions: tuple[ast.expr, ...]) -> tuple[Edit, ...]:
    ends = sorted({source.span_of(made).end for made in expansions})
    return tuple(Edit(Span(end, end), ".clone()") for end in ends)
