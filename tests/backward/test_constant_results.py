"""Calls that give nothing with a graph: their results are compared, unless what is changed has one."""

from __future__ import annotations

import pytest
from conftest import Judge

from gradfix.backward.cases import DeclaredCall
from gradfix.findings import HazardKind, Verdict

GRID = "def f(x):\n    g = torch.arange(3.0).repeat(x.shape[0], 1)\n    g[0] = 5\n    return g\n"
MASK = "def f(x):\n    h = x.exp()\n    h[0] = 5\n    return (h > 1).float()\n"
QUIET = f"@torch.no_grad()\n{MASK}"
CALL = DeclaredCall("f(randn(4, 3))")


@pytest.mark.parametrize(
    ("text", "old", "new", "verdict"),
    [
        (GRID, "g[0] = 5", "g = g.clone(); g[0] = 5", Verdict.EQUIVALENT),
        (GRID, "g[0] = 5", "g = g.clone(); g[0] = 6", Verdict.REJECTED),
        (GRID, "g[0] = 5", "g = g.clone().double(); g[0] = 5", Verdict.REJECTED),
        (GRID, "g[0] = 5", "g = g.clone(); g[0] = 5; x += 1", Verdict.REJECTED),
        (GRID, "g[0] = 5", "g = g.clone(); g[0] = 5; torch.rand(1)", Verdict.REJECTED),
        (MASK, "h[0] = 5", "h = h.clone(); h[0] = 5", Verdict.UNCHECKED),
        (MASK, "h[0] = 5", "h = h.detach().clone(); h[0] = 5", Verdict.UNCHECKED),
        (QUIET, "h[0] = 5", "h = h.clone(); h[0] = 5", Verdict.EQUIVALENT),
    ],
)
def test_what_it_gives_is_compared(judge: Judge, text: str, old: str, new: str, verdict: Verdict) -> None:
    judgement = judge(text, old, new, CALL)
    assert judgement.verdict is verdict, judgement
    assert verdict is not Verdict.EQUIVALENT or "same results, without gradients" in judgement.reason


def test_a_graph_that_is_lost_is_no_constant(judge: Judge) -> None:
    text = "def f(x):\n    h = x.exp().detach()\n    return h * 2\n"
    lost = frozenset({HazardKind.DISCONNECTED})
    assert judge(text, "h * 2", "h.mul(2)", CALL, kinds=lost).verdict is not Verdict.EQUIVALENT
