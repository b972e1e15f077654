"""Branches and what they are rewritten to, run on torch for every side of every test, infinities and NaN included."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from build import branch, tensor, value
from programs import fixed

from gradfix import edits
from gradfix.analysis.facts import ConditionKind, IndexKind, TensorFacts, Tracked
from gradfix.findings import Refusal

torch = pytest.importorskip("torch")

INF, NAN = math.inf, math.nan
POINTS = ((0.0, 0.0), (-0.0, 1.0), (1.0, -1.0), (-1.0, 2.5), (0.1, 0.1), (2.5, -0.0), (-2.0, -2.0), (1.0, 1.0)) + (
    (INF, 0.5), (-INF, 2.0), (1.0, -INF), (-1.0, INF), (NAN, 1.0), (1.0, NAN), (INF, INF))  # fmt: skip
TESTS = {
    "x[0] > 0": ConditionKind.TENSOR,
    "0 <= x[0]": ConditionKind.TENSOR,
    "x[0]": ConditionKind.TENSOR,
    "not x[0] > 0": ConditionKind.TENSOR,
    "x[0] > 0 and x[1] < 1": ConditionKind.TENSOR,
    "x[0] > 0 or x[1] > 0": ConditionKind.TENSOR,
    "-1 < x[0] < 1": ConditionKind.TENSOR,
    "x[0].item() > 0.1": ConditionKind.ITEM,
    "x[0].item() > 0": ConditionKind.ITEM,
    "x[:1] > 0": ConditionKind.TENSOR,
    "(x > 0).all()": ConditionKind.TENSOR,
    "x[None, :1] > 0": ConditionKind.TENSOR,
}
BODIES = {
    "identity": "y[0] = x[0]",
    "number": "y[0] = 3.5\n    y[1] = x[1]",
    "linear": "y[0] = 2 * x[0] - x[1] / 4",
    "square root": "y[0] = x[0].sqrt()",
    "logarithm": "y[0] = torch.log(x[0])",
    "division": "y[0] = 1 / x[0]",
    "power": "y[0] = x[0] ** 0.5",
    "product": "y[0] = x[0] * x[1]",
    "arc cosine": "y[0] = x[0].acos()",
    "several": "y[0] = x[0]\n    y[1] = y[0] - x[1]",
    "augmented": "y[1] += x[0]",
    "slice": "y[0:2] = x[0:2]",
    "broadcast": "y[1:] = x[0]",
    "kept": "y[0] = x.sum() * torch.rand(())",
    "either": "y[0] = x[0]\nelse:\n    y[0] = x[1].exp()",
    "three ways": "y[0] = x[0]\nelif x[1] > 0:\n    y[0] = -x[1]\nelse:\n    y[0] = x[0] + x[1]",
    "two ways": "y[0] = x[0]\nelif x[1] > 0:\n    y[0] = 2 * x[1]",
}


def run(text: str, point: tuple[float, float]) -> tuple[object, object, bool]:
    """The buffer afterwards, the gradient of a random function of it, and whether there was a graph."""
    torch.default_generator.manual_seed(0)
    x = torch.tensor(point, requires_grad=True)
    names = {"torch": torch, "x": x, "y": torch.zeros(3)}
    exec(compile(text, "<branch>", "exec"), names)
    result = names["y"]
    if result.requires_grad:
        result.backward(torch.tensor([0.5, -2.0, 3.0]))
    return result.detach(), x.grad, result.requires_grad


def equal(a: object, b: object) -> bool:
    """Bit for bit."""
    same = a.dtype == b.dtype and a.shape == b.shape  # type: ignore[attr-defined]  # tensors
    return same and torch.equal(torch.nan_to_num(a, nan=7e7), torch.nan_to_num(b, nan=7e7))


@pytest.mark.parametrize("known", [True, False], ids=["shapes known", "shapes unknown"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("test", TESTS)
def test_both_forms_agree_with_the_branch(test: str, body: str, known: bool) -> None:
    text = f"if {test}:\n    {body}\n"
    buffer = tensor(3, dtype="float32", tracked=Tracked.NO) if known else TensorFacts(tracked=Tracked.NO)
    rank = 1 if "0:2" in body else 0
    written = value(*((2,) if rank else ()), dtype="float32") if known and "3.5" not in body else None
    made = branch(text, buffer=buffer, written=written, condition=TESTS[test], kinds={"0:2": IndexKind.SLICE})
    texts = []
    for rewrite in made.rewrites():
        built = rewrite.build(made.source)
        assert not isinstance(built, Refusal)
        texts.append(edits.apply(text, built))
    for point, after in itertools.product(POINTS, texts):
        result, gradient, connected = run(text, point)
        new_result, new_gradient, new_connected = run(after, point)
        assert equal(result, new_result), f"{point} {after}"
        assert new_connected, f"{point} {after}"
        if connected:
            assert equal(gradient, new_gradient), f"{point} {gradient} {new_gradient} {after}"
        else:
            assert not new_gradient.any(), f"{point} {after}"


CALLED = """import torch


def f(x, y):
    out = torch.zeros(2)
    if x > y and not x > 2:
        out[0] = x * 2
    return out.sum()


x = torch.tensor(0.5, requires_grad=True)
f(x, torch.tensor(1.0)).backward()
"""


def test_tests_whose_shapes_every_call_tells_arent_reshaped() -> None:
    assert "torch.where((x > y) & (~(x > 2)), x * 2, out[0])" in fixed(CALLED)
    other = CALLED + "f(x, torch.ones(1)).backward()\n"
    assert ".reshape(())" in fixed(other)


def test_an_anchor_names_no_other_buffer_of_the_branch() -> None:
    text = """import torch


def f(x, v):
    a, b = torch.zeros(2), torch.zeros(2)
    if x[0] > 0:
        if v[0] > 0:
            a[0] = x[0]
            b[0] = v[0] * x[1]
    return a.sum() + b.sum()


x = torch.tensor([-0.5, 1.0], requires_grad=True)
v = torch.tensor([-0.5, 1.0], requires_grad=True)
f(x, v).backward()
"""
    made = fixed(text)
    assert "dtype=torch.bool), x.sum() + v.sum(), a)\n" in made
    names: dict[str, Any] = {}
    exec(compile(made, "program.py", "exec"), names)
    assert not names["x"].grad.any()
    assert not names["v"].grad.any()
