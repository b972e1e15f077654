"""`rebuild`: parts are written out of place, and their base is made of them again."""

from __future__ import annotations

import pytest
from programs import assert_cured

HEAD = "import torch\nimport torch as th\n"
LEAF = "x = torch.randn(4, 6, requires_grad=True)\ny = x * 2\n"

PROGRAMS = {
    "a loop": ("for row in y:\n    row += 1\n", "y = y + 1"),
    "a loop under a condition": (
        "for n, row in enumerate(y):\n    if n:\n        row += 1\n",
        "y = th.stack(y_rows) if y_rows else y",
    ),
    "a loop with a tensor": (
        "w = torch.arange(6.0)\nfor row in y:\n    row -= w\n",
        "y = th.stack([(row - w).to(row.dtype) for row in y]) if len(y) else y",
    ),
    "columns": (
        "for n, col in enumerate(y.unbind(1)):\n    col *= n\n",
        "y = th.stack([col * n for n, col in enumerate(y.unbind(1))], dim=1) if y.size(1) else y",
    ),
    "a chain": ("for row in y:\n    row.mul_(2).add_(1)\n", None),
    "halves": ("a, b = torch.chunk(y, 2, dim=1)\na += b\n", "y = th.cat([a, b], dim=1)"),
    "sizes": ("a, b = y.split([1, 3])\nb -= 1\na[0] = 0.0\n", "y = th.cat([a, b])"),
    "unpacked": ("a, b, c, d = y\nb += 1\nd *= b\n", "y = th.stack([a, b, c, d])"),
    "a view read later": ("col = y[:, 0]\na, b = y.chunk(2)\na += 1\nshow(col)\n", "col = y[:, 0]"),
    "the base asked its size": ("a, b = y.chunk(2)\nif y.shape[0] > 1:\n    b += 1\n", "y = th.cat([a, b])"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_base_is_made_of_its_parts(name: str) -> None:
    body, line = PROGRAMS[name]
    end = "show(y)\nloss = (y * x).sum()\nloss.backward()\n"
    text = assert_cured(HEAD + LEAF + body + end, "multiple views", "x", by_differences=True)
    assert "tensor_split" not in text
    assert "for i in range" not in text
    assert line is None or line in text.splitlines(), text
