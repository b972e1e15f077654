"""What the benchmark of buffers compares computes the same: only then do its ratios say something."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

buffers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "buffers.py")))


@pytest.mark.parametrize("name", buffers.PROGRAMS)
def test_forms_of_a_buffer_are_equal(name: str) -> None:
    text = buffers.PROGRAMS[name]
    x = torch.rand(16, 64)
    results = []
    for form in (text, buffers.rewritten(text + buffers.CALLER), buffers.cloned(text)):
        leaf = x.clone().requires_grad_()
        result = buffers.function(form)(leaf, 16)
        result.sum().backward()
        results.append((result, leaf.grad))
    for result, gradient in results[1:]:
        assert torch.equal(result, results[0][0])
        assert torch.equal(gradient, results[0][1])


@pytest.mark.parametrize("name", [name for name in buffers.PROGRAMS if name != "mask"])
def test_list_of_slots_is_measured(name: str) -> None:
    assert "stack" in buffers.rewritten(buffers.PROGRAMS[name] + buffers.CALLER)
