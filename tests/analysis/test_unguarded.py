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


def _gradient(text: str, leaf: str = "w") -> object:
    names: dict[str, object] = {}
    exec(compile(text, "f.py", "exec"), names)
    return names[leaf].grad  # type: ignore[attr-defined]  # a tensor
