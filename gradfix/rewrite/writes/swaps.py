"""The verb `copy_view`: a value that is to be put elsewhere is copied before it is overwritten."""

from __future__ import annotations

from functools import partial

from gradfix.analysis.facts import Swap
from gradfix.edits import Edit
from gradfix.findings import Applicability, Rewrite
from gradfix.rewrite.text.expressions import short
from gradfix.source import Source, Span


def copy_view(source: Source, swap: Swap) -> tuple[Rewrite, ...]:
    """Clone the view where it is taken. Unsafe: the values are others than before, those that were meant."""
    title = f"Take a copy of `{short(source, swap.view)}`"
    return (Rewrite(title, Applicability.UNSAFE, partial(_build, swap=swap), "copied"),)


def _build(source: Source, *, swap: Swap) -> tuple[Edit, ...]:
    end = source.span_of(swap.view).end
    return (Edit(Span(end, end), ".clone()"),)
