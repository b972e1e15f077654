"""`if self.training:` excludes only what the arm that writes gives other memory."""

from __future__ import annotations

from textwrap import dedent, indent

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.source import Source

MODULE = """
import torch
from torch import nn
class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2))
        self.register_buffer("u", torch.randn(2))
    def forward(self, x):
        u = self.u
{branch}
        return x @ self.weight / torch.dot(u, self.weight @ u)
net = Normed()
(net(torch.randn(2)) + net(torch.randn(2))).sum().backward()
"""
COPIED = """
if self.training:
    with torch.no_grad():
        u.copy_(self.weight @ u)
        u = u.clone()
"""
COPIED_ELSEWHERE = """
if self.training:
    with torch.no_grad():
        u.copy_(self.weight @ u)
else:
    u = u.clone()
"""
COPIED_BEFORE = """
if self.training:
    with torch.no_grad():
        v = u.clone()
        u.copy_(self.weight @ v)
else:
    u = u.clone()
"""


def told(branch: str) -> bool:
    program = MODULE.format(branch=indent(dedent(branch).strip(), " " * 8))
    return any(write.hazards for write in analyse(Source.from_text("program.py", program)).writes)


def test_a_copy_made_where_the_write_stands_is_what_backward_saves() -> None:
    assert not told(COPIED)


@pytest.mark.parametrize("branch", [COPIED_ELSEWHERE, COPIED_BEFORE])
def test_a_copy_made_anywhere_else_saves_nobody(branch: str) -> None:
    assert told(branch)
