"""The verbs `keep_graph`, for a second backward, and `reach_leaf`, for the gradient of what was computed."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace as replaced
from functools import partial

from gradfix import torch_ops
from gradfix.analysis.backward_facts import NonLeafGrad, SecondBackward
from gradfix.analysis.facts import Spelling
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.backward_calls.steps import update_leaf
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_place, short
from gradfix.rewrite.text.scopes import path_to
from gradfix.rewrite.text.sites import prepend, replace, site_of
from gradfix.source import Source, Span
from gradfix.torch_ops import ViewKind

_ROUNDS = Refusal(
    RefusalKind.MEANING,
    "the graph is carried from one round of the loop to the next",
    "compute it in every round; or, if gradients should end there, detach what is carried over",
)
_CALLS = Refusal(
    RefusalKind.MEANING,
    "the same call frees the graph when it runs first, and needs it when it runs again",
    "go back once, from the sum of the losses; or keep the graph (`retain_graph=True`) in all but the last call",
)
_STEPPED = Refusal(
    RefusalKind.MEANING,
    "even if the graph is kept, it needs the parameters as they were, and these are updated",
    "compute this loss anew after the step; or detach what the first loss isn't to train; or step after both backwards",
)
_FREED = Refusal(
    RefusalKind.ELSEWHERE,
    "what frees the graph stands in another file",
    "go back once, from the sum of the losses; or have the graph kept there, with `retain_graph=True`",
)
_OF_GRADIENTS = Refusal(
    RefusalKind.MEANING,
    "the loss is computed from the gradients of the first backward: with its graph only kept, they are constants",
    "give that one `create_graph=True`, so that they are trained, too; or `retain_graph=True`, if they aren't to be",
)
_NOT_MADE = Refusal(
    RefusalKind.UNKNOWN,
    "nothing shows where the tensor is computed",
    "call `retain_grad()` on it there, or ask for the gradient of its leaf",
)
_DEVICES = frozenset({"cuda", "xpu", "ipu", "mtia"})
_ATOMS = (ast.Name, ast.Attribute, ast.Subscript, ast.Call)


def keep_graph(source: Source, again: SecondBackward) -> tuple[Rewrite, ...] | Refusal:
    """Have the first backward keep the graph. Unsafe: one backward of the sum may be what is meant."""
    if again.first is again.node:
        return _ROUNDS if again.looped else _CALLS
    if again.stepped is not None:
        line = source.position(source.span_of(again.stepped).start).line
        return replaced(_STEPPED, reason=f"{_STEPPED.reason} in line {line}")
    if again.of_gradients:
        return _OF_GRADIENTS
    if (there := again.freed_elsewhere) is not None:
        return replaced(_FREED, reason=f"{_FREED.reason}, `{there.text}` in {there.file}, line {there.line}")
    title = f"Keep the graph in `{short(source, again.first)}`"
    return (Rewrite(title, Applicability.UNSAFE, partial(_build_kept, first=again.first), "retain-graph"),)


def _build_kept(source: Source, *, first: ast.Call) -> tuple[Edit, ...] | Refusal:
    span = source.span_of(first)
    values: list[ast.expr] = [*first.args, *(keyword.value for keyword in first.keywords)]
    for keyword in first.keywords:
        if keyword.arg == "retain_graph":
            return (Edit(source.span_of(keyword.value), "True"),)
    if not values:
        return (Edit(Span(span.end - 1, span.end - 1), "retain_graph=True"),)
    end = source.span_of(max(values, key=lambda value: (value.lineno, value.col_offset))).end
    rest = source.text[end : span.end - 1]
    behind = end + rest.rindex(")") + 1 if ")" in rest else end
    return (Edit(Span(behind, behind), ", retain_graph=True"),)


def reach_leaf(
    source: Source, grad: NonLeafGrad, spelling: Spelling, grads: Sequence[NonLeafGrad]
) -> tuple[Rewrite, ...] | Refusal:
    """Make the tensor a leaf when its values are computed; else have it keep its gradient. All are unsafe.

    What was None becomes a gradient, and the code that reads it does something else than before. `grads` are all there
    are in the file.
    """
    stepped = update_leaf(source, grad, spelling, grads)
    if stepped is not None:
        return (stepped,)
    made = [] if grad.made is None or grad.leaf is None else _leaf_last(source, grad.made, grad.leaf)
    if not grad.by_optimizer and grad.made is not None and is_place(grad.target):
        title = f"Have `{short(source, grad.target)}` keep its gradient"
        build = partial(_build_retained, target=grad.target, made=grad.made)
        made.append(Rewrite(title, Applicability.UNSAFE, build, "retain-grad"))
    return tuple(made) or _NOT_MADE


def _leaf_last(source: Source, made: ast.expr, leaf: ast.expr) -> list[Rewrite]:
    """The fix for `torch.randn(3, requires_grad=True) * 0.01`, where the leaf has no name of its own."""
    inside = any(isinstance(node, ast.Call) and _spans(node, leaf) for node in ast.walk(made))
    if not inside or made is leaf or not isinstance(leaf, ast.Call):
        return []
    if not any(keyword.arg == "requires_grad" for keyword in leaf.keywords):
        return []
    made = _with_moves(source, made)
    build = partial(_build_last, made=made, leaf=leaf)
    return [Rewrite(f"Make `{short(source, made)}` the leaf", Applicability.UNSAFE, build, "leaf-last")]


def _with_moves(source: Source, made: ast.expr) -> ast.expr:
    """`made` with the calls behind it that may give back another tensor: `.to(device)`, `.cuda()`."""
    around = path_to(names.tree_of(source), made)
    for attribute, call in zip(around[::2], around[1::2], strict=False):
        if not (isinstance(attribute, ast.Attribute) and isinstance(call, ast.Call) and call.func is attribute):
            break
        operator = torch_ops.method(attribute.attr)
        same = operator is not None and operator.view in (ViewKind.MAYBE, ViewKind.SELF)
        if not same and attribute.attr not in _DEVICES:
            break
        made = call
    return made


def _spans(node: ast.expr, leaf: ast.expr) -> bool:
    return (node.lineno, node.col_offset, node.end_col_offset) == (leaf.lineno, leaf.col_offset, leaf.end_col_offset)


def _build_last(source: Source, *, made: ast.expr, leaf: ast.Call) -> tuple[Edit, ...] | Refusal:
    flag = next(keyword for keyword in leaf.keywords if keyword.arg == "requires_grad")
    parts: list[ast.expr | ast.keyword] = [*leaf.args, *leaf.keywords]
    every = sorted(parts, key=lambda part: (part.lineno, part.col_offset))
    place = every.index(flag)
    if not place:
        return Refusal(
            RefusalKind.SPELLING,
            "the arguments aren't spelled as expected",
            "call `requires_grad_()` on the result by hand",
        )
    between = source.text[source.span_of(every[place - 1]).end : source.span_of(flag).start]
    start = source.span_of(every[place - 1]).end + between.index(",")
    gone = Edit(Span(start, source.span_of(flag).end), "")
    span = source.span_of(made)
    if isinstance(made, _ATOMS):
        return (gone, Edit(Span(span.end, span.end), ".requires_grad_()"))
    return (Edit(Span(span.start, span.start), "("), gone, Edit(Span(span.end, span.end), ").requires_grad_()"))


def _build_retained(source: Source, *, target: ast.expr, made: ast.expr) -> tuple[Edit, ...] | Refusal:
    around = path_to(names.tree_of(source), made)
    statement = next((node for node in around if isinstance(node, ast.stmt)), None)
    if (
        not isinstance(statement, ast.Assign)
        or len(statement.targets) != 1
        or statement.value is not _value(around, made)
    ):
        return _NOT_MADE
    name = ast.unparse(statement.targets[0])
    if name != ast.unparse(target):
        return _NOT_MADE
    line = f"{name}.retain_grad()"
    after = names.statement_after(source, statement)
    if after is not None and site_of(source, after).is_alone:
        return prepend(site_of(source, after), [line])
    site = site_of(source, statement)
    return replace(site, [site.text, line])


def _value(around: tuple[ast.AST, ...], made: ast.expr) -> ast.AST | None:
    """The node of the tree that stands for `made`, where it is all that is assigned."""
    statement = around[0] if around else None
    if isinstance(statement, ast.Assign) and _spans(statement.value, made):
        return statement.value
    return None
