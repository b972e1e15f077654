"""The verb `update_quietly`: a leaf that is meant to change, `w -= lr * w.grad`, is changed with gradients off."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

from gradfix.analysis.facts import Spelling, Tracked, ValueKind, Write, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Applicability, HazardKind, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.grounds.places import root_of
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import short
from gradfix.rewrite.text.sites import site_of
from gradfix.source import Source, Span

OF_LEAVES = (HazardKind.LEAF_WRITTEN, HazardKind.LEAF_VIEW_WRITTEN)
_INITIAL = re.compile(r"_?(reset|init|initiali[sz]e)_(parameters|weights|params)")
_BACKWARD = ("backward", "autograd.grad")
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_TOGETHER = 50  # statements of a block, counted from its start, among which updates are sought that share a `with`


def update_quietly(source: Source, write: Write, spelling: Spelling, writes: Sequence[Write] = ()) -> Rewrite | None:
    """Put the write of a leaf that is an update under `torch.no_grad()`; None where nothing shows that it is one.

    Safe where it is made of the leaf's own gradient, or gives a parameter its first values.
    Unsafe where it merely comes after a backward: it may be meant.
    Those of `writes`, all there are in the file, that are such updates and stand beside it go into the same block.
    """
    if not any(hazard.kind in OF_LEAVES for hazard in write.hazards) or not names.can_spell_torch(spelling):
        return None
    if not _is_meant(write) and not follows_backward(source, write):
        return None
    return _quiet(source, write, spelling, Applicability.SAFE if _is_meant(write) else Applicability.UNSAFE, writes)


def _is_meant(write: Write) -> bool:
    return uses_own_gradient(write) or initialises(write)


def update_unread(source: Source, write: Write, spelling: Spelling) -> Rewrite | None:
    """The same for `for p in module.parameters(): p.mul_(0.9)`, where nobody would see a new tensor under that name."""
    statement, place = write.statement, write.target
    alone = isinstance(statement, ast.Expr) and write.form in (WriteForm.METHOD, WriteForm.FUNCTION)
    if not isinstance(place, ast.Name) or not (alone or isinstance(statement, ast.AugAssign)):
        return None
    if {hazard.kind for hazard in write.hazards} != {HazardKind.LEAF_WRITTEN}:
        return None
    if names.is_mentioned_after(source, statement, place) or not names.can_spell_torch(spelling):
        return None
    return _quiet(source, write, spelling, Applicability.UNSAFE)


def _quiet(
    source: Source, write: Write, spelling: Spelling, grade: Applicability, writes: Sequence[Write] = ()
) -> Rewrite:
    title = f"Update `{short(source, _root(write))}` under `torch.no_grad()`"
    return Rewrite(title, grade, partial(_build, write=write, spelling=spelling, writes=writes), "no-grad")


def uses_own_gradient(write: Write) -> bool:
    """`w -= lr * w.grad`."""
    name = ast.unparse(_root(write))
    return any(
        isinstance(node, ast.Attribute) and node.attr == "grad" and ast.unparse(node.value) == name
        for node in ast.walk(write.statement)
    )


def initialises(write: Write) -> bool:
    """`self.weight.uniform_(-1, 1)` where a module is made: nobody differentiates by what is overwritten there."""
    *_, name = write.function.split(".")
    root = _root(write)
    own = isinstance(root, ast.Attribute) and isinstance(root.value, ast.Name) and root.value.id == "self"
    own = own or (isinstance(root, ast.Name) and bool(write.leaves) and all(map(_is_parameter, write.leaves)))
    value = write.written
    plain = value.kind in (ValueKind.NUMBER, ValueKind.NOTHING) or (
        value.tensor is not None and value.tensor.tracked is Tracked.NO
    )
    return own and plain and (name == "__init__" or _INITIAL.fullmatch(name) is not None)


def _is_parameter(leaf: ast.expr) -> bool:
    """`nn.Parameter(torch.zeros(3))`: made to be registered."""
    return isinstance(leaf, ast.Call) and ast.unparse(leaf.func).rsplit(".", 1)[-1] == "Parameter"


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
    name = ast.unparse(_root(write))
    first, last = write.statement.lineno, write.statement.end_lineno or 0
    found: set[int] = set()
    for loop in ast.walk(scope):
        if isinstance(loop, _LOOPS) and loop.body[0].lineno <= first and last <= (loop.end_lineno or 0):
            inside = list(ast.walk(loop))
            bound = (n for n in inside if isinstance(n, (ast.Name, ast.Attribute)) and isinstance(n.ctx, ast.Store))
            if all(ast.unparse(n) != name or n.lineno == write.target.lineno for n in bound):
                found |= set(map(id, inside))
    return found


def _root(write: Write) -> ast.expr:
    root = root_of(write.target)
    while isinstance(root, ast.Subscript):
        root = root.value
    return root


def _build(source: Source, *, write: Write, spelling: Spelling, writes: Sequence[Write]) -> tuple[Edit, ...] | Refusal:
    if not _may_be_indented(source, write.statement):
        return Refusal(
            RefusalKind.SPELLING, "the update shares its line with other statements", "put it on a line of its own"
        )
    block = names.block_around(source, write.statement)
    run = _run(source, block, write, {(w.statement.lineno, w.statement.col_offset): w for w in writes})
    first = site_of(source, run[0])
    head = f"with {names.torch_name(spelling, 'no_grad')}():"
    before = next((s for s, following in pairwise(block) if following is run[0]), None)
    joined = None if before is None else _unit_of(source, before, head)
    unit = joined or ("\t" if first.separator.endswith("\t") else "    ")
    opened = "" if joined else head + first.separator
    moved = [_indented(source, statement, unit) for statement in run[1:]]
    start = first.span.start
    return (Edit(Span(start, start), opened + unit), *moved, *names.import_torch(source, spelling, opened))


def _run(
    source: Source, block: Sequence[ast.stmt], write: Write, by_place: Mapping[tuple[int, int], Write]
) -> list[ast.stmt]:
    """The statement of `write` with the updates like it on the lines before and behind it."""
    places = [(statement.lineno, statement.col_offset) for statement in block]
    first = last = places.index((write.statement.lineno, write.statement.col_offset))
    lowest = first - first % _TOGETHER
    highest = min(lowest + _TOGETHER, len(block)) - 1
    meant = _is_meant(write)

    def joins(number: int) -> bool:
        other = by_place.get(places[number])
        return other is not None and _is_alike(source, other, meant=meant)

    while first > lowest and _follows(block[first - 1], block[first]) and joins(first - 1):
        first -= 1
    while last < highest and _follows(block[last], block[last + 1]) and joins(last + 1):
        last += 1
    return list(block[first : last + 1])


def _follows(statement: ast.stmt, following: ast.stmt) -> bool:
    return following.lineno == (statement.end_lineno or 0) + 1


def _is_alike(source: Source, other: Write, *, meant: bool) -> bool:
    """Whether `other` would be put under `torch.no_grad()` for the same reason, and nothing tells gradfix otherwise."""
    if not any(hazard.kind in OF_LEAVES for hazard in other.hazards) or _is_meant(other) != meant:
        return False
    line = source.line_text(source.position(source.span_of(other.statement).end).line)
    return (
        "gradfix" not in line
        and _may_be_indented(source, other.statement)
        and (meant or follows_backward(source, other))
    )


def _may_be_indented(source: Source, statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.Expr, ast.Assign, ast.AugAssign)) and site_of(source, statement).is_alone


def _unit_of(source: Source, statement: ast.stmt, head: str) -> str | None:
    """By how much the body of a block of that head is indented; None for another statement, or a body on its line."""
    if not isinstance(statement, ast.With) or statement.body[0].lineno == statement.lineno:
        return None
    if [f"with {ast.unparse(item)}:" for item in statement.items] != [head]:
        return None
    outer, inner = (site_of(source, one).separator for one in (statement, statement.body[0]))
    return inner.removeprefix(outer)


def _indented(source: Source, statement: ast.stmt, unit: str) -> Edit:
    start = source.span_of(statement).start
    return Edit(Span(start, start), unit)
