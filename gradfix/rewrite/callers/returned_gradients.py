"""The verb `return_gradient`: a hook returns a new gradient in place of writing to the one it was given."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import partial

from gradfix.analysis.facts import Write, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite, Severity
from gradfix.rewrite.grounds.twins import twin_of
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_literal_number
from gradfix.rewrite.text.scopes import mentions_of, path_to
from gradfix.source import Source, Span

_BY_HAND = Refusal(
    RefusalKind.NOT_ASSIGNABLE,
    "the gradient is torch's own, and a new one must be returned by the hook",
    "compute a new gradient out of place and return it",
)


def return_gradient(source: Source, write: Write) -> tuple[Rewrite, ...] | Refusal:
    """Return what the write would compute, where it is what the hook returns already, or the last thing it does."""
    if write.target.__class__ is not ast.Name or not _keeps_dtype(write):
        return _BY_HAND
    around = path_to(names.tree_of(source), write.target)
    place = next((i for i, node in enumerate(around) if _is_at(node, write.node)), len(around))
    inside = around[place + 1 :]
    if not inside or not (_is_returned(inside) or _is_last(source, write, inside)):
        return _BY_HAND
    build = partial(_build, write=write, returned=_is_returned(inside))
    grade = Applicability.SAFE if write.severity is Severity.ERROR else Applicability.UNSAFE  # else it runs today
    return (Rewrite("Return a new gradient", grade, build, "returned"),)


def _keeps_dtype(write: Write) -> bool:
    """An out-of-place form with numbers alone, which give the gradient no other dtype."""
    if isinstance(write.node, ast.AugAssign):
        return write.form is WriteForm.AUGMENTED and is_literal_number(write.node.value)
    if write.form is not WriteForm.METHOD or not isinstance(write.node, ast.Call) or write.method is None:
        return False
    given = [*write.node.args, *(keyword.value for keyword in write.node.keywords)]
    twin = twin_of(write.method, list(write.node.args), write)
    return all(map(is_literal_number, given)) and twin is not None and f"{twin.name}_" == write.method


def _is_returned(inside: Sequence[ast.AST]) -> bool:
    return isinstance(inside[0], (ast.Lambda, ast.Return))


def _is_last(source: Source, write: Write, inside: Sequence[ast.AST]) -> bool:
    """The last statement of a hook that returns nothing, and that nobody else calls."""
    hook = next((node for node in inside if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef))), None)
    if not isinstance(hook, ast.FunctionDef) or not _is_at(hook.body[-1], write.statement):
        return False
    if not all(_registers(mention.around[0]) for mention in mentions_of(names.tree_of(source), hook.name)):
        return False
    parameters = {argument.arg for argument in hook.args.args}
    stored = [n.id for n in ast.walk(hook) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    target = write.target
    given = isinstance(target, ast.Name) and target.id in parameters
    again = isinstance(target, ast.Name) and stored.count(target.id) > isinstance(write.node, ast.AugAssign)
    return given and not again and not any(isinstance(n, (ast.Return, ast.Yield)) for n in ast.walk(hook))


def _registers(node: ast.AST) -> bool:
    """`t.register_hook(…)`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "register_hook"


def _is_at(node: ast.AST, other: ast.AST) -> bool:
    """Whether both are the same node, perhaps of two trees of one text."""
    fields = ("lineno", "col_offset", "end_lineno", "end_col_offset")
    places = [tuple(getattr(n, field, None) for field in fields) for n in (node, other)]
    return type(node) is type(other) and places[0] == places[1]


def _build(source: Source, *, write: Write, returned: bool) -> tuple[Edit, ...]:
    start = source.span_of(write.statement).start
    ahead = () if returned else (Edit(Span(start, start), "return "),)
    if isinstance(write.node, ast.Call) and isinstance(write.node.func, ast.Attribute):
        end = source.span_of(write.node.func).end
        return (*ahead, Edit(Span(end - 1, end), ""))
    assert isinstance(write.node, ast.AugAssign)
    between = Span(source.span_of(write.node.target).end, source.span_of(write.node.value).start)
    return (*ahead, Edit(between, between.text(source.text).replace("=", "", 1)))
