"""Verdicts fall on the right fix, with a judge that knows which fixes are wrong and which cure what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fakes import replacing
from hypothesis import given
from hypothesis import strategies as st

from gradfix import edits as edit_sets
from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import Codemod
from gradfix.engine.engine import Policy, fix
from gradfix.findings import Finding, Hazard, HazardKind, Identity, Judgement, Place, Shown, Verdict
from gradfix.proof.attribution import EACH, Settled, combined, settle, smallest
from gradfix.results import FixResult, Result
from gradfix.source import Source, Span

REMAINING = "a hazard is left"


class World:
    """A program of hazards: `cure1` … raise until replaced by `fine1` …; replacing `bad` gives a wrong value."""

    def __init__(self, text: str) -> None:
        self.source = Source.from_text("f.py", text)
        self.judged: list[str] = []
        self._codemods = [
            replacing(r"cure(\d+)", r"fine\1"),
            replacing("bad", "wrong", code="GF902", name="bad"),
            replacing(r"idle(\d+)", r"same\1", code="GF903", name="idle"),
        ]

    def fixer(self, excluded: frozenset[Identity]) -> FixResult:
        return fix(self.source, self._codemods, Policy(), excluded)

    def text(self, result: FixResult) -> str:
        return edit_sets.apply(self.source.text, result.edits)

    def judge(self, before: FixResult, after: FixResult) -> Judgement:
        old, new = self.text(before), self.text(after)
        self.judged.append(new)
        if "wrong" in new and "wrong" not in old:
            return Judgement(Verdict.REJECTED, "gradients differ")
        if "cure" in new:
            return Judgement(Verdict.REJECTED, REMAINING)
        return Judgement(Verdict.FIXED if "cure" in old else Verdict.EQUIVALENT, "same loss", runs=8)

    def share(self, one: Result, before: FixResult, after: FixResult) -> Judgement:
        """Lines with `idle` don't run."""
        if "idle" in one.finding.message:
            return Judgement(Verdict.NOT_EXERCISED, "")
        return self.judge(before, after)


def _settled(text: str) -> tuple[World, Settled]:
    world = World(text)
    return world, settle(world.fixer, world.judge, world.share)


def _verdicts(settled: Settled) -> list[Verdict | None]:
    return [r.judgement.verdict if r.judgement else None for r in settled.result.applied]


def test_one_fix_is_judged_once() -> None:
    world, settled = _settled("cure1\n")
    assert _verdicts(settled) == [Verdict.FIXED]
    assert len(world.judged) == 1


def test_two_hazards_are_cured_together_and_each_fix_counts() -> None:
    _, settled = _settled("cure1\ncure2\n")
    assert _verdicts(settled) == [Verdict.FIXED, Verdict.FIXED]
    assert settled.rejected == ()


def test_a_harmless_fix_beside_a_cure_is_equivalent() -> None:
    _, settled = _settled("cure1\nidle1\n")
    assert {r.finding.message: r.judgement.verdict for r in settled.result.applied if r.judgement} == {
        "found `cure1`": Verdict.FIXED,
        "found `idle1`": Verdict.EQUIVALENT,
    }


@pytest.mark.parametrize("runs", [8, 0])
def test_a_fix_without_an_oracle_keeps_the_others_from_no_verdict(runs: int) -> None:
    world = World("cure1\nidle1\ncure2\n")

    def judge(before: FixResult, after: FixResult) -> Judgement:
        if "idle" in world.text(before):
            return Judgement(Verdict.UNCHECKED, "no oracle", runs=runs)
        return world.judge(before, after)

    settled = settle(world.fixer, judge, lambda one, before, after: judge(before, after))
    alone = [Verdict.FIXED, Verdict.UNCHECKED, Verdict.FIXED]
    assert _verdicts(settled) == (alone if runs else [Verdict.UNCHECKED] * 3)


