"""The verb `connect_branch`: a buffer that only a branch connects to the leaves becomes connected on every way."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import partial

from gradfix.analysis.facts import ConditionalFill, Spelling, Write, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite import conditions, guarded, names, obstacles
from gradfix.rewrite.dtypes import is_integer
from gradfix.rewrite.expressions import is_place, mentions, same, short
from gradfix.rewrite.ladder import single_axis
from gradfix.rewrite.places import is_single_assignment
from gradfix.source import Source

MAX_GUARDED = 2  # tracked tensors to guard in one value; more of them are read more easily with the branch kept


@dataclass(frozen=True, slots=True)
class Arm:
    """One way through the branch: the write it makes."""

    write: Write
    guards: tuple[ast.expr, ...]  # tracked tensors to replace where this arm isn't taken


@dataclass(frozen=True, slots=True)
class Plan:
    """A branch that can be computed both ways: either one test over several writes, or several tests over one place."""

    masks: tuple[str, ...]  # texts of the tests as bool tensors, in order
    arms: tuple[Arm, ...]  # with one test: the writes of its body; else one for each test, and one for a final `else`
    is_choice: bool  # the arms are the ways of one choice, not the writes of one body
    scalar: bool  # the tests are proven to have no dimensions


def connect_branch(source: Source, fill: ConditionalFill, spelling: Spelling) -> tuple[Rewrite, ...] | Refusal:
    """Differentiable masking where both ways may be computed; else, and as the alternative, the branch kept and its
    buffer connected after it.

    Both leave values and the gradients of the way taken as they are. Where the branch isn't taken the gradient is zero
    instead of missing: safe only where the program would have failed there.
    """
    if not names.can_spell_torch(spelling):
        return Refusal(
            RefusalKind.SPELLING, "torch isn't imported here, and there is no place to import it", "import torch first"
        )
    name = short(source, fill.buffer)
    grade = Applicability.SAFE if fill.only_connection else Applicability.UNSAFE
    made = []
    if plan_of(source, fill, spelling) is not None:
        title = f"Replace the branch with `torch.where`, assigned to `{name}`"
        made.append(Rewrite(title, grade, partial(_build_masked, fill=fill, spelling=spelling)))
    refusal = anchor_refusal(source, fill)
    if refusal is None:
        seen = any(obstacles.applicability(write) is not Applicability.SAFE for write in fill.writes)
        title = f"Keep the branch, and connect `{name}` to `{anchors(source, fill)[0]}` after it"
        build = partial(_build_anchored, fill=fill, spelling=spelling)
        made.append(Rewrite(title, Applicability.UNSAFE if seen else grade, build))
    if not made:
        assert refusal is not None
        return refusal
    return tuple(made)


def plan_of(source: Source, fill: ConditionalFill, spelling: Spelling) -> Plan | None:
    """How to compute the branch both ways; None when that may raise, has an effect, or wouldn't read well."""
    if isinstance(fill.branch, ast.While) or is_integer(fill.tensor.dtype) or not _is_whole(source, fill.branch):
        return None
    tests, bodies = _ways(fill.branch)
    masks = [conditions.as_mask(source, fill, test, spelling) for test in tests]
    known = [mask for mask in masks if mask is not None]
    if len(known) < len(masks):
        return None
    arms: list[Arm] = []
    for body in bodies:
        found = [_arm(fill, statement, tests) for statement in body]
        whole = [arm for arm in found if arm is not None]
        if len(whole) < len(found):
            return None
        arms += whole
    if len(bodies) > 1 and not _is_one_place(bodies, arms):
        return None
    if len(bodies) > 2 and any(arm.guards for arm in arms):
        return None
    scalar = all(conditions.has_one_element(fill, test) for test in tests)
    return Plan(tuple(known), tuple(arms), len(bodies) > 1, scalar)


