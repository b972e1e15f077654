"""The verb `update_quietly`: a leaf that is meant to change, `w -= lr * w.grad`, is changed with gradients off."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import partial

from gradfix.analysis.facts import Spelling, Tracked, Write, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Applicability, HazardKind, Refusal, Rewrite
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import short
from gradfix.rewrite.text.quiet_blocks import put_under
from gradfix.rewrite.writes.first_values import grade_of_first_values, leaf_of
from gradfix.source import Source

OF_LEAVES = (HazardKind.LEAF_WRITTEN, HazardKind.LEAF_VIEW_WRITTEN)
_BACKWARD = ("backward", "autograd.grad")
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


def update_quietly(source: Source, write: Write, spelling: Spelling, writes: Sequence[Write] = ()) -> Rewrite | None:
    """Put the write of a leaf that is an update under `torch.no_grad()`; None where nothing shows that it is one.

    Safe where it is made of the leaf's own gradient, or gives a parameter its first values.
    Unsafe where it merely comes after a backward: it may be meant.
    Those of `writes`, all there are in the file, that are such updates and stand beside it go into the same block.
    """
    if not any(hazard.kind in OF_LEAVES for hazard in write.hazards) or not names.can_spell_torch(spelling):
        return None
    grade = Applicability.SAFE if uses_own_gradient(write) else grade_of_first_values(source, write)
    if grade is None and follows_backward(source, write):
        grade = Applicability.UNSAFE
    return None if grade is None else _quiet(source, write, spelling, grade, writes)


def _is_meant(source: Source, write: Write) -> bool:
    return uses_own_gradient(write) or grade_of_first_values(source, write) is Applicability.SAFE


def update_unread(source: Source, write: Write, spelling: Spelling) -> Rewrite | None:
    """The same for `for p in module.parameters(): p.mul_(0.9)`, where nobody would see a new tensor under that name.

    So it is of `row = net.fc.weight[0]`, which the module would miss.
    """
    statement, place = write.statement, write.target
    alone = isinstance(statement, ast.Expr) and write.form in (WriteForm.METHOD, WriteForm.FUNCTION)
    if not isinstance(place, ast.Name) or not (alone or isinstance(statement, ast.AugAssign)):
        return None
    kinds = {hazard.kind for hazard in write.hazards}
    if kinds != {HazardKind.LEAF_WRITTEN} and not (write.of_module and kinds == {HazardKind.LEAF_VIEW_WRITTEN}):
        return None
    if names.is_mentioned_after(source, statement, place) or not names.can_spell_torch(spelling):
        return None
    return _quiet(source, write, spelling, Applicability.UNSAFE)


def _quiet(
    source: Source, write: Write, spelling: Spelling, grade: Applicability, writes: Sequence[Write] = ()
) -> Rewrite:
    title = f"Update `{short(source, leaf_of(write))}` under `torch.no_grad()`"
    return Rewrite(title, grade, partial(_build, write=write, spelling=spelling, writes=writes), "no-grad")


def uses_own_gradient(write: Write) -> bool:
    """`w -= lr * w.grad`."""
    name = ast.unparse(leaf_of(write))
    return any(
        isinstance(node, ast.Attribute) and node.attr == "grad" and ast.unparse(node.value) == name
        for node in ast.walk(write.statement)
    )


def follows_backward(source: Source, write: Write) -> bool:
    """Whether backward is called above the write in its own function, or in a round of a loop before.

    A gradient with a graph of its own (`create_graph=True`) is part of a computation: an update by what has a graph,
    too, would throw that graph away.
    """
    place = (write.statement.lineno, write.statement.col_offset)
    scope = names.scope_of(source, write.statement)
    calls = (node for node in ast.walk(scope) if isinstance(node, ast.Call))
    backwards = [c for c in calls if ast.unparse(c.func).endswith(_BACKWARD)]
    rounds = _rounds_of_one_leaf(scope, write)
    above = [c for c in backwards if (c.lineno, c.col_offset) < place or id(c) in rounds]
    if write.written.tensor is not None and write.written.tensor.tracked is Tracked.YES:
        above = [call for call in above if all(keyword.arg != "create_graph" for keyword in call.keywords)]
    return bool(above)


def _rounds_of_one_leaf(scope: ast.AST, write: Write) -> set[int]:
    """Ids of what runs between one time the write takes place and the next, while the leaf stays the same."""
    name = ast.unparse(leaf_of(write))
    first, last = write.statement.lineno, write.statement.end_lineno or 0
    found: set[int] = set()
    for loop in ast.walk(scope):
        if isinstance(loop, _LOOPS) and loop.body[0].lineno <= first and last <= (loop.end_lineno or 0):
            inside = list(ast.walk(loop))
            bound = (n for n in inside if isinstance(n, (ast.Name, ast.Attribute)) and isinstance(n.ctx, ast.Store))
            if all(ast.unparse(n) != name or n.lineno == write.target.lineno for n in bound):
                found |= set(map(id, inside))
    return found


def _build(source: Source, *, write: Write, spelling: Spelling, writes: Sequence[Write]) -> tuple[Edit, ...] | Refusal:
    by_place = {(w.statement.lineno, w.statement.col_offset): w for w in writes}
    meant = _is_meant(source, write)

    def joins(statement: ast.stmt) -> bool:
        other = by_place.get((statement.lineno, statement.col_offset))
        return other is not None and _is_alike(source, other, meant=meant)

    made = put_under(source, write.statement, f"with {names.torch_name(spelling, 'no_grad')}():", joins)
    if isinstance(made, Refusal):
        return made
    return (*made.edits, *names.import_torch(source, spelling, made.opened))


def _is_alike(source: Source, other: Write, *, meant: bool) -> bool:
    """Whether `other` would be put under `torch.no_grad()` for the same reason, and nothing tells gradfix otherwise."""
    if not any(hazard.kind in OF_LEAVES for hazard in other.hazards) or _is_meant(source, other) != meant:
        return False
    line = source.line_text(source.position(source.span_of(other.statement).end).line)
    return "gradfix" not in line and (meant or follows_backward(source, other))
