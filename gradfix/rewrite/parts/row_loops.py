"""A loop over the parts of a tensor, `for row in y: row += 1`: the new parts are collected, and `y` is made of them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from gradfix.analysis.facts import Spelling, Write, WriteForm
from gradfix.analysis.text.builtin_names import builtin
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind, Rewrite
from gradfix.rewrite.parts import parts
from gradfix.rewrite.parts.parts import Split
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import is_literal_number
from gradfix.rewrite.text.pieces import has_comment, text_of
from gradfix.rewrite.text.scopes import mentions_of, path_to
from gradfix.rewrite.text.spans import after_block, before_block
from gradfix.source import Source, Span

WIDTH = 100  # columns that a comprehension may take
_SIMPLE_OPERATORS = frozenset({"+=", "-=", "*=", "/="})
# Of a whole tensor they give, bit for bit, what they give of its rows.
_ROWWISE = frozenset("mul_ add_ sub_ div_ neg_ abs_ clamp_ relu_ clamp_min_ clamp_max_".split())
_COMPOUND = (ast.If, ast.For, ast.While, ast.With, ast.Try)


@dataclass(frozen=True, slots=True)
class _RowLoop:
    """A loop that goes through all parts of a split, and gives each the same name."""

    split: Split
    loop: ast.For
    part: str


def offer(source: Source, node: ast.expr, writes: Sequence[Write], spelling: Spelling) -> Rewrite | None:
    """The rewrite for a loop over what `node` splits."""
    rows = _row_loop(source, node, spelling)
    if rows is None or not _is_straight(source, rows, writes):
        return None
    base = rows.split.base.id
    own = [parts.alone(write, base) for write in writes]
    grade = parts.grade_of(source, own, spelling)
    views = parts.views_again(source, writes, base)
    if grade is None or views is None:
        return None
    build = partial(_build, rows=rows, writes=own, spelling=spelling, again=views)
    return Rewrite(f"Make `{base}` of new parts", grade, build, parts.REBUILT)


def _row_loop(source: Source, node: ast.expr, spelling: Spelling) -> _RowLoop | None:
    around = path_to(names.tree_of(source), node)
    loop = next((inner for inner in around[:2] if isinstance(inner, ast.For)), None)
    if loop is None or loop.orelse or loop.type_comment:
        return None
    over, target = loop.iter, loop.target
    if isinstance(over, ast.Call) and builtin(over.func) == "enumerate":
        if len(over.args) != 1 or not isinstance(target, ast.Tuple) or len(target.elts) != 2:
            return None
        over, target = over.args[0], target.elts[1]
    split = parts.split_of(source, over, spelling)
    if split is None or not isinstance(target, ast.Name):
        return None
    return _RowLoop(split, loop, target.id)


def _is_straight(source: Source, rows: _RowLoop, writes: Sequence[Write]) -> bool:
    """Whether every part goes through the loop under its name, and nobody asks for the base meanwhile."""
    body, base = rows.loop.body, rows.split.base
    if not all(parts.names_part(write, (rows.part,)) for write in writes) or parts.leaves(body):
        return False
    first, last = (body[0].lineno, body[0].col_offset), (body[-1].end_lineno or 0, body[-1].end_col_offset or 0)
    inside = all(first <= (w.statement.lineno, w.statement.col_offset) <= last for w in writes)
    if not inside or any(node.id in (rows.part, base.id) for node in parts.stores(body, writes)):
        return False
    own = {id(write.statement) for write in writes}
    others = [s for write in writes for s in write.views.earlier if id(s) not in own]
    if any(first <= (s.lineno, s.col_offset) <= last for s in others) or parts.reads_name(body, base.id):
        return False
    return rows.part != base.id and not names.visible_to_calls(source, rows.loop, base)


def _build(
    source: Source, *, rows: _RowLoop, writes: Sequence[Write], spelling: Spelling, again: Sequence[str]
) -> tuple[Edit, ...] | Refusal:
    made = parts.edits_of(source, writes, spelling)
    if isinstance(made, Refusal):
        return made
    short = _at_once(source, rows, writes) or _comprehension(source, rows, made, spelling)
    edits = _collected(source, rows, made, spelling) if short is None else [Edit(source.span_of(rows.loop), short)]
    behind = [after_block(source, rows.loop, line) for line in again]
    if edits is None or not all(behind):
        return Refusal(
            RefusalKind.SPELLING, "the loop shares its last line with another statement", "put it on lines of its own"
        )
    imports = names.import_torch(source, spelling, " ".join(edit.text for edit in edits))
    return (*edits, *(edit for edit in behind if edit is not None), *imports)


def _is_single(source: Source, rows: _RowLoop) -> bool:
    """Whether a write is all that the loop does, and the names of a round are forgotten after it."""
    targets = [node.id for node in ast.walk(rows.loop.target) if isinstance(node, ast.Name)]
    forgotten = all(_is_of_loop(source, rows.loop, name) for name in targets)
    return len(rows.loop.body) == 1 and forgotten and not has_comment(source, source.span_of(rows.loop))


def _is_of_loop(source: Source, loop: ast.For, name: str) -> bool:
    """Whether the name stands nowhere else in its scope."""
    every = mentions_of(names.scope_of(source, loop), name)
    return len(list(every)) == len(list(mentions_of(loop, name)))


def _at_once(source: Source, rows: _RowLoop, writes: Sequence[Write]) -> str | None:
    """`y = y * 2`, where every element of every part is given the same arithmetic with a number written out."""
    write, base = writes[0], rows.split.base.id
    every = source.span_of(write.statement) == source.span_of(rows.loop.body[0])
    if not every or not _is_single(source, rows) or len(writes) > 1:
        return None
    if write.form is WriteForm.AUGMENTED and write.operator in _SIMPLE_OPERATORS and is_literal_number(write.value):
        assert write.value is not None
        return f"{base} = {base} {write.operator[:-1]} {text_of(source, write.value)}"
    call = write.node
    if write.form is not WriteForm.METHOD or write.method not in _ROWWISE or not isinstance(call, ast.Call):
        return None
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    if not isinstance(write.statement, ast.Expr) or write.statement.value is not call:
        return None
    if not isinstance(call.func, ast.Attribute) or not isinstance(call.func.value, ast.Name):
        return None
    if not all(is_literal_number(argument) for argument in given):
        return None
    behind = Span(source.span_of(call.func).end, source.span_of(call).end).text(source.text)
    return f"{base} = {base}.{write.method[:-1]}{behind}"


def _comprehension(source: Source, rows: _RowLoop, made: Sequence[Edit], spelling: Spelling) -> str | None:
    """`y = torch.stack([row + v for row in y])`, where that is one line."""
    if not _is_single(source, rows) or len(made) != 1:
        return None
    text, start = made[0].text, f"{rows.part} = "
    if made[0].span != source.span_of(rows.loop.body[0]) or not text.startswith(start) or "\n" in text:
        return None
    loop = rows.loop
    over = f"for {text_of(source, loop.target)} in {text_of(source, loop.iter)}"
    joined = rows.split.joined(f"[{text.removeprefix(start)} {over}]", spelling)
    line = f"{rows.split.base.id} = {joined}{_guard(rows.split)}"
    column = source.position(source.span_of(loop).start).column
    return line if column + len(line) <= WIDTH and "\n" not in line else None


def _guard(split: Split) -> str:
    """What keeps a tensor without rows, which can't be stacked."""
    base = split.base.id
    size = f"len({base})" if split.dim is None else f"{base}.size({split.dim})"
    return "" if split.is_filled else f" if {size} else {base}"


def _collected(source: Source, rows: _RowLoop, made: Sequence[Edit], spelling: Spelling) -> list[Edit] | None:
    """A list before the loop, `append` at its end, and the base made of the list after it."""
    base, last = rows.split.base.id, rows.loop.body[-1]
    kind = "rows" if rows.split.function == "stack" else "parts"
    values = names.fresh(source, f"{base}_{kind}", f"new_{base}_{kind}")
    joined = rows.split.joined(values, spelling)
    guard = "" if rows.split.is_filled else f" if {values} else {base}"
    end = after_block(source, rows.loop, f"{base} = {joined}{guard}")
    append = f"{values}.append({rows.part})"
    if isinstance(last, _COMPOUND):
        inner = after_block(source, last, append)
    else:
        site = sites.site_of(source, last)
        inner = Edit(Span(site.span.end, site.span.end), site.separator + append)
    if end is None or inner is None:
        return None
    return [before_block(source, rows.loop, [f"{values} = []"]), *made, inner, end]
