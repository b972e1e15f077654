"""Expressions that run only sometimes, and that only the rewritten text has, must have run."""

from __future__ import annotations

import pytest
from conftest import Judge

from gradfix.backward.cases import DeclaredCall
from gradfix.backward.verdict.branches import new_ways
from gradfix.backward.worker.ways import compiled, told_to
from gradfix.findings import Verdict

FUNCTION = """\
def f(x, bias=None):
    y = x.exp()
    y[0] = 0
    return y.sum() if bias is None else y.sum() + bias
"""
CALL = DeclaredCall("f(randn(4, 3))")
WRITE = "    y[0] = 0\n"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("y = a", "y = a if t else b", ["b"]),
        ("y = a", "y = b if t else c", ["b", "c"]),
        ("return y", "return stack(ys) if ys else y", ["stack(ys)"]),
        ("y = a if t else b", "y = a if t else c", ["c"]),
        ("y = a if t else b", "y = (a if t else b) + 1", []),
        ("y = a", "y = t and a or b", ["a", "b"]),
        ("y = a", "y = [g(v) for v in w if t]", ["g(v)"]),
        ("y = a", "y = {v: g(v) for v in w}", ["g(v)"]),
        ("y = a", "y = lambda v: g(v)", ["g(v)"]),
        ("y = a", "y = (", []),
    ],
)
def test_what_only_the_rewritten_text_has(before: str, after: str, expected: list[str]) -> None:
    places = new_ways(before, after, frozenset({1}))
    assert sorted(after[start:end] for _, start, _, end in places) == expected


def test_only_those_in_changed_lines_count() -> None:
    assert new_ways("a\nb", "a\nb if c else d", frozenset({1})) == ()


def test_an_expression_that_tells_keeps_its_value() -> None:
    text = "w = [1 if v else 0 for v in (0, 2)]\nz = w and (lambda: w[1])\n"
    places = new_ways("", text, frozenset({1, 2}))
    ran: set[int] = set()
    told_to(ran.add)
    names: dict[str, object] = {}
    exec(compiled(text, "program.py", places), names)
    assert names["w"] == [0, 1]
    unmet = [text.splitlines()[row - 1][start:end] for n, (row, start, _, end) in enumerate(places, 1) if -n not in ran]
    assert unmet == ["w[1]"]


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ("    y = y.clone() if bias is None else y.detach().clone()\n" + WRITE, Verdict.UNCHECKED),
        ("    y = x.shape[0] == 1 and y * 2 or y.clone()\n" + WRITE, Verdict.UNCHECKED),
        ("    g = lambda t: t.detach()\n    y = y.clone()\n" + WRITE, Verdict.UNCHECKED),
        ("    y = torch.stack([y[k] if k else 0 * y[k] for k in range(4)])\n", Verdict.FIXED),
    ],
)
def test_a_way_that_no_run_takes_proves_nothing(judge: Judge, new: str, verdict: Verdict) -> None:
    judgement = judge(FUNCTION, WRITE, new, CALL)
    assert judgement.verdict is verdict, judgement
    if verdict is Verdict.UNCHECKED:
        assert "ran in none of the runs" in judgement.reason


def test_a_way_that_the_original_has_need_not_run(judge: Judge) -> None:
    old = "    y = x.exp()\n" + WRITE + "    return y.sum() if bias is None else y.sum() + bias\n"
    new = "    y = x.exp()\n    y = y.clone()\n" + WRITE + "    return (y.sum() if bias is None else y.sum() + bias)\n"
    judgement = judge(FUNCTION, old, new, CALL)
    assert judgement.verdict is Verdict.FIXED, judgement
