"""Masked writes made `torch.where`: gradients stay finite where the original's were, values and dtypes are equal.

The original raises in backward, so its gradients come from a run in which every saved tensor is cloned.
"""

from __future__ import annotations

import random

import pytest

from gradfix import edits, registry
from gradfix.engine import engine
from gradfix.source import Source

torch = pytest.importorskip("torch")

CODEMODS = registry.builtin()
POINTS = (0.0, 30.0, -30.0, 0.5, -0.7, 0.1, 1.5, -2.0)  # of tanh: 0, 1 and -1 are among the values

# Under the mask, what is written; the mask keeps it inside its domain, the other elements lie on the edge and outside.
PARTIAL = [
    ("y > 0", "y[m] = y[m].log()"),
    ("y > 0", "y[m] = torch.sqrt(y[m])"),
    ("y > 0", "y[m] = y[m].rsqrt()"),
    ("y > 0", "y[m] = 1 / y[m]"),
    ("y > 0", "y[m] = y[m].reciprocal() * 3"),
    ("y > 0", "y[m] = y[m] ** 0.5"),
    ("y > 0", "y[m] = y[m].pow(-1.5)"),
    ("y > 0", "y[m] = torch.log2(y[m]) - y[m]"),
    ("y > 0", "y[m] = -y[m].log10()"),
    ("y > 0", "y[m] = y[m] * y[m].log()"),
    ("y > 0", "y[m] = y[m].log() / y[m]"),
    ("y > 0", "y[m] = (1 / y[m]).sqrt()"),
    ("y > 0", "y[m] = 2 ** (1 / y[m])"),
    ("y > 0", "y[m] = z[m] / y[m]"),
    ("y > 0", "y[m] = y[m] / z[m]"),
    ("y > 0", "y[m] = z[m].log() + y[m]"),
    ("y > 0", "y[m] = (y[m] * z[m]).sqrt()"),
    ("y > 0", "y[m] /= z[m]"),
    ("y > 0", "y[m] **= -2"),
    ("y > 0", "y[m] -= y[m].log()"),
    ("y > 0", "y[m] *= 1 / z[m]"),
    ("y != 0", "y[m] = 1 / y[m]"),
    ("y != 0", "y[m] = y[m] / y[m].abs()"),
    ("y != 0", "y[m] = torch.sin(y[m]) / y[m]"),
    ("y < 1", "y[m] = torch.log(1 - y[m])"),
    ("y < 1", "y[m] = 1 / (1 - y[m]) + y[m]"),
    ("y < 1", "y[m] = torch.sqrt(1 - y[m])"),
    ("y < 1", "y[m] = (1 - y[m]) ** -0.5"),
    ("y.abs() < 1", "y[m] = y[m].asin()"),
    ("y.abs() < 1", "y[m] = torch.acos(y[m])"),
    ("y.abs() < 1", "y[m] = torch.atanh(y[m])"),
    ("y.abs() < 1", "y[m] = 1 / torch.sqrt(1 - y[m] * y[m])"),
    ("y > -1", "y[m] = torch.log1p(y[m])"),
    ("y < 0", "y[m] = torch.exp(1000 * y[m])"),
    ("y < 0", "y[m] = torch.sqrt(-y[m]) * z[m]"),
    ("y > 0", "y[m] = torch.acosh(1 / y[m] + 1)"),
    ("y > 0", "y[m] = y[m].log()\n    y[~m] = y[~m] * 2"),
    ("y > 0", "y[m] = y[m].sqrt()\n    y[~m] = 0.0"),
    ("y >= 0", "y[~m] = (-y[~m]).log()\n    y[m] = torch.log1p(y[m])"),
    ("y != 0", "y[m] = z[m] / y[m]\n    y[~m] = 1.0"),
    ("y > 0", "y[m] = y[m].log() * s\n    y[~m] = z[~m] - s"),
    ("y > 0", "y[m] = (y[m] * 2).exp() / y[m] + s"),
]


def program(mask: str, write: str) -> str:
    return (
        "import torch\n\n\ndef f(x, s):\n    y = x.tanh()\n    z = y.clone() * 3\n    s = torch.sum(s)\n"
        f"    m = {mask}\n    {write}\n    return y\n"
    )


def fixed(text: str) -> tuple[str, set[str]]:
    source = Source.from_text("program.py", text)
    result = engine.fix(source, CODEMODS, engine.Policy())
    assert not engine.fix(
        Source.from_text("program.py", edits.apply(text, result.edits)), CODEMODS, engine.Policy()
    ).edits
    return edits.apply(text, result.edits), {found.finding.code for found in result.applied}


def run(text: str, points: object, *, cloned: bool) -> tuple[object, list[object]]:
    """What `f` returns, and the gradients of its random function."""
    names: dict[str, object] = {}
    exec(compile(text, "program.py", "exec"), names)
    leaves = [points.clone().requires_grad_(), torch.tensor([0.3, 0.4], dtype=points.dtype).requires_grad_()]  # type: ignore[attr-defined]
    pack = (lambda t: t.clone()) if cloned else (lambda t: t)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t)
    if cloned:
        with hooks:
            return backward(names["f"](*leaves), leaves)  # type: ignore[operator]
    return backward(names["f"](*leaves), leaves)  # type: ignore[operator]


