"""Ways to a loss that bring no graph: those are told, with how sure that is."""

from __future__ import annotations

import textwrap

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.analysis.way_facts import BareWay
from gradfix.source import Source

HEAD = """
import torch
from torch import nn
import torch.nn.functional as F

net = nn.Linear(3, 1)
x = torch.randn(4, 3)
mask = torch.zeros(4, dtype=torch.bool)
"""
MASKED = """
def masked(pred, mask):
    if mask.sum() == 0:
        return torch.tensor(0.0)
    return pred[mask].mean()
"""
TOLD = {
    "an item of a tuple": """
        def f(pred, mask):
            if not mask.any():
                return torch.tensor(0.0), 0
            return pred[mask].mean(), int(mask.sum())
        loss, count = f(net(x), mask)
        loss.backward()
    """,
    "an item of a dictionary": """
        def f(pred, mask):
            if mask.sum() == 0:
                return {"loss": torch.tensor(0.0), "count": 0}
            return {"loss": pred[mask].mean(), "count": int(mask.sum())}
        f(net(x), mask)["loss"].backward()
    """,
    "an expression": """
        pred = net(x)
        loss = pred[mask].mean() if mask.any() else torch.tensor(0.0)
        loss.backward()
    """,
    "both arms": """
        pred = net(x)
        if mask.sum() > 0:
            loss = pred[mask].mean()
        else:
            loss = torch.zeros(1)
        loss.backward()
    """,
    "a case": """
        def f(pred, mask):
            match int(mask.sum()):
                case 0:
                    return torch.tensor(0.0)
                case _:
                    return pred[mask].mean()
        f(net(x), mask).backward()
    """,
    "a case under a guard": """
        pred = net(x)
        match pred.shape:
            case (rows, _) if mask.sum() < rows:
                loss = torch.tensor(0.0)
            case _:
                loss = pred.mean()
        loss.backward()
    """,
    "the number of indices": """
        def f(pred, mask):
            index = mask.nonzero().squeeze(1)
            if len(index) == 0:
                return torch.tensor(0.0)
            return pred[index].mean()
        f(net(x), mask).backward()
    """,
    "a list that may stay empty": """
        def f(points, labels):
            terms = []
            for label in labels:
                same = points[labels == label + 10]
                if len(same) == 0:
                    continue
                terms.append(same.mean())
            if not terms:
                return torch.tensor(0.0)
            return torch.stack(terms).mean()
        f(net(x), torch.arange(4)).backward()
    """,
    "a method": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.lin = nn.Linear(3, 2)
            def loss(self, x, y):
                logits = self.lin(x)
                if (y >= 0).sum().item() == 0:
                    return torch.tensor(0.0)
                return F.cross_entropy(logits[y >= 0], y[y >= 0])
        model = Model()
        model.loss(x, torch.full((4,), -1)).backward()
    """,
    "a function inside": """
        def outer(x, mask):
            pred = net(x)
            def inner():
                if mask.sum() == 0:
                    return torch.tensor(0.0)
                return pred[mask].mean()
            return inner()
        outer(x, mask).backward()
    """,
    "a sum of such": """
        MASKED
        total = 0.0
        for part in (mask, mask):
            total = total + masked(net(x), part)
        total.backward()
    """,
    "torch.autograd.grad": """
        MASKED
        torch.autograd.grad(masked(net(x), mask), net.parameters())
    """,
    "what is written elsewhere": """
        def f(x):
            y = torch.zeros(3)
            if x.sum() > 100:
                y[0] = x[0, 0]
                return y.sum()
            return y.sum()
        f(net(x)).backward()
    """,
}
SILENT = {
    "a case of what Python decides": """
        def f(pred, kind):
            match kind:
                case "none":
                    return torch.tensor(0.0)
                case _:
                    return pred.mean()
        f(net(x), "mean").backward()
    """,
    "another term": "MASKED\n(masked(net(x), mask) + net.weight.sum()).backward()",
    "a guard": "MASKED\nloss = masked(net(x), mask)\nif loss.requires_grad:\n    loss.backward()",
    "empty batches left out": """
        MASKED
        for part in (mask, ~mask):
            if not part.any():
                continue
            masked(net(x), part).backward()
    """,
    "a metric": """
        MASKED
        score = masked(net(x), mask)
        net(x).sum().backward()
        assert score.item() == 0
    """,
    "a flag": """
        def f(pred, use=True):
            if not use:
                return torch.tensor(0.0)
            return pred.mean()
        f(net(x), id(net) > 0).backward()
    """,
    "a zero with a graph": """
        def f(pred, mask):
            if mask.sum() == 0:
                return pred.sum() * 0.0
            return pred[mask].mean()
        f(net(x), mask).backward()
    """,
    "a leaf": """
        def f(pred, mask):
            if mask.sum() == 0:
                return torch.tensor(0.0, requires_grad=True)
            return pred[mask].mean()
        f(net(x), mask).backward()
    """,
    "flags of which nothing is known": """
        def chosen(x, flag, step, batch):
            if flag:
                return torch.zeros(())
            if step > 100:
                return torch.ones(())
            if len(batch) == 0:
                return torch.zeros(())
            return x.sum()
        def run(x, flag, step, batch):
            chosen(x, flag, step, batch).backward()
    """,
    "a target": """
        def target(v, done):
            if done.any():
                return torch.zeros(4, 1)
            with torch.no_grad():
                return net(v) * 0.9
        (net(x) - target(x, mask)).pow(2).mean().backward()
    """,
    "a list that is filled": """
        def mean(batch):
            losses = []
            for one in batch:
                losses.append(net(one).mean())
            if not losses:
                return torch.tensor(0.0)
            return sum(losses) / len(losses)
        mean([x, x]).backward()
    """,
}
LOSS = """
class {name}(nn.Module):
    def forward(self, pred, mask):
        if mask.sum() == 0:
            return torch.tensor(0.0)
        return pred[mask].mean()
"""


def text_of(program: str) -> str:
    return HEAD + textwrap.dedent(program).replace("MASKED", MASKED)


def ways(program: str) -> list[bool]:
    """Of each way that is told, whether it is proven."""
    return [way.proven for way in analyse(Source.from_text("f.py", text_of(program))).bare_ways]


@pytest.mark.parametrize("program", TOLD.values(), ids=TOLD)
def test_what_backward_cannot_go_back_through_is_told(program: str) -> None:
    with pytest.raises(RuntimeError, match="does not require grad"):
        exec(text_of(program), {})
    assert ways(program) == [True]


@pytest.mark.parametrize("program", SILENT.values(), ids=SILENT)
def test_what_runs_is_not(program: str) -> None:
    exec(text_of(program), {})
    assert ways(program) == []


def test_of_a_loss_whose_callers_are_elsewhere_it_is_not_proven() -> None:
    assert ways(LOSS.format(name="MaskedLoss")) == [False]
    assert ways(LOSS.format(name="Head")) == []
    assert ways(LOSS.format(name="MaskedLoss") + "\n(MaskedLoss()(net(x), mask) + net(x).sum()).backward()") == []


NUMBERS = {
    "second": "g(x, w)\ng(x, 2.0)\n",
    "first": "g(x, 2.0)\ng(x, w)\n",
    "by name": "g(x, w)\ng(x, w=2.0)\n",
}


@pytest.mark.parametrize("scaled", ["w", "v"])
@pytest.mark.parametrize("calls", NUMBERS.values(), ids=NUMBERS)
def test_what_is_a_number_in_another_call_connects_nothing(calls: str, scaled: str) -> None:
    made = f"    v = w * 2\n    if x.max() > 0.5:\n        loss = (x * {scaled}).sum()\n"
    body = f"{made}    else:\n        loss = torch.zeros(())\n    return loss\n\n\n"
    head = "import torch\n\nx = torch.rand(3)\nw = torch.rand(3, requires_grad=True)\n\n\ndef g(x, w):\n"
    (way,) = _ways_of(head + body + calls.replace("g(x, w)\n", "g(x, w).backward()\n"))
    assert not way.operands
    (alone,) = _ways_of(head + body + "g(x, w).backward()\n")
    assert [operand.name for operand in alone.operands] == [scaled]


def _ways_of(text: str) -> tuple[BareWay, ...]:
    return analyse(Source.from_text("f.py", text)).bare_ways
