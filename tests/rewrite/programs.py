"""Programs run before and after gradfix: what they print and what their leaves get, against an oracle that can run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gradfix import edits, registry
from gradfix.engine import engine
from gradfix.findings import Applicability, Severity
from gradfix.source import Source

torch = pytest.importorskip("torch")


@dataclass(frozen=True, slots=True)
class Result:
    """What one run left: values in the order in which they were shown, gradients by leaf, the state of the RNG."""

    error: str | None
    shown: tuple[object, ...]
    gradients: dict[str, object]
    random: object


def fixed(text: str, applicability: Applicability = Applicability.SAFE, *codes: str) -> str:
    """The program after gradfix, with the codemods named, or all."""
    codemods = [c for c in registry.builtin() if not codes or c.code in codes]
    policy = engine.Policy(Severity.WARNING, applicability)
    result = engine.fix(Source.from_text("program.py", text), codemods, policy)
    return edits.apply(text, result.edits)


def run(text: str, *leaves: str, oracle: bool = False) -> Result:
    """Run a program that calls `show(…)` on what it is about; `oracle`: saved values are copies, no leaf is one."""
    found: dict[str, object] = {}

    def leaf(name: str, made: object) -> object:
        found[name] = made
        return made * 1 if oracle else made  # type: ignore[operator]  # a tensor

    torch.default_generator.manual_seed(0)
    shown, error = _execute(text, leaves, leaf, hooks=oracle)
    gradients = {name: made.grad for name, made in found.items()}  # type: ignore[attr-defined]  # tensors
    return Result(error, shown, gradients, torch.get_rng_state())


def _execute(
    text: str, leaves: tuple[str, ...], leaf: Callable[[str, object], object], *, hooks: bool
) -> tuple[tuple[object, ...], str | None]:
    """What a program showed, and the message it failed with; its leaves pass through `leaf`."""
    for name in leaves:
        text = text.replace(f"{name} = torch", f"{name} = __leaf__({name!r}, torch", 1)
        line = next(line for line in text.splitlines() if f"__leaf__({name!r}" in line)
        text = text.replace(line, line + ")", 1)
    shown: list[object] = []
    space = {"show": lambda *values: shown.extend(v.detach().clone() for v in values), "__leaf__": leaf}
    packed = torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t)
    try:
        with packed if hooks else contextlib.nullcontext():
            exec(compile(text, "program.py", "exec"), space)
    except RuntimeError as raised:
        return tuple(shown), str(raised)
    return tuple(shown), None


def _loss(
    text: str, leaves: tuple[str, ...], shift: Callable[[str, object], object]
) -> tuple[float, tuple[object, ...]]:
    """The root of the first backward, without gradients, and what was shown before it."""
    roots: list[float] = []

    def reached(root: object, *_: object, **__: object) -> None:
        roots.append(float(root.sum()))  # type: ignore[attr-defined]  # a tensor
        raise RuntimeError

    kept = torch.Tensor.backward
    torch.Tensor.backward = reached  # type: ignore[assignment,method-assign]  # for this run
    try:
        torch.default_generator.manual_seed(0)
        with torch.no_grad():
            shown, _ = _execute(text, leaves, shift, hooks=False)
    finally:
        torch.Tensor.backward = kept  # type: ignore[method-assign]
    assert roots, "no backward was reached"
    return roots[0], shown


def differences(text: str, leaf: str, *others: str, step: float = 1e-6) -> tuple[object, tuple[object, ...]]:
    """Central differences of the loss by every element of `leaf`, in float64, and what the program shows."""
    sizes: list[object] = []
    _, shown = _loss(text, (leaf, *others), lambda name, made: (sizes.append(made), made)[1] if name == leaf else made)
    slopes = torch.zeros_like(sizes[0]).detach()
    for place in range(slopes.numel()):
        ends = []
        for sign in (1, -1):
            moved = torch.zeros_like(slopes)
            moved.view(-1)[place] = sign * step
            ends.append(_loss(text, (leaf, *others), lambda n, made, m=moved: made + m if n == leaf else made * 1)[0])
        slopes.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
    return slopes, shown


def assert_cured(
    text: str,
    symptom: str,
    *leaves: str,
    applicability: Applicability = Applicability.SAFE,
    by_differences: bool = False,
) -> str:
    """The program fails as stated; after gradfix it shows and gets what the oracle does. Returns the new text."""
    before = run(text, *leaves)
    assert before.error is not None, "the program runs as it stands"
    assert symptom in before.error
    made = fixed(text, applicability)
    if by_differences:
        _assert_slopes(text, made, *leaves)
    else:
        _assert_equal(run(text, *leaves, oracle=True), run(made, *leaves), made)
    assert fixed(made, applicability) == made
    return made


def _assert_equal(truth: Result, after: Result, made: str) -> None:
    assert truth.error is None
    assert after.error is None, f"{after.error}\n{made}"
    assert len(truth.shown) == len(after.shown)
    for a, b in zip(truth.shown, after.shown, strict=True):
        assert a.dtype == b.dtype  # type: ignore[attr-defined]  # tensors
        assert torch.equal(a, b), made
    for name, gradient in truth.gradients.items():
        assert torch.equal(gradient, after.gradients[name]), f"{name}: {gradient}, {after.gradients[name]}\n{made}"
    assert torch.equal(truth.random, after.random)


def _assert_slopes(text: str, made: str, *leaves: str) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        after = run(made, *leaves)
        assert after.error is None, f"{after.error}\n{made}"
        for name in leaves:
            slopes, shown = differences(text, name, *(other for other in leaves if other != name))
            found = after.gradients[name]
            found = torch.zeros_like(slopes) if found is None else found
            assert torch.allclose(slopes, found, atol=1e-5), f"{name}: {slopes}, {found}\n{made}"
            for a, b in zip(shown, after.shown, strict=False):
                assert torch.equal(a, b), made
    finally:
        torch.set_default_dtype(torch.float32)
