"""Writes to expanded tensors: what is told to raise does raise, whatever part of the tensor is written."""

from __future__ import annotations

from itertools import product

import pytest

torch = pytest.importorskip("torch")

from gradfix.analysis.analyse import analyse  # noqa: E402
from gradfix.source import Source  # noqa: E402

EXPANDED = ("torch.zeros(3).expand(2, 3)", "torch.zeros(1, 2).expand(4, 2)", "torch.zeros(2, 1).expand(2, 3)")
WRITES = (
    *(f"z[{index}] = 1.5" for index in (":", "...", "1:", "0:", "-1:", "2:", ":, 1:", ":, 2:", "..., :1", "1:, 1:")),
    *(
        "z[0] = 1.5",
        "z[0, 1] = 1.5",
        "z[1:] += 2",
        "z[:1] *= 2",
        "z[::2] = 1.5",
        "z[where] = 1.5",
        "z[where, :1] = 1.5",
    ),
    *("z += 1", "z.mul_(2)", "z.fill_(1)", "z[1:].mul_(2)", "z[:1].add_(1)", "z[0].add_(1)", "z[:, :1].exp_()"),
)


def raises(text: str) -> bool:
    try:
        exec(text, {"torch": torch})
    except RuntimeError as error:
        return "single memory location" in str(error)
    return False


def refused(text: str) -> bool:
    return any(write.refused for write in analyse(Source.from_text("program.py", text)).writes)


@pytest.mark.parametrize(("expanded", "write"), [*product(EXPANDED, WRITES)])
def test_what_is_told_to_raise_does(expanded: str, write: str) -> None:
    text = f"import torch\nwhere = slice(1, None)\nz = {expanded}\n{write}\n"
    assert not refused(text) or raises(text)


@pytest.mark.parametrize("write", ["z[:] = 1.5", "z[1:] = 1.5", "z += 1", "z.mul_(2)"])
def test_most_of_what_raises_is_told(write: str) -> None:
    text = f"import torch\nz = torch.zeros(1, 2).expand(4, 2)\n{write}\n"
    assert raises(text)
    assert refused(text)


@pytest.mark.parametrize("write", ["v[0] = 0.5", "v[1:] = 0.5", "v[where] = 0.5"])
def test_a_write_that_reaches_the_base_isnt_refused_though_backward_fails(write: str) -> None:
    text = (
        "import torch\nwhere = slice(1, None)\ng = torch.randn(3, requires_grad=True)\ny = g.exp()\n"
        f"v = y.expand(2, 3)\n{write}\ny.sum().backward()\n"
    )
    (found,) = analyse(Source.from_text("program.py", text)).writes
    assert found.severity.value == "error"
    assert not found.refused
