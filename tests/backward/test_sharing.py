"""Tensors that a caller holds after a call share memory with one another as before: it may write to one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import Judge

from gradfix.backward.cases import DeclaredCall
from gradfix.findings import HazardKind, Verdict

torch = pytest.importorskip("torch")
WRITTEN = frozenset({HazardKind.SAVED_THEN_WRITTEN})

VIEWED = """\
def f(x):
    y = x.exp()
    z = y[0]
    y[1] = 0
    return y, z
"""
PARTS = """\
def f(x):
    y = x.exp()
    y[1] = 0
    a, b = y.chunk(2)
    return a, b
"""
KEPT = """\
class Net(torch.nn.Module):
    def forward(self, x):
        y = x.exp()
        self.last = y.view(-1)
        y[1] = 0
        return y
"""
OF_ITS_OWN = """\
def f(x, out):
    y = x.exp()
    y[1] = 0
    out = out.clone()
    return y, out
"""
CLONED = "y = y.clone()\n    y[1] = 0"
CALL, METHOD, TWO = "f(randn(4, 3))", "Net()(randn(4, 3))", "f(randn(4, 3), randn(3))"


@pytest.mark.parametrize(
    ("text", "old", "new", "call", "verdict"),
    [
        pytest.param(VIEWED, "y[1] = 0", f"{CLONED}\n    z = y[0]", CALL, Verdict.FIXED, id="a view made again"),
        pytest.param(VIEWED, "y[1] = 0", CLONED, CALL, Verdict.REJECTED, id="a view of what was"),
        pytest.param(PARTS, "y[1] = 0", CLONED, CALL, Verdict.FIXED, id="parts of one memory"),
        pytest.param(
            PARTS, "y[1] = 0\n    a, b = y.chunk(2)", f"{CLONED}\n    a, b = y[:2].clone(), y[2:].clone()",
            CALL, Verdict.FIXED, id="parts of two memories",
        ),
        pytest.param(
            KEPT, "self.last = y.view(-1)\n        y[1]", "y = y.clone()\n        self.last = y.view(-1)\n        y[1]",
            METHOD, Verdict.FIXED, id="kept in the object",
        ),
        pytest.param(
            KEPT, "y[1] = 0", "y = y.clone(); y[1] = 0; self.last = y.flatten().clone()", METHOD, Verdict.REJECTED,
            id="no longer kept",
        ),
        pytest.param(
            OF_ITS_OWN, "y[1] = 0\n    out = out.clone()", CLONED, TWO, Verdict.REJECTED, id="shared with an argument"
        ),
    ],
)  # fmt: skip
def test_what_a_caller_may_write_to_is_shared_as_before(
    judge: Judge, text: str, old: str, new: str, call: str, verdict: Verdict
) -> None:
    judgement = judge(text, old, new, DeclaredCall(call), kinds=WRITTEN)
    assert judgement.verdict is verdict, judgement
    if verdict is Verdict.REJECTED:
        assert "share memory" in judgement.reason


BASE: Any = torch.zeros(4, 6)
MET: dict[str, tuple[Callable[[], Any], Callable[[], Any], bool]] = {
    "itself": (lambda: BASE, lambda: BASE, True),
    "a view": (lambda: BASE, lambda: BASE.view(-1), True),
    "other memory": (lambda: BASE, lambda: BASE.clone(), False),
    "two halves": (lambda: BASE[:2], lambda: BASE[2:], False),
    "halves that overlap": (lambda: BASE[:3], lambda: BASE[2:], True),
    "columns": (lambda: BASE[:, 0], lambda: BASE[:, 1], False),
    "a column and a row": (lambda: BASE[:, 1], lambda: BASE[2], True),
    "columns between others": (lambda: BASE[:, ::2], lambda: BASE[:, 1::2], False),
    "columns that meet": (lambda: BASE[:, ::2], lambda: BASE[:, ::3], True),
    "a cell in a gap": (lambda: BASE[:, ::2], lambda: BASE[0, 1], False),
    "an expanded cell": (lambda: BASE[0, :1].expand(5), lambda: BASE[0], True),
    "nothing": (lambda: BASE[:0], lambda: BASE, False),
    "another type": (lambda: BASE.view(torch.int32)[1], lambda: BASE[1:], True),
}


@pytest.mark.parametrize("name", MET)
def test_which_tensors_share_a_cell(name: str) -> None:
    from gradfix.backward.worker.sharing import sharing

    one, other, expected = MET[name]
    assert sharing({"a": one(), "b": other()}) == ([("a", "b")] if expected else [])
