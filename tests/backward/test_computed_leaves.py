"""Leaves made last: their gradient is what the original's own autograd gives where it computes them."""

from __future__ import annotations

import pytest
from conftest import Judge

from gradfix.findings import HazardKind, Verdict

LEAF = "the original with what it computes handed out as a leaf"
COMPUTED = frozenset({HazardKind.NON_LEAF_GRAD})

DRAWN = "w = torch.randn(3, requires_grad=True) * 0.01\n"
LAST = "w = (torch.randn(3) * 0.01).requires_grad_()\n"
TRAINED = """\
opt = torch.optim.SGD([w], lr=0.1)
for _ in range(3):
    opt.zero_grad()
    loss = ((w.exp() - 1) ** 2).sum() + (w * w.detach()).sum()
    loss.backward()
    opt.step()
print(w.grad, loss.item())
"""
READ = "b = torch.ones(3, requires_grad=True)\nloss = (w * b).exp().sum()\nloss.backward()\nprint(w.grad)\n"
GROUPS = "opt = torch.optim.Adam([{'params': [b]}, {'params': [w], 'lr': 0.1}])\n"
SEVERAL = (
    "b = torch.ones(3, requires_grad=True)\n" + GROUPS + "loss = (w * b).exp().sum()\nloss.backward()\nopt.step()\n"
)
CAST = "w = torch.rand(3, requires_grad=True).double()\n"
CAST_LAST = "w = torch.rand(3).double().requires_grad_()\n"


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        pytest.param(DRAWN + TRAINED, DRAWN, LAST, id="scaled, then optimised"),
        pytest.param(DRAWN + READ, DRAWN, LAST, id="its gradient is read"),
        pytest.param(DRAWN + SEVERAL, DRAWN, LAST, id="one of several"),
        pytest.param(CAST + READ, CAST, CAST_LAST, id="cast"),
    ],
)
def test_a_leaf_that_is_made_last_is_proven(judge: Judge, text: str, old: str, new: str) -> None:
    judgement = judge(text, old, new, kinds=COMPUTED)
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, LEAF), judgement


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        pytest.param(DRAWN + TRAINED, DRAWN, "w = torch.randn(3).requires_grad_()\n", id="not scaled"),
        pytest.param(DRAWN + READ, DRAWN, "w = (torch.randn(3) * 0.02).requires_grad_()\n", id="scaled otherwise"),
        pytest.param(DRAWN + TRAINED, "    opt.step()", "    opt.step()\n    opt.step()", id="a step too many"),
        pytest.param(DRAWN + READ, "loss = (w", "loss = (w.detach() + 0 * w", id="cut"),
        pytest.param(DRAWN + SEVERAL, "loss = (w * b)", "w.requires_grad_(False)\nloss = (w * b)", id="not trained"),
        pytest.param(CAST + READ, CAST, "w = torch.rand(3).requires_grad_()\n", id="not cast"),
    ],
)
def test_another_leaf_is_not(judge: Judge, text: str, old: str, new: str) -> None:
    wrong = text.replace(old, new)
    if DRAWN not in old:
        wrong = wrong.replace(DRAWN, LAST)
    judgement = judge(text, text, wrong, kinds=COMPUTED)
    assert judgement.verdict in (Verdict.REJECTED, Verdict.UNCHECKED), judgement


STEPS = """\
w = torch.ones(3, requires_grad=True)
for _ in range(3):
    (w * w).sum().backward()
    w = w - 0.1 * w.grad
    w.grad.zero_()
"""
QUIET = "    with torch.no_grad():\n        w -= 0.1 * w.grad\n"


def test_a_step_that_made_a_new_tensor_has_no_oracle(judge: Judge) -> None:
    judgement = judge(STEPS, "    w = w - 0.1 * w.grad\n", QUIET, kinds=COMPUTED, writes="zero_")
    assert judgement.verdict is Verdict.UNCHECKED, judgement
    assert "the original ends with AttributeError: 'NoneType' object" in judgement.reason


@pytest.mark.parametrize(
    ("new", "why"),
    [
        pytest.param("    w = w - 0.1 * w.grad\n    w.retain_grad()\n", "still raises AttributeError", id="too late"),
        pytest.param("    w = w - 0.1 * w.grad ** 2\n", "still raises AttributeError", id="as before"),
        pytest.param("    w.grad.mul_(2)\n" + QUIET, "", id="another gradient"),
    ],
)
def test_a_gradient_that_is_still_missing_is_no_fix(judge: Judge, new: str, why: str) -> None:
    judgement = judge(STEPS, "    w = w - 0.1 * w.grad\n", new, kinds=COMPUTED, writes="zero_")
    assert judgement.verdict in ((Verdict.REJECTED,) if why else (Verdict.REJECTED, Verdict.UNCHECKED)), judgement
    assert why in judgement.reason


def test_errors_of_python_that_both_end_with_are_told(judge: Judge) -> None:
    text = "x = torch.ones(3, requires_grad=True)\ny = x.exp() + 0\ny.sum().backward()\nNone.grad\n"
    judgement = judge(text, "x.exp() + 0", "x.exp()")
    assert judgement.verdict is Verdict.EQUIVALENT, judgement
    assert judgement.notes == ("both end with AttributeError: 'NoneType' object has no attribute 'grad'",)
