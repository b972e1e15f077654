"""Where a clone is made: by the statement on the line before, which makes the tensor, or in a line of its own."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import pairwise

from gradfix.edits import Edit
from gradfix.rewrite.text import names
from gradfix.rewrite.text.pieces import has_comment, is_parenthesised, text_of
from gradfix.rewrite.text.sites import prepend, site_of
from gradfix.source import Source, Span

_ATOMS = (ast.Name, ast.Attribute, ast.Subscript, ast.Call)
_COMPUTED = (*_ATOMS, ast.BinOp, ast.UnaryOp)
_COLUMNS = 88
_CLONE = ".clone()"


def clone_before(source: Source, statement: ast.stmt, place: str, others: Sequence[str] = ()) -> tuple[Edit, ...]:
    """Edits by which `place` holds a clone where `statement` begins, and `others` run before it.

    `y = x.exp()` on the line before becomes `y = x.exp().clone()`; else `y = y.clone()` gets a line of its own.
    """
    made = None if others else _maker(source, statement, place)
    if made is None:
        return prepend(site_of(source, statement), [f"{place} = {place}{_CLONE}", *others])
    span = source.span_of(made)
    if isinstance(made, _ATOMS):
        return (Edit(Span(span.end, span.end), _CLONE),)
    return Edit(Span(span.start, span.start), "("), Edit(Span(span.end, span.end), f"){_CLONE}")


def _maker(source: Source, statement: ast.stmt, place: str) -> ast.expr | None:
    """The expression that `place` is assigned on the line before `statement`, if a clone of it reads well there."""
    here = (statement.lineno, statement.col_offset)
    pairs = pairwise(names.block_around(source, statement))
    before = next((s for s, after in pairs if (after.lineno, after.col_offset) == here), None)
    if not isinstance(before, ast.Assign) or len(before.targets) != 1 or before.lineno != before.end_lineno:
        return None
    value = before.value
    named = text_of(source, before.targets[0]) == place and isinstance(before.targets[0], (ast.Name, ast.Attribute))
    if not named or not isinstance(value, _COMPUTED) or is_parenthesised(source, value):
        return None
    own = source.line_text(before.lineno)
    fits = len(own) + len(_CLONE) + 2 * (not isinstance(value, _ATOMS)) <= _COLUMNS
    alone = site_of(source, before).is_alone and not has_comment(source, source.span_of(before))
    return value if fits and alone and "gradfix" not in own else None
