"""Cuts undone beside others that are meant: what the others cut off is held constant, so wrong rewrites still show."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from conftest import Judge

from gradfix.findings import HazardKind, Verdict

HELD = "float64 central differences with what is cut off held constant"
CUT = frozenset({HazardKind.DISCONNECTED})

LEAVES = """\
x = torch.randn(3, requires_grad=True)
step = torch.rand((), requires_grad=True)
h = x.exp()
a, b = h.sum(), h.sin().sum()
"""
TEACHER = """\
student, teacher = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
with torch.no_grad():
    for one, other in zip(teacher.parameters(), student.parameters()):
        one.mul_(0.9).add_(other, alpha=0.1)
heat = torch.ones((), requires_grad=True)
x = torch.randn(4, 3)
with torch.no_grad():
    wanted = torch.softmax(teacher(x) + student(x), 1)
loss = -(wanted * torch.log_softmax(student(x) * heat.item(), 1)).sum()
"""
NORM = """\
net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh())
scale = torch.ones((), requires_grad=True)
h = net(torch.randn(8, 3))
loss = (h * h.detach().abs()).sum() * scale.item()
"""
ROUNDS = """\
x = torch.randn(3, requires_grad=True)
state, total = torch.zeros(3), 0.0
for t in range(3):
    state = (state.detach() + x * (t + 1)).tanh()
    total = total + state.sum().item()
