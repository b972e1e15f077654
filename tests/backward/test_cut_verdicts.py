"""Verdicts on rewrites that reconnect a loss: right ones are proven, wrong ones don't get through."""

from __future__ import annotations

import pytest
from conftest import Judge

from gradfix.backward.cases import DeclaredCall
from gradfix.findings import HazardKind, Verdict

DIFFERENCES = "float64 central differences"
CUT = frozenset({HazardKind.DISCONNECTED})
WRITTEN = frozenset({HazardKind.SAVED_THEN_WRITTEN})

STACKED = "x = torch.randn(3, requires_grad=True)\na = x.exp().sum()\nb = (x * x).sum()\n"
TERMS = STACKED + "loss = torch.tensor([a, b]).prod()\nloss.backward()\n"
CONSTANT = STACKED + "loss = a + b.item()\nloss.backward()\n"
DETACHED = STACKED + "loss = (a * b).detach()\nloss.backward()\n"
ADVANTAGE = STACKED + "weight = b.item()\nloss = torch.tensor([a * weight, b])\nloss.sum().backward()\n"
NEW_LEAF = STACKED + "loss = torch.tensor(a, requires_grad=True)\nloss.backward()\n"


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        pytest.param(TERMS, "torch.tensor", "torch.stack", id="stacked"),
        pytest.param(DETACHED, "(a * b).detach()", "a * b", id="without the detach"),
        pytest.param(DETACHED, ".detach()", "", id="in parentheses"),
        pytest.param(CONSTANT, "b.item()", "b", id="a term that was a constant"),
        pytest.param(
            STACKED + "print(a.item())\nloss = torch.tensor([a, b]).sum()\nloss.backward()\n",
            "torch.tensor",
            "torch.stack",
            id="a number that is only printed",
        ),
    ],
)
def test_a_loss_that_is_connected_again_is_proven(judge: Judge, text: str, old: str, new: str) -> None:
    judgement = judge(text, old, new, kinds=CUT)
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, DIFFERENCES)


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        pytest.param(TERMS, "torch.tensor([a, b])", "torch.stack([a, b.detach()])", id="half of it"),
        pytest.param(TERMS, "torch.tensor([a, b])", "torch.stack([a, b, b])", id="another loss"),
        pytest.param(TERMS, "torch.tensor([a, b])", "torch.stack([b, b * (a / b).detach()])", id="another gradient"),
        pytest.param(CONSTANT, "b.item()", "2 * b - b.item()", id="twice the gradient"),
        pytest.param(DETACHED, "(a * b).detach()", "a * b.detach()", id="one factor"),
    ],
)
def test_a_wrong_gradient_is_not_passed_off_as_fixed(judge: Judge, text: str, old: str, new: str) -> None:
    assert judge(text, old, new, kinds=CUT).verdict in (Verdict.REJECTED, Verdict.UNCHECKED)


PARTS = """\
def f(x):
    a, b = x.exp().sum(), (x * x).sum()
    p, q = torch.tensor([a, b]), torch.tensor([b, a * b])
    return (p * p).sum() + (q * q).sum() + a
"""


@pytest.mark.parametrize(
    ("left", "new"),
    [
        pytest.param("torch.tensor([b, a * b])", "torch.stack([a, b])", id="one of two"),
        pytest.param("torch.stack([b, a * b])", "torch.stack([a, b])", id="the last"),
        pytest.param("torch.stack([b, a * b])", "torch.stack([a, 2 * b - b.detach()])", id="another gradient"),
    ],
)
def test_what_torch_warns_of_at_a_cut_is_no_output(judge: Judge, left: str, new: str) -> None:
    text, cut = PARTS.replace("torch.tensor([b, a * b])", left), "torch.tensor([a, b])"
    judgement = judge(text, cut, new, DeclaredCall("f(randn(3))"), kinds=CUT, cuts=[cut])
    assert (judgement.verdict is Verdict.FIXED) == ("detach" not in new), judgement


def test_a_number_that_weighs_another_term_leaves_it_open(judge: Judge) -> None:
    judgement = judge(ADVANTAGE, "torch.tensor", "torch.stack", kinds=CUT)
    assert judgement.verdict is Verdict.UNCHECKED
    assert judgement.reason == "no oracle: numbers taken from tensors, which central differences see through"


