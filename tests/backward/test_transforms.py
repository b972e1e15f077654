"""What stands in the place of `torch.func` gives what that gives, to 12 digits, and leaves no graph of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Judge

from gradfix.backward.cases import DeclaredCall
from gradfix.findings import HazardKind, Verdict

torch = pytest.importorskip("torch")
PLAINLY = "the original with `torch.func` carried out by autograd alone"
VMAP = frozenset({HazardKind.VMAP_WRITTEN})
HOOK = frozenset({HazardKind.GRADIENT_WRITTEN})


def _by_autograd() -> contextlib.AbstractContextManager[None]:
    from gradfix.backward.worker.requests import Plan
    from gradfix.backward.worker.transforms import by_autograd
    from gradfix.backward.worker.vary import Leaves

    return by_autograd(Leaves(Plan()))


def _f(x: Any, y: Any = 2.0) -> Any:
    return (x.sin() * x * y).sum()


def _g(x: Any) -> Any:
    return {"a": x * x[0], "b": (x.exp().sum(), x.new_ones(2))}


X = torch.linspace(0.1, 0.7, 3, dtype=torch.float64)
ROWS = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
TRANSFORMED: dict[str, Callable[[Any], Any]] = {
    "grad": lambda func: func.grad(_f)(X),
    "of the second argument": lambda func: func.grad(_f, argnums=1)(X, X * 2),
    "of both": lambda func: func.grad(_f, argnums=(0, -1))(X, X * 2),
    "with something else": lambda func: func.grad(lambda x: (_f(x), x * 2), has_aux=True)(X),
    "of a dictionary": lambda func: func.grad(lambda d: _f(d["x"]))({"x": X}),
    "of nothing it depends on": lambda func: func.grad(lambda x: torch.ones(()))(X),
    "twice": lambda func: func.grad(lambda x: func.grad(_f)(x).sum())(X),
    "grad_and_value": lambda func: func.grad_and_value(_f)(X),
    "vjp": lambda func: (lambda out, pull: (out, pull(out)))(*func.vjp(lambda x: x * x.sum(), X)),
    "jvp": lambda func: func.jvp(lambda x: x * x.sum(), (X,), (X * 3,)),
    "jacrev": lambda func: func.jacrev(_g)(X),
    "jacfwd": lambda func: func.jacfwd(lambda x, y: x[:2] * y.sum(), argnums=(0, 1))(X, X),
    "hessian": lambda func: func.hessian(_f)(X),
    "vmap": lambda func: func.vmap(_f)(ROWS),
    "along another dimension": lambda func: func.vmap(lambda x, y: (x * y, x.sum()), (1, None), (-1, 0))(ROWS, X.sum()),
    "of examples in a dictionary": lambda func: func.vmap(_g, in_dims=0)(ROWS),
    "gradients of examples": lambda func: func.vmap(func.grad(_f), in_dims=(0, None))(ROWS, X),
}
DRAWN: dict[str, Callable[[Any], Any]] = {
    "numbers": lambda x: x * torch.rand(3) + torch.randn(2, 1),
    "many": lambda x: x.sum() * torch.randn(20),
    "integers": lambda x: x * torch.randint(0, 9, (3,)) * torch.randint(9, (3,)),
    "permutations": lambda x: x[torch.randperm(3)] * x.sum(),
    "alike": lambda x: x * torch.rand_like(x) + torch.randn_like(x) * torch.randint_like(x, 7),
    "in place": lambda x: x * (x * 1).normal_().exponential_() + x.clone().bernoulli_(0.3),
    "by a mean": lambda x: x * torch.normal(1.0, 2.0, (3,)),
    "dropout": lambda x: torch.nn.functional.dropout(x, 0.4),
    "nested": lambda x: torch.func.vmap(lambda y: y * torch.randn(2), randomness="different")(x),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_the_stand_in_gives_what_the_transform_gives(name: str) -> None:
    torch.manual_seed(0)
    expected = TRANSFORMED[name](torch.func)
    torch.manual_seed(0)
    with _by_autograd():
        found = TRANSFORMED[name](torch.func)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert not any(one.requires_grad for one in torch.utils._pytree.tree_leaves(found))


@pytest.mark.parametrize("mode", ["different", "same"])
@pytest.mark.parametrize("name", DRAWN)
def test_the_loop_draws_what_vmap_draws(name: str, mode: str) -> None:
    torch.manual_seed(0)
    expected, state = torch.func.vmap(DRAWN[name], randomness=mode)(ROWS), torch.get_rng_state()
    torch.manual_seed(0)
    with _by_autograd():
        found = torch.func.vmap(DRAWN[name], randomness=mode)(ROWS)
    assert torch.equal(found, expected)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("function", "dim"),
    [
        pytest.param(lambda x: torch.bernoulli(x.sigmoid()), 0, id="by what an example holds"),
        pytest.param(lambda x: torch.rand_like(x), 1, id="along another dimension"),
        pytest.param(lambda x: torch.rand(3) if x[0] < 0 else torch.rand(3) + torch.rand(3), 0, id="more than others"),
    ],
)
def test_what_vmap_would_draw_and_is_not_known_raises(function: Callable[[Any], Any], dim: int) -> None:
    from gradfix.backward.worker.draws import DrawError

    with _by_autograd(), pytest.raises(DrawError):
        torch.func.vmap(function, in_dims=dim, randomness="different")(ROWS)


def test_gradients_pass_through_the_stand_in() -> None:
    def loss(x: Any, w: Any) -> Any:
        return (torch.func.grad(lambda v: (v.sin() * w).sum())(x) * x).sum()

    received = []
    for around in (contextlib.nullcontext(), _by_autograd()):
        x, w = X.clone().requires_grad_(), (X * 2).requires_grad_()
        with around:
            loss(x, w).backward()
        received.append((x.grad, w.grad))
    torch.testing.assert_close(*received, rtol=1e-12, atol=0.0)


def test_transforms_are_themselves_again() -> None:
    kept = torch.vmap, torch.func.vmap, torch.func.grad
    with _by_autograd():
        assert torch.vmap is not kept[0]
    assert (torch.vmap, torch.func.vmap, torch.func.grad) == kept


BUFFER = """\
x = torch.randn(4, 3, requires_grad=True)
def f(row):
    h = torch.zeros(3)
    h[0] = row[0] * 2
    return h.sum() * row.sum()
