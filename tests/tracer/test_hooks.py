"""Saved-tensor hooks beside `torch.func`, which raises under any."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from gradfix.tracer.hooks import saving  # noqa: E402
from gradfix.tracer.trace import Tracer  # noqa: E402


def cube(x: torch.Tensor) -> torch.Tensor:
    return (x * x * x).sum()


TRANSFORMED = {
    "grad": lambda x: torch.func.grad(cube)(x).sum(),
    "one inside another": lambda x: torch.func.grad(lambda y: torch.func.grad(cube)(y).sum())(x).sum(),
    "hessian": lambda x: torch.func.hessian(cube)(x).sum(),
    "vmap": lambda x: torch.func.vmap(torch.func.grad(cube))(x[:, None]).sum(),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transforms_run_and_what_is_saved_around_them_is_seen(name: str) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    seen: list[int] = []
    plain = torch.autograd.graph.disable_saved_tensors_hooks
    with saving(lambda t: seen.append(1) or t, lambda t: t):
        x.exp()
        inside = len(seen)
        result = TRANSFORMED[name](x)
        x.exp()
    assert torch.equal(result, TRANSFORMED[name](x))
    assert inside >= 1
    assert len(seen) > inside  # they are back
    x.exp()
    assert torch.autograd.graph.disable_saved_tensors_hooks is plain


def test_they_are_back_after_an_error_inside() -> None:
    def wrong(x: torch.Tensor) -> torch.Tensor:
        raise KeyError("no")

    x = torch.ones(2, requires_grad=True)
    seen: list[int] = []
    with saving(lambda t: seen.append(1) or t, lambda t: t):
        with pytest.raises(KeyError):
            torch.func.grad(wrong)(x)
        x.exp()
    assert seen == [1]


def test_hooks_of_the_users_own_are_refused_as_ever() -> None:
    x = torch.ones(2, requires_grad=True)
    own: list[int] = []
    with saving(lambda t: t, lambda t: t), torch.autograd.graph.saved_tensors_hooks(lambda t: own.append(1) or t, id):
        with pytest.raises(RuntimeError, match="saved tensor hooks"):
            torch.func.grad(cube)(x)
        x.exp()
    assert own == [1]


def test_a_traced_program_may_transform() -> None:
    w = torch.randn(3, requires_grad=True)
    with Tracer() as trace:
        h = (w * torch.func.grad(cube)(torch.ones(3))).sigmoid()
        h += 1
        h.sum().backward()
    assert len(trace.conflicts()) == 1