def anchors(source: Source, fill: ConditionalFill) -> tuple[str, ...]:
    """Tensors the writes are computed from that are there whichever way is taken, the buffer excluded."""
    gone = {node.id for node in _names(fill.branch) if isinstance(node.ctx, ast.Store)} | {ast.unparse(fill.buffer)}
    known = tuple(name for name in fill.sources if name not in gone)
    if known:
        return known
    read = {ast.dump(node) for write in fill.writes if write.value is not None for node in ast.walk(write.value)}
    for operand in guarded.shown_tensors(fill.branch.test):
        if ast.dump(operand) in read and gone.isdisjoint(node.id for node in _names(operand)):
            return (source.span_of(operand).text(source.text),)
    return ()


def _names(node: ast.AST) -> list[ast.Name]:
    return [inner for inner in ast.walk(node) if isinstance(inner, ast.Name)]


def anchor_refusal(source: Source, fill: ConditionalFill) -> Refusal | None:
    """Why the buffer can't be connected after the branch."""
    name = short(source, fill.buffer)
    if not is_place(fill.buffer):
        return Refusal(RefusalKind.NOT_ASSIGNABLE, f"`{name}` can't be assigned", "store the buffer under a name")
    for write in fill.writes:
        refused = obstacles.refusal(source, write)
        if refused is not None:
            return refused
    if not anchors(source, fill):
        return Refusal(
            RefusalKind.UNKNOWN,
            f"what the branch writes to `{name}` isn't computed from a tensor known outside it",
            f"start `{name}` from a tensor that requires grad, or add the term to the loss without a branch",
        )
    if is_integer(fill.tensor.dtype):
        return Refusal(
            RefusalKind.NO_FORM, f"`{name}` holds integers, which carry no gradient", f"make `{name}` a floating tensor"
        )
    return None


def _ways(branch: ast.If) -> tuple[list[ast.expr], list[list[ast.stmt]]]:
    """The tests of an if/elif/else chain, and its bodies; one body more than tests where there is an `else`."""
    tests, bodies = [branch.test], [branch.body]
    while branch.orelse:
        inner = branch.orelse[0]
        if len(branch.orelse) == 1 and isinstance(inner, ast.If):
            branch = inner
            tests.append(branch.test)
            bodies.append(branch.body)
        else:
            bodies.append(branch.orelse)
            break
    return tests, bodies


def _is_whole(source: Source, branch: ast.If | ast.While) -> bool:
    """An `if` on lines of its own, not the `elif` of another."""
    span = source.span_of(branch)
    position = source.position(span.start)
    before = source.line_text(position.line)[: position.column]
    return span.text(source.text).startswith("if") and not before.strip()


def _arm(fill: ConditionalFill, statement: ast.stmt, tests: list[ast.expr]) -> Arm | None:
    """The write that is all `statement` does, with what to guard in its value."""
    write = next((write for write in fill.writes if write.node is statement), None)
    if write is None or write.value is None or not same(write.target, fill.buffer):
        return None
    summed = write.form is WriteForm.AUGMENTED_INDEX and write.operator in ("+=", "-=")
    if not summed and not (write.form is WriteForm.INDEX and is_single_assignment(write)):
        return None
    if single_axis(write.index) is None or any(mentions(test, fill.buffer) for test in tests):
        return None
    tracked = frozenset(fill.sources)
    known = guarded.Names(tracked, tracked | {ast.unparse(fill.buffer)})
    guards = guarded.inputs(write.value, known, tests[0])
    return None if guards is None or len(guards) > MAX_GUARDED else Arm(write, guards)


def _is_one_place(bodies: list[list[ast.stmt]], arms: list[Arm]) -> bool:
    """Every way writes the same place, once."""
    if any(len(body) != 1 for body in bodies) or any(arm.write.form is not WriteForm.INDEX for arm in arms):
        return False
    first = arms[0].write.index
    return all(_same_index(arm.write, first) for arm in arms)


def _same_index(write: Write, items: tuple[object, ...]) -> bool:
    dumps = [ast.dump(item.node) for item in write.index]
    return dumps == [ast.dump(item.node) for item in items]  # type: ignore[attr-defined]  # index items


def _build_masked(source: Source, *, fill: ConditionalFill, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    from gradfix.rewrite import masks  # imports LibCST

    return masks.build(source, fill, spelling)


def _build_anchored(source: Source, *, fill: ConditionalFill, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    from gradfix.rewrite import anchoring

    return anchoring.build(source, fill, spelling)
