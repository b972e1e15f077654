"""The verb `write_openly`: a write through `.data` becomes one that autograd sees, to a copy."""

from __future__ import annotations

import ast
from functools import partial

from gradfix.analysis.facts import ObstacleKind, Write
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.grounds.dtypes import keeps_dtype
from gradfix.rewrite.grounds.places import clone_of
from gradfix.rewrite.grounds.twins import twin_of
from gradfix.rewrite.text.expressions import is_container_item, is_place, short
from gradfix.rewrite.text.sites import site_of
from gradfix.source import Source, Span

_HOLDERS = (ObstacleKind.ALIAS_READ, ObstacleKind.ARGUMENT_READ, ObstacleKind.BASE_READ)
_UPDATES = (ObstacleKind.PARAMETER, ObstacleKind.LEAF_GRAD_READ)
_NAMED = Refusal(
    RefusalKind.HELD,
    "the name written was taken by `.data` before",
    "write to the tensor itself, out of place; or copy the values first if it should keep them",
)
_UPDATE = Refusal(
    RefusalKind.LEAF,
    "a leaf is updated between forward and backward, which changes what backward computes with",
    "update it after backward, under `torch.no_grad()`",
)


def write_openly(source: Source, write: Write) -> tuple[Rewrite, ...] | Refusal:
    """Clone the tensor and write to the clone without `.data`, or compute the whole tensor out of place.

    Unsafe: the gradient becomes that of the values written; whether they were meant to count is the author's to say.
    """
    hidden = _data(write.target)
    place = None if hidden is None else _root(hidden.value, write)
    if hidden is None or place is None or not isinstance(write.statement, (ast.Expr, ast.Assign, ast.AugAssign)):
        return _NAMED
    name = ast.unparse(place)
    for obstacle in write.obstacles:
        if obstacle.kind in _UPDATES:
            return _UPDATE
        if obstacle.kind is ObstacleKind.CLOSURE or (
            obstacle.kind in _HOLDERS and obstacle.certain and obstacle.name != name
        ):
            return Refusal(
                RefusalKind.HELD,
                f"`{obstacle.name}` has the memory of `{name}` too, and would miss the write",
                f"write to `{name}` out of place, and take `{obstacle.name}` from it again",
            )
    title = f"Write to a clone of `{short(source, place)}`, without `.data`"
    build = partial(_build, write=write, hidden=hidden, place=place)
    clone = Rewrite(title, Applicability.UNSAFE, build, "clone")
    if not _has_plain_form(write, hidden):
        return (clone,)
    title = f"Write `{short(source, write.node)}` as an assignment of a new tensor"
    build = partial(_build_plainly, write=write, hidden=hidden, place=place)
    return (Rewrite(title, Applicability.UNSAFE, build, "arithmetic"), clone)


def _has_plain_form(write: Write, hidden: ast.Attribute) -> bool:
    """`y.data *= 2` and `y.data.exp_()`: all of it is written, by what has an out-of-place form of the same dtype."""
    if isinstance(write.statement, ast.AugAssign):
        return write.statement.target is hidden and keeps_dtype(write)
    call = write.statement.value if isinstance(write.statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or call is not write.node or not isinstance(call.func, ast.Attribute):
        return False
    twin = twin_of(call.func.attr, [*call.args, *(keyword.value for keyword in call.keywords)], write)
    return call.func.value is hidden and twin is not None and not twin.cast


def _data(target: ast.expr) -> ast.Attribute | None:
    """`y.data` in the chain of subscripts and calls that is written."""
    while isinstance(target, (ast.Subscript, ast.Call, ast.Attribute)):
        if isinstance(target, ast.Attribute) and target.attr == "data":
            return target
        target = target.func if isinstance(target, ast.Call) else target.value
    return None


def _root(owner: ast.expr, write: Write) -> ast.expr | None:
    """The tensor whose memory it is: an item of a list or dict is one, that of a tensor a part of one.

    The facts tell them apart: only a view has a holder. Without one, of `a[0][1]` either index may be the tensor's.
    """
    if write.holder is None and isinstance(owner, ast.Subscript):
        known = is_container_item(owner) or not isinstance(owner.value, ast.Subscript)
        return owner if known and is_place(owner) else None
    while isinstance(owner, ast.Subscript):
        owner = owner.value
    return owner if is_place(owner) else None


def _build(source: Source, *, write: Write, hidden: ast.Attribute, place: ast.expr) -> tuple[Edit, ...] | Refusal:
    site = site_of(source, write.statement)
    opened = _without_data(source, hidden)
    if opened is None:
        return _NAMED
    return (Edit(Span(site.span.start, site.span.start), clone_of(source, place) + site.separator), opened)


def _build_plainly(
    source: Source, *, write: Write, hidden: ast.Attribute, place: ast.expr
) -> tuple[Edit, ...] | Refusal:
    site = site_of(source, write.statement)
    name, opened = source.span_of(place).text(source.text), _without_data(source, hidden)
    if opened is None:
        return _NAMED
    if isinstance(write.node, ast.Call):
        end = source.span_of(write.node.func).end
        return (Edit(Span(site.span.start, site.span.start), f"{name} = "), opened, Edit(Span(end - 1, end), ""))
    from gradfix.rewrite.writes import assignments  # imports LibCST

    return assignments.arithmetic_on(source, site, write, name)


def _without_data(source: Source, hidden: ast.Attribute) -> Edit | None:
    """The edit that drops `.data`; None where something stands between the name and the dot."""
    start, end = source.span_of(hidden.value).end, source.span_of(hidden).end
    if not source.text[start:end].strip(" \t\\\r\n)").startswith("."):
        return None
    return Edit(Span(source.text.index(".", start), end), "")
