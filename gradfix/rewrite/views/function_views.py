"""The verb `clone_given`: a copy of what an autograd Function gives as a view of its argument. It may be written."""

from __future__ import annotations

import ast
from functools import partial

from gradfix.analysis.facts import Write
from gradfix.analysis.view_facts import OF_FUNCTION
from gradfix.edits import Edit
from gradfix.findings import Applicability, HazardKind, Rewrite
from gradfix.source import Source, Span


def clone_given(source: Source, write: Write) -> Rewrite | None:
    """Clone where the Function gives it what `write` overwrites; None for other views, and for one of several results.

    Safe where torch refuses the write whenever it is reached: nobody has ever seen it in the argument.
    """
    views = [hazard.op or "" for hazard in write.hazards if hazard.kind is HazardKind.MULTI_VIEW_WRITTEN]
    if not write.splits or not all(op.endswith(OF_FUNCTION) for op in views):
        return None
    grade = Applicability.SAFE if write.refused else Applicability.UNSAFE
    return Rewrite(
        "Clone what the autograd Function gives", grade, partial(_build, calls=write.splits), "function-clone"
    )


def _build(source: Source, *, calls: tuple[ast.expr, ...]) -> tuple[Edit, ...]:
    ends = sorted({source.span_of(call).end for call in calls})
    return tuple(Edit(Span(end, end), ".clone()") for end in ends)
