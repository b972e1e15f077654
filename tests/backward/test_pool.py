"""Several servers side by side, and the evidence of what they reject."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from gradfix.backward.cases import Program
from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.backward.pool import Pool
from gradfix.findings import Judgement, Verdict

TEXT = "import torch\nx = torch.randn(3, requires_grad=True)\ny = x.exp()\ny[0] = 10\nprint(1)\ny.sum().backward()\n"
RIGHT = TEXT.replace("y[0]", "y = y.clone(); y[0]")
WRONG = RIGHT.replace("= 10", "= 11")
LINE = frozenset({4})
ONE = Limits(case=0.0)  # pair of runs: the verdict is no matter here


def verdict(after: str, checker: Checker, text: str = TEXT) -> Judgement:
    return checker.judge(Path("program.py"), text, after, Program(), LINE, LINE)


def children() -> set[str]:
    """Of all threads of this process. One that ends leaves its children to another: then all are read again."""
    while True:
        threads = os.listdir("/proc/self/task")
        try:
            found = [Path(f"/proc/self/task/{thread}/children").read_text().split() for thread in threads]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.listdir("/proc/self/task") == threads:
            return {child for of_thread in found for child in of_thread}


def test_outcomes_keep_their_order_and_each_thread_has_its_server() -> None:
    before = children()
    with Pool("", trust=False, limits=ONE, jobs=2) as pool:
        texts = [RIGHT, WRONG, RIGHT, WRONG]
        verdicts = [judgement.verdict for judgement in pool.each(verdict, texts)]
        assert pool.walls
        assert len(children() - before) == 2
    assert verdicts == [Verdict.FIXED, Verdict.REJECTED] * 2
    assert children() == before


def test_an_interrupt_ends_what_is_under_way() -> None:
    before = children()
    endless = TEXT.replace("y.sum()", "\nwhile True: pass\ny.sum()")
    interrupted: list[float] = []

    def work(text: str, checker: Checker) -> Judgement:
        if text == "interrupt":
            while not any(one.walls for one in pool._started):
                time.sleep(0.01)
            time.sleep(0.2)
            interrupted.append(time.monotonic())
            raise KeyboardInterrupt
        return verdict(text, checker, endless)

    with pytest.raises(KeyboardInterrupt), Pool("", trust=False, limits=ONE, jobs=2) as pool:
        list(pool.each(work, ["interrupt", endless]))
    assert time.monotonic() - interrupted[0] < Limits().seconds
    assert children() == before
    assert threading.active_count() == 1


@pytest.mark.usefixtures("lent")
def test_the_budget_is_one_for_all() -> None:
    with Pool("", trust=False, limits=Limits(total=0.0), jobs=2) as pool:
        found = [judgement.reason for judgement in pool.each(verdict, [RIGHT] * 6)]
    assert found.count("the budget of the check is spent") >= 4


@pytest.mark.usefixtures("lent")
def test_the_evidence_of_a_rejected_fix_is_kept() -> None:
    with Pool("", trust=False, limits=ONE, keep=True) as pool:
        right, wrong = pool.each(verdict, [RIGHT, WRONG])
        kept = pool.kept
    assert not any("kept" in note for note in right.notes)
    assert kept is not None
    (place,) = kept.iterdir()
    assert wrong.notes[-1] == f"its evidence is kept in {place}"
    assert (place / "before.py").read_text() == TEXT
    assert (place / "after.py").read_text() == WRONG
    assert wrong.reason in (place / "verdict.txt").read_text()
    first = (place / "run-01-before.txt").read_text()
    assert "modified by an inplace operation" in first
    assert (place / "run-01-before.stdout").read_text() == "1\n"
    assert any("loss float32[]" in path.read_text() for path in place.glob("run-*-after.txt"))


@pytest.mark.usefixtures("lent")
def test_where_nothing_is_rejected_nothing_is_left() -> None:
    with Pool("", trust=False, limits=ONE, keep=True) as pool:
        folder = pool._kept
        list(pool.each(verdict, [RIGHT]))
        assert pool.kept is None
    assert folder is not None
    assert not folder.exists()
