"""The backward check against planted mistakes: a part of what `mutants.measure` tries, in one warm server."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")
if sys.platform != "linux":
    pytest.skip("the backward check runs on Linux only", allow_module_level=True)

from lending import Lender  # noqa: E402

from gradfix.backward.checker import Checker  # noqa: E402
from gradfix.findings import Verdict  # noqa: E402
from mutants.behaviour import only_rounds  # noqa: E402
from mutants.catalogue import MUTANTS, Mutant  # noqa: E402
from mutants.measure import PROVEN, Planted, judged, measured  # noqa: E402
from mutants.subjects import Subject, chosen, planted, written  # noqa: E402

# One file for each verb and form: every mutant can be planted into one of them.
FILES = (
    "index_assignment/element_after_exp",
    "index_assignment/mask_of_itself",
    "recurrent_buffer/added_in_place",
    "augmented_assignment/column_of_saved",
    "augmented_assignment/parentheses_kept",
    "inplace_method/chain_after_tanh",
    "zeros_plus_conditional/square_root_guarded",
    "zeros_plus_conditional/effect_keeps_the_branch",
    "labelled/chunk_shift_scale",
    "labelled/while_loop_newton",
)


@pytest.fixture(scope="module")
def checker(lender: Lender) -> Iterator[Checker]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with lender.checker() as shared:
        yield shared
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def subjects() -> tuple[Subject, ...]:
    return (*chosen(FILES), *written())


def test_there_are_at_least_forty_and_each_has_a_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 40


def test_the_fixes_themselves_are_proven(checker: Checker, subjects: tuple[Subject, ...]) -> None:
    assert len(subjects) >= len(FILES)
    for subject in subjects:
        assert judged(checker, subject, subject.after).verdict in PROVEN, subject.name


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS])
def test_a_mistake_is_rejected_and_never_called_proven(
    mutant: Mutant, checker: Checker, subjects: tuple[Subject, ...]
) -> None:
    found: list[Planted] = []
    for subject in subjects:
        if next(planted(subject, mutant), None) is None:
            continue
        found += measured(checker, subject, [mutant], most=1)
        if any(one.judgement.verdict is Verdict.REJECTED for one in found):
            break
    else:
        pytest.fail("rejected nowhere")
    assert [one for one in found if one.escaped] == []


NORMALISED = """
import torch
def f(x):
    w = x.exp() * FACTOR
    return w / w.sum() * SCALE
def case():
    return f, (torch.tensor([1.0, 2.0]),)
"""


def test_what_cancels_only_rounds() -> None:
    plain, factor, scale, wide = (
        NORMALISED.replace("FACTOR", one).replace("SCALE", other)
        for one, other in (("1", "1"), ("1.0001", "1"), ("1", "1.00001"), ("1", "torch.ones(1).double()"))
    )
    assert only_rounds(plain, factor, call=True)
    assert not only_rounds(plain, scale, call=True)
    assert not only_rounds(plain, wide, call=True)