torch.vmap(f)(x).sum().backward()
"""
NOISE = "    h = h * torch.rand(3) + torch.nn.functional.dropout(row, 0.5)\n"
NOISY = BUFFER.replace("    return", NOISE + "    return").replace("(f)", "(f, randomness='{}')")
INNER = """\
def f(w, x):
    h = torch.exp(w * x)
    h[0] = 0
    return h.sum()
def slope(w, x):
    return torch.func.grad(f)(w, x)
"""


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ("h = row.new_zeros(3); h[0] = row[0] * 2", Verdict.FIXED),
        ("h = row.new_zeros(3); h[0] = row[0].detach() + row[0]", Verdict.REJECTED),
        ("h = h.clone(); h[0] = row[0] * 2", Verdict.REJECTED),  # torch refuses that as well
    ],
)
def test_a_write_under_vmap_is_held_against_a_loop(judge: Judge, new: str, verdict: Verdict) -> None:
    judgement = judge(BUFFER, "h[0] = row[0] * 2", new, kinds=VMAP)
    assert judgement.verdict is verdict, judgement
    assert judgement.oracle == (PLAINLY if verdict is Verdict.FIXED else None)


@pytest.mark.parametrize("mode", ["different", "same"])
def test_a_write_beside_random_numbers_is_held_against_a_loop_that_draws_the_same(judge: Judge, mode: str) -> None:
    text, new = NOISY.format(mode), "h = row.new_zeros(3); h[0] = row[0] * 2"
    judgement = judge(text, "h[0] = row[0] * 2", new, kinds=VMAP)
    assert (judgement.verdict, judgement.oracle) == (Verdict.FIXED, PLAINLY), judgement
    wrong = new.replace("* 2", "* 2 + 0 * torch.rand(())" if mode == "same" else ".detach() + row[0]")
    assert judge(text, "h[0] = row[0] * 2", wrong, kinds=VMAP).verdict is Verdict.REJECTED


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ("h = h.clone(); h[0] = 0", Verdict.FIXED),
        ("h = h.clone(); h[0] = 0; h = h.detach() / 2 + h / 2", Verdict.REJECTED),
    ],
)
def test_an_error_inside_of_a_transform_has_gradients_by_autograd(judge: Judge, new: str, verdict: Verdict) -> None:
    judgement = judge(INNER, "h[0] = 0", new, DeclaredCall("slope(randn(3), randn(3))"))
    assert judgement.verdict is verdict, judgement
    if verdict is Verdict.FIXED:
        assert judgement.oracle == f"clone-packing saved-tensor hooks + {PLAINLY}"


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ("h = h.clone(); h[0] = 0", Verdict.FIXED),
        ("h = h.detach().clone(); h[0] = 0", Verdict.REJECTED),
        ("h = h.clone(); h[1] = 0", Verdict.REJECTED),
    ],
)
def test_a_program_without_a_backward_is_told_by_what_it_computes(judge: Judge, new: str, verdict: Verdict) -> None:
    text = (
        "def f(x):\n    h = x.exp()\n    h[0] = 0\n    return (h * x).sum()\ng = torch.func.grad(f)(torch.randn(3))\n"
    )
    judgement = judge(text, "h[0] = 0", new)
    assert judgement.verdict is verdict, judgement
    assert verdict is Verdict.REJECTED or "after, the module holds the same values" in judgement.reason


def test_what_is_computed_without_a_transform_is_no_gradient(judge: Judge) -> None:
    text = "x = torch.randn(3, requires_grad=True)\nx[0] = 1\ny = x * 2\n"
    judgement = judge(text, "x[0] = 1", "x = x.clone(); x[0] = 1")
    assert (judgement.verdict, judgement.reason) == (Verdict.UNCHECKED, "no backward follows the error")


SUM = """\
x = torch.randn(3, requires_grad=True)
def hook(g):
    g *= 2
    return g
