"""Updates of leaves outside of `no_grad`: what a step along a gradient would have come to is the oracle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Judge, judged_by
from lending import Lender

from gradfix.backward.cases import DeclaredCall
from gradfix.backward.limits import Limits
from gradfix.findings import HazardKind, Verdict

DESCENT = """\
w = torch.randn(3, requires_grad=True)
x, t = torch.randn(5, 3), torch.randn(5)
for step in range(3):
    loss = ((x @ w - t) ** 2).mean()
    loss.backward()
    w.sub_(0.1 * w.grad)
    w.grad.zero_()
    print(step, loss.item())
"""
STEP = "    w.sub_(0.1 * w.grad)\n"
FUNCTION = """\
def train(x, t, lr=0.1):
    w = torch.zeros(3, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    loss = ((x @ w + b - t) ** 2).mean()
    loss.backward()
    w -= lr * w.grad
    b -= lr * b.grad
    return w.detach(), b.detach()
"""
STEPS = "    w -= lr * w.grad\n    b -= lr * b.grad\n"
MODULE = """\
net = torch.nn.Linear(3, 1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
for i in range(3):
    loss = ((net(x) - y) ** 2).mean()
    net.zero_grad()
    loss.backward()
    for p in net.parameters():
        p.sub_(0.1 * p.grad)
"""
OF_PARAMETER = "        p.sub_(0.1 * p.grad)\n"
BOUNDED = """\
d = torch.zeros(4, requires_grad=True)
v = torch.zeros(4)
for _ in range(3):
    (d.exp() * torch.arange(4.0)).sum().backward()
    v = 0.9 * v + d.grad.sign()
    d[1:] += 0.1 * v[1:]
    d.clamp_(-0.15, 0.15)
    d.grad = None
print(d.tolist())
"""
BOUND = "    d[1:] += 0.1 * v[1:]\n    d.clamp_(-0.15, 0.15)\n"
META = """\
w = torch.randn(3, requires_grad=True)
x = torch.randn(5, 3)
g, = torch.autograd.grad((x @ w).pow(2).mean(), w, create_graph=True)
w -= 0.1 * g
(x @ w).pow(2).mean().backward()
"""
CALL = DeclaredCall("train(data(randn(8, 3)), data(randn(8)))")


def within(steps: str, indent: str = "    ") -> str:
    """The statements under `no_grad`."""
    lines = steps.splitlines(keepends=True)
    return f"{indent}with torch.no_grad():\n" + "".join("    " + line for line in lines)


@pytest.fixture(scope="module")
def judge(lender: Lender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """One pair of runs is enough here."""
    folder = tmp_path_factory.mktemp("project")
    with lender.checker(cwd=folder, limits=Limits(case=0.0)) as checker:
        yield judged_by(checker, folder)


@pytest.mark.parametrize(
    ("text", "old", "new", "case"),
    [
        pytest.param(DESCENT, STEP, within(STEP), None, id="descent"),
        pytest.param(DESCENT, STEP, "    w.data.sub_(0.1 * w.grad)\n", None, id="by data"),
        pytest.param(FUNCTION, STEPS, within(STEPS), CALL, id="the last step of a function"),
        pytest.param(MODULE, OF_PARAMETER, within(OF_PARAMETER, " " * 8), None, id="of parameters"),
        pytest.param(BOUNDED, BOUND, within(BOUND), None, id="a part, with momentum and bounds"),
        pytest.param(META, "w -= 0.1 * g", "w = w - 0.1 * g", None, id="a step that has a graph"),
    ],
)
def test_the_step_that_was_meant(judge: Judge, text: str, old: str, new: str, case: DeclaredCall | None) -> None:
    judgement = judge(text, old, new, case, kinds=frozenset({HazardKind.LEAF_WRITTEN}))
    assert judgement.verdict is Verdict.FIXED, judgement.reason


@pytest.mark.parametrize(
    ("text", "old", "new", "case"),
    [
        pytest.param(DESCENT, STEP, within(STEP.replace("0.1", "0.11")), None, id="another rate"),
        pytest.param(DESCENT, STEP, "    pass\n", None, id="no step"),
        pytest.param(FUNCTION, STEPS, within(STEPS.replace("b -= lr * b", "b -= lr * w")), CALL, id="another gradient"),
        pytest.param(MODULE, OF_PARAMETER, "        p = p - 0.1 * p.grad\n", None, id="a local name"),
        pytest.param(BOUNDED, BOUND, within(BOUND.splitlines()[0] + "\n"), None, id="no bounds"),
        pytest.param(META, "w -= 0.1 * g\n", within("w -= 0.1 * g\n", ""), None, id="its graph cut off"),
    ],
)
def test_another_step(judge: Judge, text: str, old: str, new: str, case: DeclaredCall | None) -> None:
    assert judge(text, old, new, case, kinds=frozenset({HazardKind.LEAF_WRITTEN})).verdict is Verdict.REJECTED
