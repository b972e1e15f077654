"""What a scaled run multiplies: inputs, each once, and nothing that was computed from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradfix.backward.worker.requests import Plan

torch = pytest.importorskip("torch")
MADE: dict[str, tuple[Callable[[], Any], float]] = {
    "a leaf that is drawn": (lambda: torch.randn(3, requires_grad=True), 10),
    "made of what is drawn": (lambda: (torch.randn(3) * 0.5).requires_grad_(), 10),
    "in several steps": (lambda: torch.stack([torch.rand(2), torch.rand(2)]).mul(0.1)[0].requires_grad_(), 10),
    "written to what was there": (lambda: _written(torch.zeros(3)).requires_grad_(), 10),
    "set as its data": (lambda: _with_data(torch.zeros(3), torch.randn(3)).requires_grad_(), 10),
    "by the attribute": (lambda: _asking(torch.randn(3).double()), 10),
    "put together again": (lambda: torch.tensor(list(torch.randn(3)), requires_grad=True), 10),
    "written into the code": (lambda: torch.tensor([1.0, 2.0], requires_grad=True), 10),
    "views of those": (lambda: torch.linspace(1, 2, 6).view(2, 3).requires_grad_(), 10),
    "in the shape of what is drawn": (lambda: torch.ones_like(torch.randn(3)).requires_grad_(), 10),
    "a test of what is drawn": (lambda: (torch.randn(30) > 0).float().requires_grad_(), 10),
    "drawn in the shape of a leaf": (lambda: torch.randn_like(torch.ones(3, requires_grad=True)).requires_grad_(), 10),
    "a detached leaf": (lambda: torch.ones(3, requires_grad=True).detach().requires_grad_(), 10),
    "a detached result": (lambda: (torch.randn(3, requires_grad=True) * 2).detach().requires_grad_(), 10),
    "detached parameters": (lambda: torch.nn.Linear(2, 2).weight.detach().requires_grad_(), 1),
    "asked once more": (lambda: _asking(torch.randn(3).requires_grad_().requires_grad_(False)), 10),
}


def _written(tensor: Any) -> Any:
    tensor[:] = torch.randn(3)
    return tensor


def _with_data(tensor: Any, data: Any) -> Any:
    tensor.data = data
    return tensor


def _asking(tensor: Any) -> Any:
    tensor.requires_grad = True
    return tensor


def _made(name: str, plan: Plan) -> Any:
    from gradfix.backward.worker.vary import Departure, Leaves

    torch.manual_seed(0)
    with Departure(Leaves(plan)):
        return MADE[name][0]().detach()


@pytest.mark.parametrize("name", MADE)
def test_what_a_leaf_is_made_of_is_scaled_once(name: str) -> None:
    plain, scaled = _made(name, Plan()), _made(name, Plan(scale=10.0))
    assert plain.any()
    torch.testing.assert_close(scaled, plain * MADE[name][1], rtol=1e-5, atol=0)


def test_memory_that_something_was_computed_from_stays_as_it_is() -> None:
    from gradfix.backward.worker.vary import Departure, Leaves

    weight = torch.nn.Parameter(torch.ones(3))
    with Departure(Leaves(Plan(scale=10.0, ties=True))):
        third = weight / 3
        third.detach().requires_grad_()
        weight.detach().requires_grad_()
    assert weight.tolist() == [1, 1, 1]
    assert third.tolist() == (torch.ones(3) / 3).tolist()


def test_leaves_made_of_what_is_drawn_have_ties_too() -> None:
    from gradfix.backward.worker.vary import Departure, Leaves

    with Departure(Leaves(Plan(ties=True))):
        leaf = (torch.rand(30) * 0.3).requires_grad_()
    assert (leaf.detach() * 2 == (leaf.detach() * 2).round()).all()