loss = x.sum() * 0 + total
"""
DETOUR = """\
import numpy as np
kept = h.detach()
loss = (torch.from_numpy(np.sqrt(h.detach().numpy())) * kept).sum()
"""


@dataclass(frozen=True)
class Case:
    """A program with a cut, what stands there instead once it is undone, and a mistake beside that."""

    text: str
    cut: str
    undone: str
    old: str  # in the text, or in it with the cut undone
    wrong: str
    names: str = ""  # of the cut itself, where more than it changes

    @property
    def whole(self) -> str:
        return self.text + "loss.backward()\n"


CASES = {
    "a target": Case(
        LEAVES + "target = h.detach() * 0.5\nloss = ((h - target) ** 2).sum() / step.exp().item()\n",
        "step.exp().item()", "step.exp()", "h.detach() * 0.5", "h * 0.5",
    ),
    "weights of the same terms": Case(
        LEAVES + "w = torch.softmax(torch.stack([a, b]).detach(), 0)\nloss = (torch.tensor([a, b]) * w).sum()\n",
        "torch.tensor([a, b])", "torch.stack((a, b))", "torch.stack([a, b]).detach()", "torch.stack([a, b])",
    ),
    "half of the terms": Case(
        LEAVES + "w = a.detach()\nloss = (torch.tensor([a, b]) * w).sum()\n",
        "torch.tensor([a, b])", "torch.stack([a, b])", "torch.stack([a, b])", "torch.stack([a, b.detach()])",
    ),
    "a straight-through round": Case(
        LEAVES + "q = (h.round() - h).detach() + h\nloss = (q * step.detach()).sum() + (x * q).sum()\n",
        "step.detach()", "step", "(h.round() - h).detach() + h", "h.round()",
    ),
    "a teacher without gradients": Case(
        TEACHER, "heat.item()", "heat", "with torch.no_grad():\n    wanted", "if True:\n    wanted"
    ),
    "data that is read": Case(
        LEAVES + "loss = (h.data / h.data.sum() * torch.as_tensor(h.tolist())).sum() * step\n",
        "h.tolist()", "h", "h.data / h.data.sum()", "h / h.data.sum()",
    ),
    "a baseline and a mask": Case(
        LEAVES + "mask = h > h.mean().item()\nbest = h[h.argmax()].detach()\n"
        "loss = torch.tensor([(h * mask).sum() - best, step]).sum()\n",
        "torch.tensor([(h * mask).sum() - best, step])", "torch.stack([(h * mask).sum() - best, step])",
        "h[h.argmax()].detach()", "h[h.argmax()]",
    ),
    "a leaf of its own": Case(
        LEAVES + "scale = h.detach().max()\nloss = torch.tensor((h / scale).sum(), requires_grad=True)\n",
        "torch.tensor((h / scale).sum(), requires_grad=True)", "(h / scale).sum()", "h.detach().max()", "h.max()",
    ),
    "running statistics": Case(NORM, "scale.item()", "scale", "h.detach().abs()", "h.abs()"),
    "truncated rounds": Case(ROUNDS, "state.sum().item()", "state.sum()", "state.detach() + x", "state + x"),
    "an argument of the same line": Case(
        LEAVES + "loss = torch.tensor([a * b.detach(), b]).sum()\n",
        "torch.tensor([a * b.detach(), b])", "torch.stack([a * b.detach(), b])", "a * b.detach(), b", "a * b, b",
    ),
    "a leaf that asks for gradients later": Case(
        "x = torch.randn(3).requires_grad_()\nh = x.sin()\na, b = h.sum(), h.sin().sum()\n"
        "w = a.detach()\nloss = (torch.tensor([a, b]) * w).sum()\n",
        "torch.tensor([a, b])", "torch.stack([a, b])", "w = a.detach()", "w = a",
    ),
    "a detour through NumPy": Case(
        LEAVES + DETOUR, "torch.from_numpy(np.sqrt(h.detach().numpy()))", "h.sqrt()", "kept = h.detach()", "kept = h",
        "h.detach()",
    ),
}  # fmt: skip
_ALIKE = ("half of the terms", "a teacher without gradients", "an argument of the same line", "truncated rounds")


@pytest.mark.parametrize("case", [case for name, case in CASES.items() if name not in _ALIKE])
def test_a_cut_undone_beside_others_is_proven(judge: Judge, case: Case) -> None:
    judgement = judge(case.whole, case.cut, case.undone, kinds=CUT, cuts=[case.cut], within=case.names)
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, HELD), judgement


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_cut_that_is_meant_stays(judge: Judge, case: Case) -> None:
    """The cut is undone, and one of the others with it."""
    wrong = case.whole.replace(case.cut, case.undone).replace(case.old, case.wrong)
    assert wrong != case.whole.replace(case.cut, case.undone)
    judgement = judge(case.whole, case.whole, wrong, kinds=CUT, cuts=[case.cut], within=case.names)
    assert judgement.verdict is Verdict.REJECTED, judgement
    assert "central differences give" in judgement.reason


def test_a_block_without_gradients_is_undone_as_a_whole(judge: Judge) -> None:
    text = LEAVES + "with torch.no_grad():\n    loss = (a * b).sin()\nloss.backward()\n"
    judgement = judge(text, "no_grad", "enable_grad", kinds=CUT, cuts=["torch.no_grad()"])
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, "float64 central differences"), judgement


def test_data_written_in_place_is_passed_on(judge: Judge) -> None:
    text = LEAVES + "g = x * 2\ng.data += 1\nloss = (g * h.detach()).sum() + g.prod()\nloss.backward()\n"
    judgement = judge(text, "g.data += 1", "g = g + 1", silent=True)
    assert judgement.verdict in (Verdict.FIXED, Verdict.EQUIVALENT), judgement
    assert (
        judge(text, "g.data += 1", "g = g + g.detach() * 0 + 1 + x - x.detach()", silent=True).verdict
        is Verdict.REJECTED
    )


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param("c = g.detach()\nc += 1\nloss = (g * c).sum()", id="through what was detached"),
        pytest.param("with torch.no_grad():\n    g[0] = 1\nloss = (g * h.detach()).sum()", id="without gradients"),
        pytest.param("x.data = x.data * 2\nloss = (x * h.detach()).sum()", id="other data"),
    ],
)
def test_what_is_written_past_autograd_leaves_it_open(judge: Judge, beside: str) -> None:
    text = LEAVES + f"g = x * 2\n{beside}\nloss = loss * step.item()\nloss.backward()\n"
    judgement = judge(text, "step.item()", "step", kinds=CUT, cuts=["step.item()"])
    assert judgement.verdict in (Verdict.REJECTED, Verdict.UNCHECKED), judgement


def test_a_forward_that_is_too_steep_in_some_runs_is_judged_by_the_others(judge: Judge) -> None:
    text = "x = torch.randn(3).requires_grad_()\nh = x.exp()\na, b = h.sum(), h.sin().sum()\n"
    text += "w = a.detach()\nloss = (torch.tensor([a, b]) * w).sum()\nloss.backward()\n"
    judgement = judge(text, "torch.tensor([a, b])", "torch.stack([a, b])", kinds=CUT, cuts=["torch.tensor([a, b])"])
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, HELD), judgement
    assert any(note.startswith("not judged in some runs") for note in judgement.notes), judgement
