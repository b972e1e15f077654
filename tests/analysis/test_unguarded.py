"""What backward reads without looking whether it was written: nothing raises, and the gradient is wrong."""

from __future__ import annotations

import pytest

from gradfix.analysis.analyse import analyse
from gradfix.findings import HazardKind, Severity
from gradfix.source import Source

torch = pytest.importorskip("torch")

WRITTEN = """
import torch
x = torch.ones(3, 2, requires_grad=True)
w = torch.ones(2, 2, requires_grad={tracked})
h = x * 1.5
out = torch.kron(h, w)
h[0] = 0.0
out.sum().backward()
"""


def test_the_write_is_told_and_really_makes_the_gradient_wrong() -> None:
    text = WRITTEN.format(tracked=True)
    (write,) = analyse(Source.from_text("f.py", text)).writes
    assert write.severity is Severity.WARNING
    assert [hazard.kind for hazard in write.hazards] == [HazardKind.SILENT_WRITE]
    wrong, right = _gradient(text), _gradient(text.replace("h[0] = 0.0\n", ""))
    assert not torch.allclose(wrong, right)


def test_what_needs_no_gradient_lets_nothing_be_read() -> None:
    text = WRITTEN.format(tracked=False).replace("h[0]", "w[0]").replace("h = x", "w = w * 1\nh = x")
    writes = analyse(Source.from_text("f.py", text)).writes
    assert [hazard.kind for write in writes for hazard in write.hazards] == [HazardKind.SILENT_WRITE]
    text = WRITTEN.format(tracked=False)
    assert [write.hazards for write in analyse(Source.from_text("f.py", text)).writes] == [()]
    assert torch.equal(_gradient(text, "x"), _gradient(text.replace("h[0] = 0.0\n", ""), "x"))


PAST = """
import torch
from torch import nn
x = torch.ones(4, 2, requires_grad=True)
y = x.exp()
{write}
y.sum().backward()
"""


@pytest.mark.parametrize(
    "write",
    [
        pytest.param("torch.add(y.detach(), 1, out=y.data)", id="out="),
        pytest.param("nn.Hardtanh(inplace=True)(y.data)", id="a layer"),
        pytest.param("t = y.data\nt -= x.mean()", id="with a graph of its own"),
        pytest.param("a, b = torch.unsafe_chunk(y, 2)\na.mul_(2)", id="a part that autograd takes for no view"),
    ],
)
def test_a_write_past_autograd_is_silent(write: str) -> None:
    (told,) = analyse(Source.from_text("f.py", PAST.format(write=write))).writes
    assert [hazard.kind for hazard in told.hazards] == [HazardKind.SILENT_WRITE]
    wrong, right = _gradient(PAST.format(write=write), "x"), _gradient(PAST.format(write=""), "x")
    assert not torch.allclose(wrong, right)


def _gradient(text: str, leaf: str = "w") -> object:
    names: dict[str, object] = {}
    exec(compile(text, "f.py", "exec"), names)
    return names[leaf].grad  # type: ignore[attr-defined]  # a tensor
