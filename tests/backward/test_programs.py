"""Whole programs of `examples/` with their repairs by hand: training loops, modules, optimizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradfix.backward.cases import Program, cases
from gradfix.backward.checker import Checker
from gradfix.findings import Judgement, Verdict

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
REPAIRED = ROOT / "tests" / "fixtures" / "programs"


def judged(checker: Checker, name: str, spoil: tuple[str, str] = ("", "")) -> Judgement:
    before = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    after = (REPAIRED / f"{name}.fixed.py").read_text(encoding="utf-8").replace(*spoil)
    assert cases(EXAMPLES / f"{name}.py", before) == (Program(),)
    lines = frozenset(range(1, 200))
    return checker.judge(EXAMPLES / f"{name}.py", before, after, Program(), lines, lines)


@pytest.mark.parametrize("name", ["box_decoding", "rl_returns", "residual_block"])
def test_the_repair_by_hand_is_fixed(checker: Checker, name: str) -> None:
    judgement = judged(checker, name)
    assert judgement.verdict is Verdict.FIXED, judgement
    assert judgement.oracle == "clone-packing saved-tensor hooks"


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("box_decoding", ("* 2.0 - 0.5", "* 2.0 + 0.5")),
        ("rl_returns", ("returns[::-1]", "returns")),
    ],
)
def test_a_slip_in_the_repair_is_rejected(checker: Checker, name: str, spoil: tuple[str, str]) -> None:
    judgement = judged(checker, name, spoil)
    assert judgement.verdict is Verdict.REJECTED
    assert "before" in judgement.reason