def test_of_many_the_one_without_an_oracle_keeps_only_its_part_from_a_verdict() -> None:
    world = World("idle1\n" + "".join(f"cure{i}\n" for i in range(3 * EACH)))
    asked: list[str] = []

    def judge(before: FixResult, after: FixResult) -> Judgement:
        asked.append(world.text(before))
        if "idle" in asked[-1]:
            return Judgement(Verdict.UNCHECKED, "no oracle", runs=8)
        return world.judge(before, after)

    settled = settle(world.fixer, judge, lambda one, before, after: judge(before, after))
    assert _verdicts(settled) == [Verdict.UNCHECKED] + [Verdict.FIXED] * (3 * EACH)
    assert len(set(asked)) < 2 * EACH  # not one for each


def test_the_wrong_fix_alone_is_left_out_with_its_own_reason() -> None:
    world, settled = _settled("cure1\nbad\ncure2\n")
    assert world.text(settled.result) == "fine1\nbad\nfine2\n"
    assert [(r.finding.message, r.judgement and r.judgement.reason) for r in settled.rejected] == [
        ("found `bad`", "gradients differ")
    ]
    assert [r.finding.message for r in settled.result.left] == ["found `bad`"]


def test_several_wrong_fixes_are_all_left_out() -> None:
    world, settled = _settled("bad\ncure1\nbad\nidle1\nbad\n")
    assert world.text(settled.result) == "bad\nfine1\nbad\nsame1\nbad\n"
    assert len(settled.rejected) == 3


def test_when_nothing_helps_everything_is_left_out() -> None:
    world = World("cure1\ncure2\n")
    settled = settle(world.fixer, lambda before, after: Judgement(Verdict.REJECTED, "always"), world.share)
    assert settled.result.edits == ()
    assert len(settled.rejected) == 2


@pytest.mark.parametrize(
    ("ways", "made", "tried"),
    [
        (("fine1", "good1"), "fine1\n", []),
        (("wrong", "fine1"), "fine1\n", ["wrong"]),
        (("wrong", "cure2"), "cure1\n", ["wrong", "cure2"]),
    ],
)
def test_the_next_fix_is_tried_where_one_is_rejected(ways: tuple[str, str], made: str, tried: list[str]) -> None:
    world = World("cure1\n")
    world._codemods = [replacing("cure1", ways[0], also=ways[1:])]
    settled = settle(world.fixer, world.judge, world.share)
    assert world.text(settled.result) == made
    assert [r.fix.edits[0].text for r in settled.rejected if r.fix] == tried


def _cutting(codemod: Codemod) -> Codemod:
    """The same, where each finding is a cut."""
    place = Place(Span(0, 1), "")
    cut = Hazard(HazardKind.DISCONNECTED, place, place, "")

    def find(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
        return (replace(finding, hazard=cut) for finding in codemod.find(source, facts))

    return replace(codemod, find=find)


def test_cuts_of_one_loss_are_judged_together() -> None:
    """Each half alone gives the loss part of its gradient, which differs from all of it."""
    world = World("cure1\ncure2\n")
    world._codemods = [_cutting(codemod) for codemod in world._codemods]

    def judge(before: FixResult, after: FixResult) -> Judgement:
        half = "fine" in world.text(before)
        return Judgement(Verdict.REJECTED, "differs") if half else Judgement(Verdict.FIXED, "same loss")

    settled = settle(world.fixer, judge, world.share)
    assert _verdicts(settled) == [Verdict.FIXED, Verdict.FIXED]


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        pytest.param("cure1\nidle1\n", [], id="both right"),
        pytest.param("cure1\nbad\nidle1\n", ["found `bad`"], id="beside a wrong one"),
        pytest.param("cure1\nidle13\nidle1\n", ["found `idle13`"], id="a wrong cut"),
    ],
)
def test_a_cut_is_judged_against_the_text_with_the_other_cures(text: str, left_out: list[str]) -> None:
    """What `idle` undoes changes gradients, so beside the cure of an error it looks like a mistake."""
    world = World(text)
    world._codemods[2] = _cutting(world._codemods[2])

    def judge(before: FixResult, after: FixResult) -> Judgement:
        old, new = world.text(before), world.text(after)
        undone = new.count("same") > old.count("same")
        if "same13" in new or (undone and "fine" in new and "fine" not in old):
            return Judgement(Verdict.REJECTED, "the gradient is another")
        return world.judge(before, after)

    settled = settle(world.fixer, judge, world.share)
    assert [r.finding.message for r in settled.rejected] == left_out
    assert world.text(settled.result).startswith("fine1\n")
    assert world.text(settled.result).endswith("same1\n")


