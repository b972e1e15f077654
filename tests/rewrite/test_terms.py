"""What a statement computes from the tensor it writes, and keeps nothing of for backward: held against torch."""

from __future__ import annotations

import ast

import pytest

from gradfix.rewrite.text.expressions import is_term

torch = pytest.importorskip("torch")

PLACE = ast.Name("y", ast.Load())
TERMS = (
    "y[1] + w[0]",
    "y[:2, 1] - y[:2, 0] + 1",
    "(y[1] + w[0]) * w[1]",
    "(2 * y[1] - w[0]).exp()",
    "-y[1] / 4 + w[0]",
    "torch.relu(y[1:3, 0] * -3 + w[0, 0]) ** 2",
    "w[0] * w[1]",
)
OTHERS = (
    "y[1] * w[0]",
    "y[1].exp() + 1",
    "y[1]",
    "torch.sin(y[1])",
    "1 / y[1]",
    "y[1] ** 2",
    "w[0] / y[1]",
    "-y[1] * y[0]",
)
INDICES = ("y[y[0] > 0] + 1", "w[0] + (y + w)[y[0, 0] > 0]")


def parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize("value", TERMS)
def test_backward_keeps_nothing_that_the_write_could_overwrite(value: str) -> None:
    assert is_term(PLACE, parsed(value))
    w = torch.rand(3, 3, requires_grad=True)
    gradients = []
    for hoisted in (False, True):
        x = torch.linspace(0.1, 0.9, 9, requires_grad=True)
        y = x.view(3, 3) * 1
        names = {"torch": torch, "y": y.clone(), "w": w}
        target = "y[:2, 2]" if ", 0" in value else "y[0]"
        if hoisted:
            exec(f"value = {value}\ny = y.clone()\n{target} = value", names)
        else:
            exec(f"{target} = {value}", names)
        gradients.append(torch.autograd.grad(names["y"].square().sum(), (x, w), allow_unused=True))
    assert all((a is None) == (b is None) and (a is None or torch.equal(a, b)) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("value", [*OTHERS, *INDICES])
def test_what_may_be_kept_is_no_term(value: str) -> None:
    assert not is_term(PLACE, parsed(value))


def test_an_item_is_a_place_too() -> None:
    place = parsed("self.h[0]")
    assert is_term(place, parsed("self.h[0][1] + 1"))
    assert not is_term(place, parsed("self.h[0][1] * w"))
    assert is_term(place, parsed("self.h[1] * w"))
