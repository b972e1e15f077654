"""Parts of a tensor, made at once by `unbind`, `split` or `chunk`: what splits it, what makes it of its parts again.

Every write to a part takes the form it would take alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gradfix.analysis.facts import Spelling, Write, WriteForm
from gradfix.analysis.view_facts import NO_VIEWS
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind
from gradfix.rewrite.grounds.places import place_of
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_effectless
from gradfix.rewrite.text.pieces import text_of
from gradfix.rewrite.views.plain_views import argument_of, base_of_split, called
from gradfix.rewrite.views.replays import HOLDERS, taken_from
from gradfix.rewrite.writes import obstacles
from gradfix.rewrite.writes.rebind import rebind
from gradfix.source import Source

REBUILT = "rebuilt"
_METADATA = frozenset({"shape", "dtype", "device", "ndim", "size", "dim"})
_CALLS = (WriteForm.METHOD, WriteForm.FUNCTION, WriteForm.FLAG)
_LEAVING = (ast.Return, ast.Break, ast.Continue, ast.Yield, ast.YieldFrom, ast.Await, ast.Delete)
_TOGETHER = Refusal(RefusalKind.ORDER, "one statement writes several parts", "write one after the other")


@dataclass(frozen=True, slots=True)
class Split:
    """What makes the parts, and what makes the base of them again."""

    base: ast.Name
    function: str  # "cat" or "stack"
    dim: str | None  # as it is written; None for the first dimension
    is_filled: bool  # there is at least one part

    def joined(self, parts: str, spelling: Spelling) -> str:
        """`torch.cat(parts, dim=1)`."""
        dim = "" if self.dim is None else f", dim={self.dim}"
        return f"{names.torch_name(spelling, self.function)}({parts}{dim})"


def split_of(source: Source, node: ast.expr, spelling: Spelling) -> Split | None:
    """`y` or `y.unbind(1)`, `y.split(2)`, `torch.chunk(y, 2)`; None where the base is no plain name."""
    if isinstance(node, ast.Name):
        return Split(node, "stack", None, is_filled=False)
    if not isinstance(node, ast.Call) or called(node) not in ("unbind", "split", "chunk"):
        return None
    base = base_of_split(node, spelling)
    stacked = called(node) == "unbind"
    dim = argument_of(node, spelling, 0 if stacked else 1, "dim")
    pure = all(is_effectless(argument, spelling) for argument in (*node.args, *(k.value for k in node.keywords)))
    if not isinstance(base, ast.Name) or not pure or any(isinstance(a, ast.Starred) for a in node.args):
        return None
    text = None if dim is None or text_of(source, dim) == "0" else text_of(source, dim)
    return Split(base, "stack" if stacked else "cat", text, is_filled=not stacked)


def alone(write: Write, base: str) -> Write:
    """The write as it is where the base gets the part back, and views of it are taken again: all others remain."""
    seeing = {base, *(view.name for view in taken_from([write], base))}
    left = (o for o in write.obstacles if not (o.kind in HOLDERS and o.replay in seeing))
    return replace(write, obstacles=tuple(left), views=NO_VIEWS)


def views_again(source: Source, writes: Sequence[Write], base: str) -> list[str] | None:
    """The statements that take views of the base again; None where one is spelled over several lines."""
    views = taken_from(writes, base)
    lines = [f"{view.name} = {text_of(source, view.view)}" for view in views]
    return None if any("\n" in line for line in lines) else lines


def grade_of(source: Source, writes: Sequence[Write], spelling: Spelling) -> Applicability | None:
    """How safe it is to write these out of place; None where one can't be."""
    grades = set()
    for write in writes:
        if obstacles.refusal(source, write) is not None or isinstance(rebind(source, write, spelling), Refusal):
            return None
        if write.form in _CALLS and not isinstance(write.statement, ast.Expr):
            return None  # its result is used, and may be all that is kept of it
        grades.add(obstacles.applicability(write))
    return Applicability.SAFE if grades == {Applicability.SAFE} else Applicability.UNSAFE


def edits_of(source: Source, writes: Sequence[Write], spelling: Spelling) -> list[Edit] | Refusal:
    """The edits that make each write an assignment to its part."""
    found: dict[int, list[Edit]] = {}  # by statement: the links of `a.mul_(2).add_(1)` are written out of place at once
    for write in writes:
        made = rebind(source, write, spelling)
        built = [made] if isinstance(made, Refusal) else [rewrite.build(source) for rewrite in made]
        best = next((edits for edits in built if not isinstance(edits, Refusal)), None)
        if best is None:
            return next(refusal for refusal in built if isinstance(refusal, Refusal))
        if found.setdefault(id(write.statement), list(best)) != list(best):
            return _TOGETHER
    return [edit for edits in found.values() for edit in edits]


def names_part(write: Write, parts: Sequence[str]) -> bool:
    """Whether the write is an assignment to one of these names."""
    place = place_of(write)
    return isinstance(place, ast.Name) and place.id in parts


def stores(statements: Sequence[ast.stmt], writes: Sequence[Write]) -> Iterator[ast.Name]:
    """Every assignment to a name but those that are writes to parts themselves."""
    own = {(write.statement.lineno, write.statement.col_offset) for write in writes}
    for statement in statements:
        for node in ast.walk(statement):
            targets: list[ast.AST] = []
            if isinstance(node, ast.AugAssign) and (node.lineno, node.col_offset) in own:
                targets = [node.target]
            yield from (
                inner
                for inner in ast.iter_child_nodes(node)
                if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load) and inner not in targets
            )


def reads_name(statements: Sequence[ast.AST], name: str) -> bool:
    """Whether a name stands anywhere in these, other than to be asked its shape or the like."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    asked = {id(node.value) for node in nodes if isinstance(node, ast.Attribute) and node.attr in _METADATA}
    return any(isinstance(node, ast.Name) and node.id == name and id(node) not in asked for node in nodes)


def leaves(statements: Sequence[ast.stmt]) -> bool:
    """Whether something in these may go elsewhere before their end."""
    return any(isinstance(node, _LEAVING) for statement in statements for node in ast.walk(statement))
