"""Written parameters of programs: fed as a product with one, from one backward pass to the next."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Judge

from gradfix.findings import Verdict

torch = pytest.importorskip("torch")
FED = "the original with leaves fed as `leaf * 1`"
TRAINING = """\
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(3))
        self.head = torch.nn.Linear(3, 2)
    def forward(self, x):
        self.w.clamp_(min=0.1)
        return self.head(x * self.w)
torch.manual_seed(0)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(2):
    optimizer.zero_grad()
    net(torch.randn(4, 3)).pow(2).sum().backward()
    optimizer.step()
    print(net.w.grad)
"""
WRITE = "self.w.clamp_(min=0.1)\n        return self.head(x * self.w)"


@pytest.mark.parametrize(
    ("text", "new", "verdict"),
    [
        (TRAINING, "w = self.w.clamp(min=0.1)\n        return self.head(x * w)", Verdict.FIXED),
        (TRAINING, "w = self.w.clamp(min=0.2)\n        return self.head(x * w)", Verdict.REJECTED),
        (
            TRAINING,
            "with torch.no_grad(): self.w.clamp_(min=0.1)\n        return self.head(x * self.w)",
            Verdict.REJECTED,  # what is clamped away has a gradient
        ),
        (
            TRAINING.replace(".sum().backward()", ".sum().add(net.w.sum()).backward()"),
            "w = self.w.clamp(min=0.1)\n        return self.head(x * w)",
            Verdict.REJECTED,  # what reads it afterwards misses the write
        ),
    ],
)
def test_a_program_that_writes_a_parameter_of_its_own(judge: Judge, text: str, new: str, verdict: Verdict) -> None:
    judgement = judge(text, WRITE, new)
    assert judgement.verdict is verdict, judgement
    assert verdict is Verdict.REJECTED or judgement.oracle == FED


MADE = """\
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(3))
        self.w[0] = 2
    def forward(self, x):
        return x * self.w
torch.manual_seed(0)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(2):
    net(torch.randn(4, 3)).pow(2).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("self.w[0] = 2", "with torch.no_grad(): self.w[0] = 2", Verdict.FIXED),
        ("self.w[0] = 2", "with torch.no_grad(): self.w[0] = 3", Verdict.REJECTED),
        ("self.w[0].fill_(2)", "with torch.no_grad(): self.w[0].fill_(2)", Verdict.FIXED),
        ("self.w[0] = 2", "self.w[0].clone().fill_(2)", Verdict.REJECTED),
    ],
)
def test_first_values_of_a_parameter_are_no_part_of_the_graph(
    judge: Judge, old: str, new: str, verdict: Verdict
) -> None:
    judgement = judge(MADE.replace("self.w[0] = 2", old), old, new)
    assert judgement.verdict is verdict, judgement
    assert verdict is Verdict.REJECTED or judgement.oracle == FED


def _entered() -> Any:
    from gradfix.backward.worker.parameters import FedParameters
    from gradfix.backward.worker.requests import Plan
    from gradfix.backward.worker.vary import Leaves

    leaves = Leaves(Plan())
    return FedParameters(leaves), leaves


def test_a_write_shows_until_the_pass_and_reaches_the_leaf_as_a_gradient() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    mode, leaves = _entered()
    with mode:
        view = parameter[1:]
        view *= 3
        parameter += 1
        assert parameter.tolist() == [2.0, 7.0]
        assert type(parameter) is torch.nn.Parameter
        (parameter * parameter).sum().backward()
        leaves.after_pass()
        assert parameter.tolist() == [1.0, 2.0]
    assert parameter.grad.tolist() == [4.0, 42.0]


def test_what_a_module_holds_is_written_itself_until_it_is_used() -> None:
    mode, leaves = _entered()
    with mode:
        net = torch.nn.Linear(2, 1)
        net.weight[0, 1].fill_(2)
        net.weight[0, 0] = 1
        net.bias.zero_()
        loss = net(torch.ones(2)).sum()
        net.bias += 5  # read by the call: part of the graph until the pass is over
        (loss * net.bias.sum()).backward()
        leaves.after_pass()
        for parameter in net.parameters():
            parameter -= 0.1 * parameter.grad
    assert torch.allclose(net.weight, torch.tensor([[0.5, 1.5]]))  # 5 is the gradient of both
    assert torch.allclose(net.bias, torch.tensor([-0.8]))  # 5 + 3
    assert net.weight.is_leaf
    assert not torch.nn.modules.module._global_parameter_registration_hooks


UPDATED = """\
torch.manual_seed(0)
net = torch.nn.Linear(3, 1)
for _ in range(3):
    loss = (net(torch.ones(2, 3)) - 1).pow(2).sum()
    net.zero_grad()
    loss.backward()
    for p in net.parameters():
        p -= 0.1 * p.grad
"""


def test_updates_between_passes_last(judge: Judge) -> None:
    old = "    for p in net.parameters():\n        p -= 0.1 * p.grad"
    new = "    with torch.no_grad():\n        for p in net.parameters():\n            p -= 0.1 * p.grad"
    judgement = judge(UPDATED, old, new)
    assert judgement.verdict is Verdict.FIXED, judgement


def test_steps_and_copies_of_parameters_stay_what_they_are() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    mode, _ = _entered()
    with mode:
        seen = parameter * 1
        with torch.no_grad():
            parameter -= 0.5
        parameter.data.mul_(3)
        parameter.detach()[0] = 2
        assert parameter.is_leaf
        assert (parameter * 1).tolist() == [2.0, 1.5]
        torch.nn.init.zeros_(parameter)
    assert seen.tolist() == [1.0, 1.0]
    assert parameter.tolist() == [0.0, 0.0]
