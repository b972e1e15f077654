"""Parts under names of their own, `a, b = y.chunk(2)`: `a = a + 1`, and behind the last write `torch.cat([a, b])`."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from gradfix.analysis.facts import Spelling, Write
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind, Rewrite
from gradfix.rewrite.parts import parts
from gradfix.rewrite.parts.parts import Split
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.pieces import text_of
from gradfix.rewrite.text.scopes import block_of, path_to
from gradfix.rewrite.text.spans import after_block
from gradfix.source import Source, Span


@dataclass(frozen=True, slots=True)
class _Unpacked:
    """The statement that gives the parts their names, and those behind it, up to the last write."""

    split: Split
    statement: ast.Assign
    names: tuple[str, ...]
    between: tuple[ast.stmt, ...]  # all of them
    written: tuple[ast.stmt, ...]  # from the first write on


def offer(source: Source, node: ast.expr, writes: Sequence[Write], spelling: Spelling) -> Rewrite | None:
    """The rewrite for parts that `node` splits and one assignment names."""
    unpacked = _unpacked(source, node, writes, spelling)
    if unpacked is None:
        return None
    base = unpacked.split.base.id
    own = [parts.alone(write, base) for write in writes]
    grade = parts.grade_of(source, own, spelling)
    views = parts.views_again(source, writes, base)
    if grade is None or views is None or not _is_straight(source, unpacked, writes):
        return None
    if _is_followed(unpacked, writes):
        views = [text_of(source, unpacked.statement), *views]
    title = f"Write the parts out of place, and make `{base}` of them again"
    build = partial(_build, unpacked=unpacked, writes=own, spelling=spelling, again=views)
    return Rewrite(title, grade, build, parts.REBUILT)


def _unpacked(source: Source, node: ast.expr, writes: Sequence[Write], spelling: Spelling) -> _Unpacked | None:
    around = path_to(names.tree_of(source), node)
    statement = around[0] if around else None
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    target = statement.targets[0]
    split = parts.split_of(source, statement.value, spelling)
    if split is None or not isinstance(target, (ast.Tuple, ast.List)):
        return None
    found = tuple(part.id for part in target.elts if isinstance(part, ast.Name))
    if len(set(found)) != len(target.elts) or split.base.id in found:
        return None
    block = block_of(around[1], statement)
    places = [i for i, other in enumerate(block) for write in writes if _holds(other, write.statement)]
    first = next((i for i, other in enumerate(block) if other is statement), None)
    if first is None or len(places) != len(writes) or min(places) <= first:
        return None
    between, written = block[first + 1 : max(places) + 1], block[min(places) : max(places) + 1]
    return _Unpacked(split, statement, found, tuple(between), tuple(written))


def _holds(outer: ast.stmt, inner: ast.stmt) -> bool:
    start, end = (inner.lineno, inner.col_offset), (inner.end_lineno or 0, inner.end_col_offset or 0)
    return (outer.lineno, outer.col_offset) <= start and end <= (outer.end_lineno or 0, outer.end_col_offset or 0)


def _is_straight(source: Source, unpacked: _Unpacked, writes: Sequence[Write]) -> bool:
    """Whether every part keeps its name up to the last write, and nobody asks for the base meanwhile."""
    base = unpacked.split.base.id
    kept = {*unpacked.names, *(n.id for n in ast.walk(unpacked.statement.value) if isinstance(n, ast.Name))}
    if not all(parts.names_part(write, unpacked.names) for write in writes) or parts.leaves(unpacked.between):
        return False
    if any(node.id in kept for node in parts.stores(unpacked.between, writes)):
        return False
    if parts.reads_name(unpacked.written, base):
        return False
    inside = [s for s in _earlier(writes) if any(_holds(other, s) for other in unpacked.between)]
    return not inside and not names.visible_to_calls(source, unpacked.statement, unpacked.split.base)


def _earlier(writes: Sequence[Write]) -> list[ast.stmt]:
    """Other writes to the memory before these."""
    own = {id(write.statement) for write in writes}
    return [statement for write in writes for statement in write.views.earlier if id(statement) not in own]


def _is_followed(unpacked: _Unpacked, writes: Sequence[Write]) -> bool:
    """Whether the memory is written again behind the last write."""
    last = max(writes, key=lambda write: (write.statement.lineno, write.statement.col_offset))
    return last.views.is_followed or any(write.views.is_repeated for write in writes)


def _build(
    source: Source, *, unpacked: _Unpacked, writes: Sequence[Write], spelling: Spelling, again: Sequence[str]
) -> tuple[Edit, ...] | Refusal:
    made = parts.edits_of(source, writes, spelling)
    if isinstance(made, Refusal):
        return made
    joined = unpacked.split.joined(f"[{', '.join(unpacked.names)}]", spelling)
    lines = [f"{unpacked.split.base.id} = {joined}", *again]
    behind = _behind(source, unpacked.between[-1], lines)
    if behind is None:
        return Refusal(
            RefusalKind.SPELLING, "the statement shares its last line with another one", "put it on lines of its own"
        )
    imports = names.import_torch(source, spelling, " ".join(lines))
    return (*made, *behind, *(edit for edit in imports if edit not in made))


def _behind(source: Source, statement: ast.stmt, lines: Sequence[str]) -> list[Edit] | None:
    """The edits that put `lines` behind a statement."""
    if isinstance(statement, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
        found = [after_block(source, statement, line) for line in lines]
        return [edit for edit in found if edit is not None] if all(found) else None
    site = sites.site_of(source, statement)
    return [Edit(Span(site.span.end, site.span.end), site.separator + line) for line in lines]
