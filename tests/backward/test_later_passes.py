"""Gradients of later backward passes are held against differences as those of the first one are."""

from __future__ import annotations

import pytest
from conftest import Judge

from gradfix.findings import HazardKind, Verdict

CUT = frozenset({HazardKind.DISCONNECTED})
SILENT = frozenset({HazardKind.SILENT_WRITE})
SAVED = frozenset({HazardKind.SAVED_THEN_WRITTEN})

TWO_LOSSES = """\
x = torch.randn(3, requires_grad=True)
a, b = x.exp().sum(), (x * x).sum()
first = torch.tensor([a, b]).prod()
first.backward()
c, d = x.cos().sum(), x.sin().sum()
second = torch.tensor([c, d]).sin().sum()
second.backward()
"""
BOTH = TWO_LOSSES.replace("torch.tensor", "torch.stack")
AFTER_A_GOOD_ONE = TWO_LOSSES.replace("torch.tensor([a, b])", "torch.stack([a, b])")
TRAINING = """\
x = torch.randn(3, requires_grad=True)
optimizer = torch.optim.SGD([x], lr=0.1)
for step in range(3):
    optimizer.zero_grad()
    a, b = x.exp().sum(), (x * x).sum()
    torch.tensor([a, b]).prod().backward()
    optimizer.step()
"""
BY_HAND = """\
x = torch.randn(3, requires_grad=True)
for step in range(3):
    a, b = x.exp().sum(), (x * x).sum()
    torch.tensor([a, b]).prod().backward()
    with torch.no_grad():
        x -= 0.1 * x.grad
        x.grad.zero_()
"""
WRITTEN = """\
x = torch.randn(3, requires_grad=True)
y = x.exp()
y.data[0] = 2.0
(y.sin() * y).sum().backward()
u = x.cos()
u.data[0] = 2.0
(u * u).sum().backward()
"""
OUT_OF_PLACE = WRITTEN.replace("y.data[0]", "y = y.clone(); y[0]").replace("u.data[0]", "u = u.clone(); u[0]")
PAIR, LATER_PAIR = "torch.tensor([a, b])", "torch.tensor([c, d])"
STACKED = "torch.stack([a, b if step < 1 else b.detach()])"


@pytest.mark.parametrize(
    ("before", "old", "new", "cuts", "kinds"),
    [
        pytest.param(TWO_LOSSES, TWO_LOSSES, BOTH.replace("c, d]", "c, d.detach()]"), (), CUT, id="another loss"),
        pytest.param(AFTER_A_GOOD_ONE, LATER_PAIR, "torch.stack([c, d.detach()])", (LATER_PAIR,), CUT, id="the first"),
        pytest.param(TRAINING, PAIR, STACKED, (), CUT, id="later steps"),
        pytest.param(BY_HAND, PAIR, STACKED, (PAIR,), CUT, id="later steps by hand"),
        pytest.param(WRITTEN, WRITTEN, OUT_OF_PLACE.replace("(u * u)", "(u * u.detach())"), (), SILENT, id="silent"),
    ],
)
def test_a_mistake_in_a_later_pass_is_seen(
    judge: Judge, before: str, old: str, new: str, cuts: tuple[str, ...], kinds: frozenset[HazardKind]
) -> None:
    judgement = judge(before, old, new, cuts=cuts, kinds=kinds)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert "central differences give" in judgement.reason


@pytest.mark.parametrize(
    ("before", "old", "new", "cuts", "kinds"),
    [
        pytest.param(TWO_LOSSES, TWO_LOSSES, BOTH, (), CUT, id="another loss"),
        pytest.param(AFTER_A_GOOD_ONE, LATER_PAIR, "torch.stack([c, d])", (LATER_PAIR,), CUT, id="the first"),
        pytest.param(TRAINING, PAIR, "torch.stack([a, b])", (PAIR,), CUT, id="steps"),
        pytest.param(BY_HAND, PAIR, "torch.stack([a, b])", (PAIR,), CUT, id="steps by hand"),
        pytest.param(WRITTEN, WRITTEN, OUT_OF_PLACE, (), SILENT, id="silent"),
    ],
)
def test_what_is_right_in_each_pass_is_proven(
    judge: Judge, before: str, old: str, new: str, cuts: tuple[str, ...], kinds: frozenset[HazardKind]
) -> None:
    judgement = judge(before, old, new, cuts=cuts, kinds=kinds)
    assert judgement.verdict is Verdict.FIXED, judgement


LEAF_THEN_CUT = """\
x = torch.randn(3, requires_grad=True)
first = torch.tensor([x.exp().sum(), x.sum()], requires_grad=True).prod()
first.backward()
second = torch.tensor([x.cos().sum(), x.sum()]).sum()
second.backward()
"""
CUTS = ("torch.tensor([x.exp().sum(), x.sum()], requires_grad=True)", "torch.tensor([x.cos().sum(), x.sum()])")


@pytest.mark.parametrize(
    ("first", "verdict"),
    [("x.exp().sum(), x.sum()", Verdict.FIXED), ("x.exp().sum(), x.detach().sum()", Verdict.REJECTED)],
)
def test_a_pass_over_copies_before_one_that_raises(judge: Judge, first: str, verdict: Verdict) -> None:
    after = LEAF_THEN_CUT.replace(CUTS[0], f"torch.stack([{first}])").replace("torch.tensor", "torch.stack")
    judgement = judge(LEAF_THEN_CUT, LEAF_THEN_CUT, after, cuts=CUTS, kinds=CUT)
    assert judgement.verdict is verdict, judgement


MANY_STEPS = """\
x = torch.randn(3, requires_grad=True)
for step in range(40):
    y = x.exp()
    y[0] = 0
    y.sum().backward()
"""


@pytest.mark.parametrize(
    ("scale", "verdict"), [("1", Verdict.FIXED), ("(1 + step // 30)", Verdict.REJECTED)], ids=["right", "wrong"]
)
def test_passes_beyond_the_eighth(judge: Judge, scale: str, verdict: Verdict) -> None:
    judgement = judge(MANY_STEPS, "    y[0] = 0\n", f"    y = y * {scale}\n    y[0] = 0\n", kinds=SAVED)
    assert judgement.verdict is verdict, judgement
