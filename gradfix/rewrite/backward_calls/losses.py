"""The verb `scalar_loss`: a backward that starts from one number."""

from __future__ import annotations

import ast
from functools import partial

from gradfix.analysis.facts import BackwardCall, Spelling
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_place, short
from gradfix.source import Source, Span


def scalar_loss(source: Source, call: BackwardCall, spelling: Spelling) -> tuple[Rewrite, ...]:
    """Two ways to start backward from a tensor of several elements; both give the gradient of its sum.

    Unsafe: whether the sum, the mean or something else is the loss is the author's to say.
    """
    root = short(source, call.root)
    if call.elsewhere is not None:
        handed = partial(_build_handed, root=call.root)
        return (Rewrite(f"Hand over the sum of `{root}`", Applicability.UNSAFE, handed),)
    ways = [(f"Call backward on the sum of `{root}`", partial(_build_sum, call=call))]
    if is_place(call.root) and names.can_spell_torch(spelling):
        ones = partial(_build_ones, call=call, spelling=spelling)
        ways.append((f"Pass a gradient of ones for every element of `{root}`", ones))
    return tuple(Rewrite(title, Applicability.UNSAFE, build) for title, build in ways)


def _build_handed(source: Source, *, root: ast.expr) -> tuple[Edit, ...] | Refusal:
    """The sum of an argument in its place."""
    span = source.span_of(root)
    if isinstance(root, ast.Starred):
        return Refusal(RefusalKind.SPELLING, "it is handed over with others", "hand over a single number")
    if isinstance(root, (ast.Name, ast.Attribute, ast.Subscript, ast.Call)):
        return (Edit(Span(span.end, span.end), ".sum()"),)
    return (Edit(Span(span.start, span.start), "("), Edit(Span(span.end, span.end), ").sum()"))


def _build_sum(source: Source, *, call: BackwardCall) -> tuple[Edit, ...] | Refusal:
    from gradfix.rewrite.backward_calls import backward_calls  # imports LibCST

    return backward_calls.sum_root(source, call)


def _build_ones(source: Source, *, call: BackwardCall, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    from gradfix.rewrite.backward_calls import backward_calls  # imports LibCST

    return backward_calls.add_ones(source, call, spelling)