def test_one_wrong_fix_among_many_is_found_with_few_trials() -> None:
    lines = [f"idle{i}" for i in range(40)]
    lines[23] = "bad"
    world, settled = _settled("\n".join(lines) + "\n")
    assert [r.finding.message for r in settled.rejected] == ["found `bad`"]
    assert len(world.judged) < 20


def test_many_fixes_share_one_judgement_and_say_so() -> None:
    text = "".join(f"cure{i}\n" for i in range(EACH)) + "idle1\n"
    _, settled = _settled(text)
    assert _verdicts(settled) == [Verdict.FIXED] * EACH + [Verdict.NOT_EXERCISED]
    assert settled.result.applied[0].judgement is not None
    assert settled.result.applied[0].judgement.notes == (f"judged together with {EACH} other fixes of this file",)


def test_a_fix_that_differs_from_the_others_is_left_out_though_all_together_pass() -> None:
    world = World("idle1\nidle2\n")

    def judge(before: FixResult, after: FixResult) -> Judgement:
        """Two differences that cancel out: one fix alone changes the value, both together don't."""
        changed = world.text(before).count("same") % 2 != world.text(after).count("same") % 2
        return Judgement(Verdict.REJECTED if changed else Verdict.EQUIVALENT, "")

    settled = settle(world.fixer, judge, world.share)
    assert len(settled.rejected) == 2
    assert settled.result.edits == ()


def test_with_proof_required_what_is_not_proven_is_left_out() -> None:
    world = World("cure1\nidle1\n")

    def judge(before: FixResult, after: FixResult) -> Judgement:
        """`idle` is never exercised."""
        cured = "cure" in world.text(before) and "cure" not in world.text(after)
        return Judgement(Verdict.FIXED if cured else Verdict.NOT_EXERCISED, "")

    assert len(settle(world.fixer, judge, world.share).result.applied) == 2
    settled = settle(world.fixer, judge, world.share, proven=True)
    assert world.text(settled.result) == "fine1\nidle1\n"
    assert [r.finding.message for r in settled.rejected] == ["found `idle1`"]


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_the_smallest_part_has_all_the_guilty_and_no_other(case: tuple[int, set[int]]) -> None:
    size, guilty = case
    found = smallest(range(size), lambda part: guilty <= set(part))
    assert set(found) >= guilty
    assert len(found) == max(1, len(guilty))


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([Verdict.FIXED, Verdict.REJECTED], Verdict.REJECTED),
        ([Verdict.NOT_EXERCISED, Verdict.EQUIVALENT, Verdict.FIXED], Verdict.FIXED),
        ([Verdict.UNCHECKED, Verdict.NOT_EXERCISED], Verdict.NOT_EXERCISED),
    ],
)
def test_several_cases_are_combined(verdicts: list[Verdict], said: Verdict) -> None:
    assert combined([Judgement(verdict, "") for verdict in verdicts]).verdict is said


def _shown(verdict: Verdict, *missed: int) -> Judgement:
    return Judgement(verdict, "right", shown=Shown(frozenset(), frozenset(), missed=frozenset(missed)))


def test_nothing_is_proven_of_a_rewrite_with_a_line_that_never_ran() -> None:
    told = combined([_shown(Verdict.FIXED, 7, 9)])
    assert told.verdict is Verdict.NOT_EXERCISED
    assert told.reason == "lines 7, 9 of the rewritten text never ran; where it ran: right"
    assert combined([_shown(Verdict.REJECTED, 7)]).verdict is Verdict.REJECTED


def test_what_one_run_misses_another_one_may_reach() -> None:
    assert combined([_shown(Verdict.FIXED, 7), _shown(Verdict.EQUIVALENT, 9)]).verdict is Verdict.FIXED
    assert combined([_shown(Verdict.FIXED, 7), _shown(Verdict.UNCHECKED)]).verdict is Verdict.NOT_EXERCISED
    unknown = Judgement(Verdict.EQUIVALENT, "a command")
    assert combined([_shown(Verdict.FIXED, 7), unknown]).verdict is Verdict.FIXED
