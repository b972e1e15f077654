"""One `with torch.no_grad():` for what belongs under it: neighbouring updates, and loops and branches made of them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.text import names
from gradfix.rewrite.text.sites import site_of
from gradfix.source import Source, Span

_SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign)
_NOTHING = (ast.Pass, ast.Continue, ast.Break)
_TOGETHER = 50  # statements that share a `with` at most
# Calls that compute nothing that has a graph: what loops go over, and what branches ask.
_WALKS = frozenset(
    "parameters named_parameters modules named_modules children named_children buffers items values keys "
    "zip enumerate range reversed list sorted isinstance hasattr getattr len type size dim numel startswith endswith "
    "is_floating_point".split()
)
_SHARED_LINE = Refusal(
    RefusalKind.SPELLING, "the update shares its line with other statements", "put it on a line of its own"
)

Joins = Callable[[ast.stmt], bool]


@dataclass(frozen=True, slots=True)
class Block:
    """What puts statements under one head."""

    edits: tuple[Edit, ...]
    opened: str  # the text that opens it, "" where a block goes on
    statements: tuple[ast.stmt, ...]


def put_under(source: Source, statement: ast.stmt, head: str, joins: Joins) -> Block | Refusal:
    """The block that puts `statement` under `head`.

    What `joins` accepts on the lines behind it goes there, too, and so do loops and branches that hold nothing else.
    """
    around = _around(source, statement)
    unit = _outermost(source, around, joins)
    if not _is_alone(source, unit):
        return _SHARED_LINE
    block = names.block_around(source, unit)
    run = _run(source, block, unit, joins)
    first = site_of(source, run[0])
    before = next((s for s, following in pairwise(block) if following is run[0]), None)
    joined = None if before is None else _unit_of(source, before, head)
    after = next((following for s, following in pairwise(block) if s is run[-1]), None)
    continued = None if after is None or not _follows(source, run[-1], after) else _unit_of(source, after, head)
    step = joined or continued or ("\t" if first.separator.endswith("\t") else "    ")
    opened = "" if joined else head + first.separator
    start = first.span.start
    edits = [Edit(Span(start, start), opened + step), *_indented(source, run, step)]
    if after is not None and continued == step and source.line_text(after.lineno).strip() == head:
        line = source.line_span(after.lineno)
        edits.append(Edit(Span(line.start, line.end + len(source.newline_at(after.lineno))), ""))
    return Block(tuple(edits), opened, tuple(run))


def _around(source: Source, statement: ast.stmt) -> list[ast.stmt]:
    """The statements of its scope from the outermost around it to `statement` itself, in the tree of the source."""
    place = (statement.lineno, statement.col_offset)
    path: list[ast.stmt] = []
    here: ast.AST | None = names.scope_of(source, statement)
    while here is not None:
        inside = [child for child in _statements(here) if _spans(child, place)]
        here = inside[0] if inside else None
        path += inside[:1]
        if here is not None and (here.lineno, here.col_offset) == place and isinstance(here, _SIMPLE):
            break
    return path


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            yield from child.body


def _spans(node: ast.stmt, place: tuple[int, int]) -> bool:
    return (node.lineno, node.col_offset) <= place < (node.end_lineno or 0, node.end_col_offset or 0)


def _outermost(source: Source, around: Sequence[ast.stmt], joins: Joins) -> ast.stmt:
    """The innermost of `around`, or the loop or branch around it that holds nothing but updates."""
    own = around[-1]

    def joining(statement: ast.stmt) -> bool:
        return statement is own or joins(statement)

    unit = own
    for outer in reversed(around[:-1]):
        if not _is_quiet(outer, joining):
            break
        several = isinstance(outer, ast.For) or _count(outer, joining) > 1 or not _is_alone(source, unit)
        if several and _is_alone(source, outer) and not _is_elif(source, outer) and _hands_nothing_on(source, outer):
            unit = outer
    return unit


def _is_elif(source: Source, statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and source.text.startswith("elif", source.span_of(statement).start)


def _is_quiet(statement: ast.stmt, joins: Joins) -> bool:
    """Whether nothing that runs in it computes what backward may need."""
    if isinstance(statement, _NOTHING) or (isinstance(statement, _SIMPLE) and joins(statement)):
        return True
    if isinstance(statement, ast.For):
        inner, asked = statement.body, statement.iter
        quiet = not statement.orelse and _computes_nothing(asked)
    elif isinstance(statement, ast.If):
        inner, asked = [*statement.body, *statement.orelse], statement.test
        quiet = _computes_nothing(asked)
    else:
        return _names_a_part(statement)
    return quiet and all(_is_quiet(s, joins) for s in inner) and _count(statement, joins) > 0


def _names_a_part(statement: ast.stmt) -> bool:
    """`weight = layer.weight`, `bias = getattr(self.lstm, name)`, `n = bias.size(0)`."""
    if not isinstance(statement, ast.Assign) or not all(isinstance(t, ast.Name) for t in statement.targets):
        return False
    value = statement.value
    return isinstance(value, (ast.Attribute, ast.Call, ast.Constant)) and _computes_nothing(value)


def _hands_nothing_on(source: Source, statement: ast.stmt) -> bool:
    """Whether nobody behind it reads a part that it names: a view or a property, which has no graph from there on."""
    inside = (
        part
        for inner in ast.walk(statement)
        if isinstance(inner, ast.stmt) and _names_a_part(inner)
        for part in ast.walk(inner)
    )
    named = {part.id: part for part in inside if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return not any(names.is_mentioned_after(source, statement, name) for name in named.values())


def _computes_nothing(node: ast.expr) -> bool:
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr, ast.BinOp)):
            return False
        if isinstance(inner, ast.Call):
            name = inner.func.attr if isinstance(inner.func, ast.Attribute) else getattr(inner.func, "id", "")
            if name not in _WALKS:
                return False
    return True


def _count(statement: ast.stmt, joins: Joins) -> int:
    return sum(isinstance(inner, _SIMPLE) and joins(inner) for inner in ast.walk(statement))


def _run(source: Source, block: Sequence[ast.stmt], unit: ast.stmt, joins: Joins) -> list[ast.stmt]:
    """`unit` with what belongs under the same head on the lines behind it; what stands before it leads its own."""
    first = last = next(i for i, s in enumerate(block) if (s.lineno, s.col_offset) == (unit.lineno, unit.col_offset))
    highest = min(first + _TOGETHER, len(block) - 1)

    def belongs(other: ast.stmt) -> bool:
        if isinstance(other, _SIMPLE):
            return joins(other) and _is_alone(source, other)
        quiet = _count(other, joins) > 0 and _is_quiet(other, joins)
        return quiet and _is_alone(source, other) and _hands_nothing_on(source, other)

    while last < highest and _follows(source, block[last], block[last + 1]) and belongs(block[last + 1]):
        last += 1
    return list(block[first : last + 1])


def _follows(source: Source, statement: ast.stmt, following: ast.stmt) -> bool:
    """Whether nothing but comments stands between them."""
    between = range((statement.end_lineno or 0) + 1, following.lineno)
    return statement.lineno != following.lineno and all(
        source.line_text(line).lstrip().startswith("#") for line in between
    )


def _is_alone(source: Source, statement: ast.stmt) -> bool:
    simple = isinstance(statement, (*_SIMPLE, ast.For, ast.If))
    return simple and site_of(source, statement).is_alone


def _unit_of(source: Source, statement: ast.stmt, head: str) -> str | None:
    """By how much the body of a block of that head is indented; None for another statement, or a body on its line."""
    if not isinstance(statement, ast.With) or statement.body[0].lineno == statement.lineno:
        return None
    if [f"with {ast.unparse(item)}:" for item in statement.items] != [head]:
        return None
    outer, inner = (site_of(source, one).separator for one in (statement, statement.body[0]))
    return inner.removeprefix(outer)


def _indented(source: Source, run: Sequence[ast.stmt], step: str) -> Iterator[Edit]:
    """Every line of `run` but the first, further in by one `step`; what lies within strings stays."""
    within = {line for statement in run for line in _within_strings(statement)}
    indentation = source.span_of(run[0]).start - source.line_span(run[0].lineno).start
    for line in range(run[0].lineno + 1, (run[-1].end_lineno or 0) + 1):
        text = source.line_text(line)
        if line not in within and text.strip():
            start = source.line_span(line).start + min(indentation, len(text) - len(text.lstrip()))
            yield Edit(Span(start, start), step)


def _within_strings(statement: ast.stmt) -> Iterator[int]:
    for node in ast.walk(statement):
        text = isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
        )
        if text and isinstance(node, ast.expr):
            yield from range(node.lineno + 1, (node.end_lineno or node.lineno) + 1)
