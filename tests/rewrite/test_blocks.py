"""Blocks that fill a buffer part by part, made at random: what GF202 joins is equal in values, dtype, shape, random
numbers and gradients. The original's gradients come from a run in which every saved tensor is cloned.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from filled import compared, valid

from gradfix.engine import engine
from gradfix.findings import Severity

FACTORIES = (  # of the shape of the argument x, (4, 3)
    *("torch.empty_like(x)", "x.clone()", "x.new_zeros(n, d)", "torch.zeros(n, d)", "torch.zeros(x.shape)"),
    *("torch.zeros(4, 3)", "torch.ones_like(x, dtype=torch.float64)", "torch.zeros((n, 3), dtype=torch.float32)"),
)
CUTS = (  # that are all there is
    *((":, 0", ":, 1", ":, 2"), ("..., 0", "..., 1", "..., 2"), (":, -1", ":, 0", ":, 1"), ("0", "1", "2", "3")),
    *((":, :1", ":, 1:"), (":, 1:", ":, :1"), ("..., :2", "..., 2:"), (":2", "2:"), (":k", "k:"), (":, 0", ":, 1:")),
    *((":, :-1", ":, -1"), ("0, :", "1:"), (":, :1", ":, 1", ":, 2:"), (":1", "1:3", "3:")),
)
PARTIAL = ((":, 0", ":, 1"), (":, :1", ":, 2:"), (":, 0", ":, 0", ":, 1"))
VALUES = (  # {x}: what the argument has at that place; {p}: a part filled before
    *("{x} * {p}", "{x} * {p} * {p}", "-{p} * {x} + 1", "{x} ** 2", "({p} +\n        {x}) * {x}"),
    *(
        "{x} * 2",
        "{x}.tanh() * 2",
        "{x} * {x} - {x}",
        "{x} * w",
        "({x} + 1).exp()",
        "{x}.sin() * {x}",
        "{x}",
        "w * 1",
        "1.5",
        "{x}.double()",
        "w.exp()",
    ),
    *("{x} * {p}", "{p} * {p}", "{p} * w + {x}", "{p}", "{p}.square()", "torch.rand(()) * {x}", "{x} / {p}.sum()"),
)
BETWEEN = (
    *("c = w * 2", "c = ({p} * {p}).sum()", "c = h.shape[0] * w", "x = x * 1", "k = k", "g = {p}", "# kept"),
    *("if w > 9:\n        return x", "h[0, 0] = w", "{p}.mul_(2)", "g = h", "h = h * 1", "c = torch.rand(()) * w"),
)
ENDS = ("return h", "return h * h", "return h * c", "h[0] *= 2\n    return h", "return h[1:]", "return h.sum() + c")


class Program:
    """One random program."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.dtype = self._pick(("float32", "float64"))

    def _pick(self, options: Sequence[str]) -> str:
        return self._chance.choice(options)

    def _filled(self, template: str, cut: str, before: Sequence[str]) -> str:
        read = f"h[{self._pick(before)}]" if before else f"x[{cut}]"
        return template.replace("{p}", read).replace("{x}", f"x[{cut}]")

    def text(self) -> str:
        """The source of `f(x, w, v)`."""
        cuts = self._chance.choice(CUTS if self._chance.random() < 0.85 else PARTIAL)
        made = self._pick(FACTORIES if cuts not in PARTIAL else FACTORIES[1:])
        lines = ["n, d = x.shape", "k = 2", "c = w", f"h = {made}"]
        for number, cut in enumerate(cuts):
            lines.append(
                f"h[{cut}] = {self._filled(self._pick(VALUES), cut, cuts[:number])}{self._pick(('', '  # why'))}"
            )
            if self._chance.random() < 0.25 and number + 1 < len(cuts):
                lines.append(self._filled(self._pick(BETWEEN), cut, cuts[: number + 1]))
        lines.append(self._pick(ENDS))
        shapes = "4, 3", "()", "2, 3"
        given = ", ".join(f"torch.rand({shape}, dtype=torch.{self.dtype}, requires_grad=True)" for shape in shapes)
        call = self._pick(("", f'\n\nif __name__ == "__main__":\n    f({given}).sum().backward()\n'))
        return "import torch\n\n\ndef f(x, w, v):\n" + "\n".join("    " + line for line in lines) + "\n" + call


@pytest.mark.parametrize("start", range(0, 240, 60))
@pytest.mark.parametrize("severity", [Severity.WARNING, Severity.INFO], ids=lambda severity: severity.value)
def test_joined_parts_are_equal_to_the_buffer(start: int, severity: Severity) -> None:
    assert compared(valid(Program, range(start, start + 60)), engine.Policy(severity=severity), "GF202")