y = x.exp()
y.register_hook(hook)
y.sum().backward()
"""
SHARED = SUM.replace("y.sum()", "w = torch.randn(3, requires_grad=True)\n((y + w.exp()) ** 2).sum()")


@pytest.mark.parametrize("text", [SUM, SHARED])
def test_a_hook_that_writes_to_a_gradient_is_held_against_copies(judge: Judge, text: str) -> None:
    judgement = judge(text, "g *= 2", "g = g * 2", kinds=HOOK)
    assert judgement.verdict in (Verdict.FIXED, Verdict.EQUIVALENT), judgement
    assert text is SHARED or judgement.oracle == "the original with hooks given copies of gradients"
    assert judge(text, "g *= 2\n    return g", "g = g * 2", kinds=HOOK).verdict is Verdict.REJECTED


def test_what_a_hook_does_to_the_gradient_of_others_is_undone(judge: Judge) -> None:
    text = SUM.replace("g *= 2", "g[0] = 0")  # of all elements, as they share one cell
    judgement = judge(text, "g[0] = 0", "g = g.clone(); g[0] = 0", kinds=HOOK)
    assert judgement.verdict is Verdict.FIXED, judgement
    assert judgement.reason.startswith("wrong gradient without an error before; after, it agrees with a run in which")
    assert judge(text, "g[0] = 0", "g = g.clone(); g[1] = 0", kinds=HOOK).verdict is Verdict.REJECTED


def _nothing(written: Any) -> None:
    """What a hook returns that only writes."""


def test_copies_go_on_where_a_hook_writes_to_them() -> None:
    from gradfix.backward.worker.gradient_copies import copied_gradients

    x = torch.ones(3, requires_grad=True)
    layer = torch.nn.Identity()
    with copied_gradients():
        y = x * 1
        y.register_hook(lambda g: _nothing(g.mul_(2)))
        layer.register_full_backward_hook(lambda module, received, given: _nothing(received[0].add_(1)))
        layer.register_full_backward_pre_hook(lambda module, given: _nothing(given[0].mul_(3)))
        layer(y)[:1].sum().backward()
    assert x.grad.tolist() == [8.0, 2.0, 2.0]
