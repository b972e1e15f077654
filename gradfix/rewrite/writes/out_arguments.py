"""The verb `assign_result`: `torch.mul(a, b, out=y)` becomes `y = torch.mul(a, b)`."""

from __future__ import annotations

import ast
from functools import partial

from gradfix.analysis.facts import Spelling, ValueKind, Write
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import is_place, same, short
from gradfix.rewrite.writes import obstacles
from gradfix.rewrite.writes.scratch import scratch_of
from gradfix.source import Source, Span

_BURIED = Refusal(
    RefusalKind.SPELLING,
    "the call stands in the middle of an expression",
    "give its result a name in a statement before",
)
_HIDDEN = Refusal(
    RefusalKind.HELD,
    "what is put into `.data` is hidden from autograd: its gradient would be lost",
    "assign the result to the tensor itself",
)
_NO_PLACE = Refusal(
    RefusalKind.NOT_ASSIGNABLE,
    "what `out` is given can't be assigned",
    "assign the result to a name, and use that from here on",
)


def assign_result(source: Source, write: Write, spelling: Spelling) -> tuple[Rewrite, ...] | Refusal:
    """Assign the result to what `out=` names, in its dtype."""
    refusal = obstacles.refusal(source, write)
    if refusal is not None:
        return refusal
    if isinstance(write.target, ast.Attribute) and write.target.attr == "data":
        return _HIDDEN
    if not isinstance(write.target, ast.Subscript) and not is_place(write.target):
        return _NO_PLACE
    title = f"Assign the result to `{short(source, write.target)}`"
    grade = Applicability.UNSAFE if write.tensor.transposed else obstacles.applicability(write)  # laid out otherwise
    return (Rewrite(title, grade, partial(_build, write=write, spelling=spelling), "assigned"),)


def _build(source: Source, *, write: Write, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    call = write.node
    assert isinstance(call, ast.Call)
    target = _text(source, write.target)
    result = _without_out(source, call)
    if result is None:
        return Refusal(RefusalKind.SPELLING, "the arguments aren't spelled as expected", "assign the result by hand")
    scratch = scratch_of(source, write, spelling)
    cast = not isinstance(write.target, ast.Subscript) and not _keeps_dtype(write)
    dropped = None if scratch is None or (cast and scratch.dtype is None) else sites.removed(source, scratch.made)
    if cast:
        dtype = scratch.dtype if scratch is not None and dropped is not None else f"{target}.dtype"
        result = f"{result}.to({dtype})"
    built = _placed(source, write, target, result)
    return built if isinstance(built, Refusal) or dropped is None else (dropped, *built)


def _placed(source: Source, write: Write, target: str, result: str) -> tuple[Edit, ...] | Refusal:
    """The statement with `result` for the call, and `target` bound to it."""
    statement, call = write.statement, write.node
    lines = [f"{target} = {result}"]
    site = sites.site_of(source, statement)
    if isinstance(statement, ast.Expr) and statement.value is call:
        return sites.replace(site, lines)
    if isinstance(statement, ast.Assign) and statement.value is call:
        others = [t for t in statement.targets if not same(t, write.target)]
        if any(not is_place(t) for t in others):
            return _BURIED
        if others and isinstance(write.target, ast.Name) and all(isinstance(t, ast.Name) for t in others):
            return sites.replace(site, [" = ".join([*(_text(source, t) for t in others), *lines])])
        return sites.replace(site, [*lines, *(f"{_text(source, t)} = {target}" for t in others)])
    if isinstance(statement, ast.Return) and statement.value is call:
        if isinstance(write.target, ast.Name) and names.is_local(source, statement, write.target.id):
            return sites.replace(site, [f"return {result}"])
        return sites.replace(site, [*lines, f"return {target}"])
    return _BURIED


def _keeps_dtype(write: Write) -> bool:
    written = write.written
    if written.kind is not ValueKind.TENSOR or written.tensor is None:
        return False
    return written.same_dtype or (write.tensor.dtype is not None and write.tensor.dtype == written.tensor.dtype)


def _without_out(source: Source, call: ast.Call) -> str | None:
    """The text of the call without `out=…` and one comma."""
    whole = source.span_of(call)
    out = next(keyword for keyword in call.keywords if keyword.arg == "out")
    parts: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
    every = sorted(parts, key=lambda part: (part.lineno, part.col_offset))
    place = every.index(out)
    if place:
        between = source.text[source.span_of(every[place - 1]).end : source.span_of(out).start]
        start = source.span_of(every[place - 1]).end + between.index(",")  # behind parentheses of the one before
        gone = Span(start, source.span_of(out).end)
    elif len(every) > 1:
        gone = Span(source.span_of(out).start, source.span_of(every[1]).start)
    else:
        return None
    if "#" in gone.text(source.text):
        return None
    return source.text[whole.start : gone.start] + source.text[gone.end : whole.end]


def _text(source: Source, node: ast.expr) -> str:
    return source.span_of(node).text(source.text)