@pytest.mark.parametrize(
    ("line", "oracle"),
    [
        ("c = torch.zeros_like(a.detach()) + b.detach().dim()", DIFFERENCES),
        ("c, log = 0.0, [a.detach()]", DIFFERENCES),
        ("c = a.detach() * 0.5", None),
        ("c = torch.stack([b, a.detach()]).sum()", None),
        ("c = b * a.detach().shape.numel() + a.detach().view(())", None),
    ],
)
def test_only_a_detached_tensor_whose_values_count_stops_gradients(judge: Judge, line: str, oracle: str | None) -> None:
    text = STACKED + f"{line}\nloss = torch.tensor([a + c, b]).prod()\nloss.backward()\n"
    judgement = judge(text, "torch.tensor", "torch.stack", kinds=CUT)
    assert judgement.oracle == oracle, judgement
    assert judgement.verdict is (Verdict.FIXED if oracle else Verdict.UNCHECKED)


def test_a_detached_output_stops_gradients(judge: Judge) -> None:
    text = "def f(x):\n    a = x.exp()\n    return torch.tensor([a.sum(), x.sum()]), a.detach()\n"
    judgement = judge(text, "torch.tensor", "torch.stack", DeclaredCall("f(randn(3))"), kinds=CUT)
    assert judgement.verdict is Verdict.UNCHECKED, judgement


def test_a_leaf_of_its_own_has_another_gradient(judge: Judge) -> None:
    judgement = judge(NEW_LEAF, "torch.tensor(a, requires_grad=True)", "a.clone()", kinds=CUT)
    assert judgement.verdict is Verdict.UNCHECKED
    assert "a leaf that isn't one any more" in judgement.reason


@pytest.mark.parametrize("number", ["a", "a.item()"])
@pytest.mark.parametrize(("made", "right"), [("a.clone()", True), ("a * 1.5 - a.item() / 2", False), ("a", True)])
def test_a_leaf_that_a_call_returned_is_followed_to_what_it_was_made_of(
    judge: Judge, number: str, made: str, right: bool
) -> None:
    copied = f"torch.tensor({number}, requires_grad=True)"
    text = f"def f(x):\n    a = x.exp().sum()\n    return {copied}\n"
    cut = copied if number == "a" else number
    judgement = judge(text, copied, made, DeclaredCall("f(randn(3))"), kinds=CUT, cuts=[cut])
    assert judgement.verdict is (Verdict.FIXED if right else Verdict.REJECTED), judgement


def test_a_gradient_changed_in_a_program_that_runs_needs_differences(judge: Judge) -> None:
    text = STACKED + "loss = a + b.detach()\nloss.backward()\n"
    assert judge(text, "b.detach()", "b", kinds=CUT).verdict is Verdict.REJECTED


UNSEEN = (
    STACKED + "loss = torch.tensor((a * b).item(), requires_grad=True)\nloss.backward()\nassert x.grad is not None\n"
)


def test_an_error_that_comes_of_a_missing_gradient_may_go(judge: Judge) -> None:
    judgement = judge(UNSEEN, "torch.tensor((a * b).item(), requires_grad=True)", "a * b", kinds=CUT)
    assert judgement.verdict is Verdict.UNCHECKED
    judgement = judge(UNSEEN, "torch.tensor((a * b).item(), requires_grad=True)", "a * b", kinds=WRITTEN)
    assert judgement.verdict is Verdict.REJECTED


def test_a_gradient_of_rounding_is_compared_in_float64(judge: Judge) -> None:
    text = (
        "net = torch.nn.Linear(3, 4)\np = torch.softmax(net(torch.randn(2, 3)).t(), 1)\nq = p * 1\n"
        "q *= q.max()\n(q * torch.arange(8.0).view(4, 2)).sum().backward()\n"
    )
    judgement = judge(text, "q *= q.max()", "q = q * (q.max() * 3) / 3", kinds=WRITTEN)
    assert judgement.verdict is Verdict.FIXED
    assert "a gradient that is little more than rounding was compared in float64" in judgement.notes
    wrong = judge(text, "q *= q.max()", "q = q * q.max() + net.bias.sum() * 1e-8", kinds=WRITTEN)
    assert wrong.verdict is Verdict.REJECTED
