"""A save that stands below the write it comes before: the hazard says when it ran."""

from __future__ import annotations

from textwrap import dedent

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.findings import Earlier, Hazard, HazardKind
from gradfix.source import Source

IN_A_ROUND = """
def f(x):
    h = x * 1.0
    loss = 0.0
    for _ in range(3):
        h += 1
        loss = loss + h.exp().sum() + (h * h).sum()
    loss.backward()
"""

ABOVE = """
def f(x):
    h = x.exp()
    h += 1
    h.sum().backward()
"""

IN_A_CALL = """
import torch.nn as nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.state = None

    def step(self, x):
        if self.state is not None:
            self.state += 1
        self.state = x.exp()
        return self.state


def f(x):
    net = Net()
    (net.step(x).sum() + net.step(x).sum()).backward()
"""

UNDER_A_LATER_BLOCK = """
def f(x):
    h = x * 1.0
    loss = 0.0
    for _ in range(3):
        if loss is not None:
            h += 1

        def unrelated():
            return 0

        loss = loss + (h * h).sum()
    loss.backward()
"""


def hazards_of(text: str) -> list[Hazard]:
    facts = analyse(Source.from_text("f.py", dedent(text)))
    found = [hazard for write in facts.writes for hazard in write.hazards]
    assert found
    assert all(hazard.kind is HazardKind.SAVED_THEN_WRITTEN and hazard.op for hazard in found)
    return found


@pytest.mark.parametrize(
    ("text", "earlier"),
    [
        pytest.param(ABOVE, None, id="above"),
        pytest.param(IN_A_ROUND, Earlier.ROUND, id="in-a-round"),
        pytest.param(IN_A_CALL, Earlier.CALL, id="in-a-call"),
        pytest.param(UNDER_A_LATER_BLOCK, Earlier.ROUND, id="behind-a-function"),
    ],
)
def test_when_it_ran(text: str, earlier: Earlier | None) -> None:
    assert {hazard.earlier for hazard in hazards_of(text)} == {earlier}
