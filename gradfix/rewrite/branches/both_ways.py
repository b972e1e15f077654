"""Whether a branch can be computed both ways, and what of it: its tests as masks, the writes of each way."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix.analysis.facts import ConditionalFill, Spelling, Write, WriteForm
from gradfix.rewrite.branches import conditions, guarded
from gradfix.rewrite.grounds.dtypes import is_integer
from gradfix.rewrite.grounds.places import is_single_assignment
from gradfix.rewrite.text.expressions import mentions, same
from gradfix.rewrite.writes.ladder import single_axis
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
