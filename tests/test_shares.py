"""The part of one fix in a judgement of many."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gradfix.findings import HazardKind, Judgement, Shown, Verdict
from gradfix.proof.attribution import combined
from gradfix.proof.shares import Own, share

SAVED = HazardKind.SAVED_THEN_WRITTEN
LOSS = HazardKind.NON_SCALAR_BACKWARD
ONE = Own(frozenset({3}), frozenset({3}), frozenset({3}), SAVED, predicted=False)
TWO = Own(frozenset({7}), frozenset({7, 8}), frozenset({7}), SAVED, predicted=False)
OF_LOSS = replace(TWO, kind=LOSS)
ALL = frozenset({3, 7, 8})


def part(own: Own, shown: Shown | None, verdict: Verdict = Verdict.FIXED) -> Verdict:
    return share(Judgement(verdict, "", shown=shown), own, [ONE, TWO]).verdict


@pytest.mark.parametrize("own", [ONE, TWO, OF_LOSS])
def test_what_is_not_known_is_shared(own: Own) -> None:
    assert part(own, None) is Verdict.FIXED
    assert part(own, Shown(ALL, ALL)) is Verdict.FIXED


def test_lines_that_did_not_run_share_in_nothing() -> None:
    only_one = Shown(frozenset({3}), frozenset({3}))
    for verdict in (Verdict.FIXED, Verdict.EQUIVALENT, Verdict.NOT_REPRODUCED):
        assert part(ONE, only_one, verdict) is verdict
        assert part(TWO, only_one, verdict) is Verdict.NOT_EXERCISED


def test_lines_that_only_the_rewritten_text_came_to_count() -> None:
    assert part(TWO, Shown(frozenset({3}), frozenset({3, 8}))) is Verdict.FIXED


def test_a_conflict_belongs_to_the_fix_that_cures_it() -> None:
    shown = Shown(ALL, ALL, ((SAVED.value, range(3, 4)),))
    assert part(ONE, shown) is Verdict.FIXED
    assert part(TWO, shown) is Verdict.EQUIVALENT
    assert part(replace(TWO, predicted=True), shown) is Verdict.NOT_REPRODUCED


def test_a_conflict_of_the_loss_belongs_to_the_fixes_of_its_kind() -> None:
    shown = Shown(ALL, ALL, ((LOSS.value, range(0)), (SAVED.value, range(3, 4))))
    assert part(OF_LOSS, shown) is Verdict.FIXED
    assert part(TWO, shown) is Verdict.EQUIVALENT


def test_a_conflict_of_nobody_is_shared() -> None:
    shown = Shown(ALL, ALL, ((SAVED.value, range(0)),))
    assert part(ONE, shown) is part(TWO, shown) is Verdict.FIXED


def test_a_line_of_another_fix_that_never_ran_is_none_of_its_own() -> None:
    judgement = Judgement(Verdict.FIXED, "", shown=Shown(ALL, frozenset({3, 7}), missed=frozenset({8})))
    assert combined([share(judgement, ONE, [ONE, TWO])]).verdict is Verdict.FIXED
    assert combined([share(judgement, TWO, [ONE, TWO])]).verdict is Verdict.NOT_EXERCISED
