"""The verb `drop_flags`: modules that write in place what nobody else sees are made without `inplace=True`."""

from __future__ import annotations

import ast
from functools import partial

from gradfix.analysis.facts import Write
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.source import Source, Span


def drop_flags(source: Source, write: Write) -> Rewrite | None:
    """Drop the flag where the modules are made; None unless they write what only their container hands them.

    Such a module stands inside a `Sequential`, behind a layer that makes a new tensor. So nobody can tell.
    """
    if not write.makers:
        return None
    names = " and ".join(dict.fromkeys(f"`{ast.unparse(call.func)}`" for call in write.makers))
    return Rewrite(f"Make {names} without `inplace`", Applicability.SAFE, partial(_build, makers=write.makers), "flag")


def _build(source: Source, *, makers: tuple[ast.Call, ...]) -> tuple[Edit, ...] | Refusal:
    edits = []
    for call in makers:
        span = flag_of(source, call)
        if span is None:
            return Refusal(
                RefusalKind.ELSEWHERE, "the flag isn't written where the module is made", "pass `inplace=False` there"
            )
        edits.append(Edit(span, ""))
    return tuple(sorted(edits, key=lambda edit: edit.span.start))


def flag_of(source: Source, call: ast.Call) -> Span | None:
    """The place of `inplace=True`, or of a `True` by position, with a comma that would be left over."""
    values = sorted((*call.args, *(k.value for k in call.keywords)), key=lambda value: (value.lineno, value.col_offset))
    flag = next((k.value for k in call.keywords if k.arg == "inplace"), None)
    keyword = flag is not None
    if flag is None and call.args and not call.keywords:
        flag = call.args[-1]
    if not isinstance(flag, ast.Constant) or flag.value is not True:
        return None
    place = values.index(flag)
    end = source.span_of(flag).end
    start = source.span_of(flag).start
    if keyword:
        start = next(source.span_of(k).start for k in call.keywords if k.value is flag)
    if place:
        return Span(source.span_of(values[place - 1]).end, end)
    if len(values) > 1:
        following = values[1]
        name = next((k for k in call.keywords if k.value is following), following)
        return Span(start, source.span_of(name).start)
    rest = source.text[end : source.span_of(call).end]
    return Span(start, end + rest.index(",") + 1) if "," in rest else Span(start, end)