def backward(result: object, leaves: list[object]) -> tuple[object, list[object]]:
    weights = torch.linspace(0.5, 1.5, result.numel(), dtype=result.dtype).reshape(result.shape)  # type: ignore[attr-defined]
    (result * weights).sum().backward()  # type: ignore[operator]
    return result.detach(), [leaf.grad for leaf in leaves]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("mask", "write"), PARTIAL, ids=[write for _, write in PARTIAL])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_finite_wherever_the_originals_were(mask: str, write: str, dtype: str) -> None:
    text = program(mask, write)
    points = torch.tensor(POINTS, dtype=getattr(torch, dtype))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        run(text, points, cloned=False)
    after, codes = fixed(text)
    assert codes == {"GF204"}
    expected, wanted = run(text, points, cloned=True)
    value, found = run(after, points, cloned=False)
    assert torch.allclose(value, expected, rtol=1e-6, atol=0, equal_nan=True)
    assert value.dtype == expected.dtype  # type: ignore[attr-defined]
    for gradient, reference in zip(found, wanted, strict=True):
        gradient = torch.zeros_like(points[:2]) if gradient is None else gradient
        reference = torch.zeros_like(gradient) if reference is None else reference
        assert torch.isfinite(gradient[torch.isfinite(reference)]).all()
        assert torch.allclose(gradient, reference, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_there_are_forty_programs() -> None:
    assert len(PARTIAL) >= 40


LEAVES = ("y[m]", "y[m]", "z[m]", "2", "0.5", "s")
UNARY = ("{}.exp()", "torch.sin({})", "{}.abs()", "torch.sqrt({})", "-{}", "{}.log()", "torch.clamp({}, min=0.1)")
BINARY = ("({} + {})", "({} - {})", "({} * {})", "({} / {})")


def expression(chance: random.Random, depth: int) -> str:
    if depth == 0:
        return chance.choice(LEAVES)
    if chance.random() < 0.5:
        return chance.choice(UNARY).format(f"({expression(chance, depth - 1)})")
    return chance.choice(BINARY).format(expression(chance, depth - 1), expression(chance, depth - 1))


def write_of(chance: random.Random) -> str:
    value = expression(chance, chance.choice((1, 2, 3)))
    kind = chance.random()
    if kind < 0.3:
        return f"y[m] {chance.choice(('+=', '-=', '*=', '/='))} {value}"
    if kind < 0.6:
        other = expression(chance, 1).replace("[m]", "[~m]")
        return f"y[m] = {value}\n    y[~m] = {other}"
    return f"y[m] = y[m] * {value}"


def random_program(seed: int) -> tuple[str, object]:
    """A program that runs when saved tensors are cloned, and points for it."""
    chance = random.Random(seed)
    while True:
        text = program(chance.choice(("y > 0", "y < 0.3", "z > 1")), write_of(chance))
        points = torch.tensor([chance.uniform(-2, 2) for _ in range(12)], dtype=torch.float64)
        try:
            run(text, points, cloned=True)
        except (RuntimeError, AttributeError, TypeError):
            continue  # `0.5.exp()`, an integer under a mask of floats
        return text, points


@pytest.mark.parametrize("block", range(8))
def test_random_values_under_a_mask(block: int) -> None:
    changed = 0
    for seed in range(10 * block, 10 * block + 10):
        text, points = random_program(seed)
        expected, wanted = run(text, points, cloned=True)
        after, codes = fixed(text)
        changed += "GF204" in codes
        value, found = run(after, points, cloned=False)
        assert torch.allclose(value, expected, rtol=1e-12, atol=0, equal_nan=True), after
        assert (value.dtype, value.shape) == (expected.dtype, expected.shape)  # type: ignore[attr-defined]
        for gradient, reference in zip(found, wanted, strict=True):
            gradient, reference = (torch.zeros(1) if g is None else g for g in (gradient, reference))
            assert torch.allclose(gradient, reference, rtol=1e-9, atol=1e-12, equal_nan=True), after
    assert changed


def test_a_mask_of_what_a_name_held_on_the_same_line_before() -> None:
    """`x` and `y` are bound to one shape and `x` to another behind it, all in one line."""
    text = (
        "import torch\n\n\ndef f(x, s):\n    x = x.reshape(4, 2); y = x.exp(); x = x[:, 0]; y[x < 0] = 0.0\n"
        "    return y * s.sum()\n"
    )
    points = torch.tensor(POINTS, dtype=torch.float64)
    after, _ = fixed(text)
    expected, wanted = run(text, points, cloned=True)
    value, found = run(after, points, cloned=False)
    assert torch.equal(value, expected)
    assert all(map(torch.equal, found, wanted))
