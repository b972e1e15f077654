"""The first write to a copy, as the statement that makes it: `w_copy = w * mask`, without `w_copy = w.clone()`."""

from __future__ import annotations

import ast

from gradfix.analysis.facts import Spelling, Write
from gradfix.edits import Edit
from gradfix.findings import Refusal
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_place, is_random_call, is_torch_call, mentions, same
from gradfix.rewrite.text.sites import site_of
from gradfix.rewrite.writes import rebind
from gradfix.rewrite.writes.ladder import Form
from gradfix.source import Source

_FORMS = (Form.ARITHMETIC, Form.TWIN, Form.FUNCTION, Form.WHERE)  # as short as the write; others say more than a copy


def copied_by(
    source: Source, write: Write, spelling: Spelling, before: ast.stmt, leaf: str, copy: str
) -> tuple[Edit, ...] | None:
    """The edits that let the statement of `write` bind `copy` to what it would have made of `leaf`.

    None where the copy is made before another statement, where that isn't one short statement, or where the statement
    may write to `leaf` in another way, too.
    """
    if source.span_of(before) != source.span_of(write.statement):
        return None
    target = ast.parse(leaf, mode="eval").body
    if not is_place(target) or not same(write.target, target) or not _reads_alone(write, target, spelling):
        return None
    form = rebind.first_form(source, write, spelling)
    if form not in _FORMS:
        return None
    edits = rebind.build(source, form=form, write=write, spelling=spelling)
    site, bound = site_of(source, write.statement), f"{leaf} = "
    if isinstance(edits, Refusal) or edits[0].span != site.span or not edits[0].text.startswith(bound):
        return None
    if edits[1:] != names.import_torch(source, spelling, edits[0].text):
        return None
    return (Edit(site.span, f"{copy} = {edits[0].text.removeprefix(bound)}"), *edits[1:])


def _reads_alone(write: Write, target: ast.expr, spelling: Spelling) -> bool:
    """Whether every call that is handed the target, but the write itself, is one of torch that writes nothing."""
    return all(
        node is write.node or is_torch_call(node, spelling) or is_random_call(node, spelling)
        for node in ast.walk(write.statement)
        if isinstance(node, ast.Call) and mentions(node, target)
    )
