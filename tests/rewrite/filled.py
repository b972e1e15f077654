"""Random functions of three tensors that fill a buffer: run, fixed, and the two compared.

The original's gradients come from a run in which every saved tensor is cloned.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Protocol

import pytest

from gradfix import edits, registry
from gradfix.engine import engine
from gradfix.source import Source

torch = pytest.importorskip("torch")

CODEMODS = registry.builtin()


class Program(Protocol):
    """One function `f(x, w, v)`, and the dtype of its arguments."""

    dtype: str

    def text(self) -> str: ...


def run(text: str, dtype: str, *, cloned: bool = False) -> tuple[object, list[object], object]:
    """What `f` returns, its gradients, and the state of the random numbers afterwards."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.rand(shape, generator=generator, dtype=getattr(torch, dtype)) + 0.2 for shape in ((4, 3), (), (2, 3))]
    leaves = [tensor.requires_grad_() for tensor in made]
    names: dict[str, object] = {}
    exec(compile(text, "program.py", "exec"), names)
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t) if cloned else nullcontext()
    with hooks:
        torch.default_generator.manual_seed(0)
        result = names["f"](*leaves)  # type: ignore[operator]  # a function
        state = torch.get_rng_state()
        if result.requires_grad:
            weights = torch.linspace(0.5, 1.5, result.numel(), dtype=result.dtype).reshape(result.shape)
            (result * weights).sum().backward()
    return result.detach(), [leaf.grad for leaf in leaves], state


def fixed(text: str, policy: engine.Policy) -> tuple[str, set[str]]:
    """The program with its fixes; a second run finds nothing to fix."""
    result = engine.fix(Source.from_text("program.py", text), CODEMODS, policy)
    after = edits.apply(text, result.edits)
    assert not result.edits or not engine.fix(Source.from_text("program.py", after), CODEMODS, policy).edits, after
    return after, {found.finding.code for found in result.applied}


def raises(text: str, dtype: str) -> bool:
    try:
        run(text, dtype)
    except RuntimeError:
        return True
    return False


def compare(text: str, after: str, dtype: str) -> None:
    value, gradients, state = run(after, dtype)
    expected, wanted, untouched = run(text, dtype, cloned=True)
    assert (value.dtype, value.shape) == (expected.dtype, expected.shape), after  # type: ignore[attr-defined]
    assert torch.equal(value, expected), after
    assert torch.equal(state, untouched), after
    for gradient, reference in zip(gradients, wanted, strict=True):
        gradient, reference = (torch.zeros(1) if g is None else g for g in (gradient, reference))
        assert torch.allclose(gradient.double(), reference.double(), rtol=1e-4, atol=1e-5), after


def valid(make: Callable[[int], Program], seeds: range) -> list[tuple[str, str]]:
    """The random programs whose forward runs."""
    found = []
    for seed in seeds:
        program = make(seed)
        text = program.text()
        try:
            run(text, program.dtype, cloned=True)
        except (RuntimeError, IndexError):
            continue  # a value that doesn't fit
        found.append((text, program.dtype))
    return found


def compared(programs: list[tuple[str, str]], policy: engine.Policy, *codes: str) -> int:
    """Hold every program against its fixes; how many got one of `codes`."""
    changed = 0
    for text, dtype in programs:
        after, made = fixed(text, policy)
        changed += not made.isdisjoint(codes)
        if made:
            compare(text, after, dtype)
        else:
            assert not raises(text, dtype), text
    return changed
