"""Gradients that are off where a loss is computed: turned on, or steps in the block leave leaves behind."""

from __future__ import annotations

import ast

from gradfix.analysis.cut_kinds import CutEffect
from gradfix.analysis.facts import Cut, Spelling
from gradfix.analysis.text.grad_modes import turns_off
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.grounds.places import is_writing
from gradfix.rewrite.text import names
from gradfix.rewrite.text.sites import site_of
from gradfix.rewrite.text.steps import in_place, is_reset, is_step
from gradfix.source import Source, Span

_MEANT = Refusal(
    RefusalKind.LEAF, "what is computed with gradients off has no graph", "compute what the loss needs outside of it"
)
_UPDATES = Refusal(
    RefusalKind.LEAF,
    "the block also writes to something, which may be an update that gradients must be off for",
    "leave the update in the block, and compute the loss behind it",
)


def reconnected(source: Source, cut: Cut, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """The edits that leave the decorator out, turn gradients on or keep leaves leaves; only where every run fails."""
    if cut.effect is not CutEffect.NO_GRAPH or not cut.alone or not names.can_spell_torch(spelling):
        return _MEANT
    node = cut.node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        switches = [decorator for decorator in node.decorator_list if turns_off(decorator)]
        return _MEANT if len(switches) != 1 else _without_line(source, switches[0])
    if not isinstance(node, (ast.With, ast.AsyncWith)):
        return _MEANT
    if is_update(cut):
        return _updated(source, node)
    if any(_writes(inner) for statement in node.body for inner in ast.walk(statement)):
        return _UPDATES
    found = [item.context_expr for item in node.items if turns_off(item.context_expr)]
    if len(found) != 1:
        return _MEANT
    text = f"{names.torch_name(spelling, 'enable_grad')}()"
    return (Edit(source.span_of(found[0]), text), *names.import_torch(source, spelling, text))


def is_update(cut: Cut) -> bool:
    """Whether what has no graph is a leaf after a step: `w = w - lr * w.grad` in the block."""
    return isinstance(cut.node, (ast.With, ast.AsyncWith)) and any(map(is_step, ast.walk(cut.node)))


def _updated(source: Source, block: ast.With | ast.AsyncWith) -> tuple[Edit, ...] | Refusal:
    """The edits that have all steps in the block update the leaves, whose gradients begin anew."""
    edits: list[Edit] = []
    for step in filter(is_step, ast.walk(block)):
        site = site_of(source, step)
        made = in_place(source, step)
        if not made or not site.is_alone:
            return _UPDATES
        edits += made
        if not is_reset(source, step):
            end = source.line_span(step.end_lineno or step.lineno).end  # behind a comment
            edits.append(Edit(Span(end, end), f"{site.separator}{ast.unparse(step.targets[0])}.grad = None"))
    return tuple(edits)


def _writes(node: ast.AST) -> bool:
    """`w -= step`, `w[0] = 1`, `w.clamp_(0)`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and is_writing(node.func.attr)
    return isinstance(node, ast.AugAssign) or (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store))


def _without_line(source: Source, decorator: ast.expr) -> tuple[Edit, ...] | Refusal:
    span = source.span_of(decorator)
    start = source.text.rfind("\n", 0, span.start) + 1
    end = source.text.find("\n", span.end) + 1
    if source.text[start : span.start].strip() != "@" or source.text[span.end : end].strip() or not end:
        return _MEANT
    return (Edit(Span(start, end), ""),)
