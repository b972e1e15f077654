"""Mistakes that random numbers, the mode and the defaults of a call don't show."""

from __future__ import annotations

import pytest
from conftest import Judge

from gradfix.backward.cases import DeclaredCall
from gradfix.backward.verdict.pairs import defaults_of, named_in
from gradfix.findings import Verdict

FUNCTION = """\
def f(x, fill=0.0, *, keep=True):
    y = x.relu().exp()
    y[x <= 0] = fill
    return y.sin() if keep else y
"""
MODULE = """\
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 3)

    def forward(self, x):
        y = self.inner(x).exp()
        y[0] = 0
        return torch.nn.functional.dropout(y, 0.5, self.training)
"""
BUFFER = """\
def f(x):
    h = torch.zeros(3)
    h += x.sum(0)
    y = h.exp()
    y[0] = 0
    return y.sum()
"""
LEAF = """\
class Masked(torch.nn.Linear):
    def forward(self, x):
        self.weight *= self.weight > 0
        return torch.nn.functional.linear(x, self.weight)
"""
LEAF_WRITTEN = LEAF.partition("(self, x):\n")[2]
MASKED_LEAF = """\
        weight = self.weight * (self.weight > 0)
        return torch.nn.functional.linear(x, weight)
"""
OF_A_FUNCTION, OF_A_MODULE = DeclaredCall("f(randn(4, 3))"), DeclaredCall("Net()(randn(4, 3))")
MASKED = "    y[x <= 0] = fill\n"
WRITTEN = "        y[0] = 0\n        return torch.nn.functional.dropout(y, 0.5, self.training)\n"
CLONED = "        y = y.clone()\n" + WRITTEN


@pytest.mark.parametrize(
    ("text", "old", "new", "call", "verdict"),
    [
        (FUNCTION, MASKED, "    y = torch.where(x <= 0, fill, y)\n", OF_A_FUNCTION, Verdict.FIXED),
        pytest.param(
            FUNCTION, MASKED, "    y = torch.where(x < 0, fill, y)\n", OF_A_FUNCTION, Verdict.REJECTED, id="at ties"
        ),
        pytest.param(
            FUNCTION, MASKED, "    y = torch.where(x > 0, y, fill)\n", OF_A_FUNCTION, Verdict.REJECTED, id="no numbers"
        ),
        pytest.param(
            FUNCTION, MASKED, "    y = torch.where(x <= 0, 0.0, y)\n", OF_A_FUNCTION, Verdict.REJECTED, id="defaults"
        ),
        (FUNCTION, "    y[x", "    y = y.clone()\n    y[x", OF_A_FUNCTION, Verdict.FIXED),
        pytest.param(
            FUNCTION,
            "    y[x",
            "    y = y.float().clone()\n    y[x",
            OF_A_FUNCTION,
            Verdict.REJECTED,
            id="another type",
        ),
        (BUFFER, "    y[0]", "    y = y.clone()\n    y[0]", OF_A_FUNCTION, Verdict.FIXED),
        pytest.param(
            BUFFER,
            "    h += x.sum(0)\n    y = h.exp()\n",
            "    h = h + x.sum(0)\n    y = h.exp().clone()\n",
            OF_A_FUNCTION,
            Verdict.REJECTED,
            id="a type that the buffer hadn't",
        ),
        (MODULE, WRITTEN, CLONED, OF_A_MODULE, Verdict.FIXED),
        pytest.param(
            LEAF,
            LEAF_WRITTEN,
            MASKED_LEAF,
            DeclaredCall("Masked(3, 3)(randn(4, 3))"),
            Verdict.FIXED,
            id="what meets an error behind its failure",
        ),
        (MODULE, WRITTEN, CLONED.replace("y.clone()", "y.float().clone()"), OF_A_MODULE, Verdict.FIXED),
        pytest.param(
            MODULE, WRITTEN, CLONED.replace(", self.training", ""), OF_A_MODULE, Verdict.REJECTED, id="evaluation"
        ),
    ],
)
def test_what_only_special_inputs_show(
    judge: Judge, text: str, old: str, new: str, call: DeclaredCall, verdict: Verdict
) -> None:
    judgement = judge(text, old, new, call)
    assert judgement.verdict is verdict, judgement


def test_parameters_with_defaults_that_lines_speak_of() -> None:
    text = "def f(a, b, /, c=1, *, d, e=2):\n    return c + e\n"
    assert defaults_of(text) == {"c", "e"}
    assert named_in(text, {2}) == {"c", "e"}
    assert not named_in(text, {1})
