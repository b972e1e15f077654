"""Programs run before and after gradfix: what they print and what their leaves get, against an oracle that can run."""

from __future__ import annotations

from dataclasses import dataclass

from gradfix import edits, engine, registry
from gradfix.findings import Applicability, Severity
from gradfix.source import Source


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
    import torch

    shown: list[object] = []
    found: dict[str, object] = {}

    def leaf(name: str, made: object) -> object:
        found[name] = made
        return made * 1 if oracle else made  # type: ignore[operator]  # a tensor

    for name in leaves:
        text = text.replace(f"{name} = torch", f"{name} = __leaf__({name!r}, torch", 1)
        line = next(line for line in text.splitlines() if f"__leaf__({name!r}" in line)
        text = text.replace(line, line + ")", 1)
    space = {"show": lambda *values: shown.extend(v.detach().clone() for v in values), "__leaf__": leaf}
    torch.manual_seed(0)
    error = None
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t)
    try:
        if oracle:
            with hooks:
                exec(compile(text, "program.py", "exec"), space)
        else:
            exec(compile(text, "program.py", "exec"), space)
    except RuntimeError as raised:
        error = str(raised)
    gradients = {name: made.grad for name, made in found.items()}  # type: ignore[attr-defined]  # tensors
    return Result(error, tuple(shown), gradients, torch.get_rng_state())


def assert_cured(text: str, symptom: str, *leaves: str, applicability: Applicability = Applicability.SAFE) -> str:
    """The program fails as stated; after gradfix it shows and gets what the oracle does. Returns the new text."""
    import torch

    before = run(text, *leaves)
    assert before.error is not None, "the program runs as it stands"
    assert symptom in before.error
    made = fixed(text, applicability)
    truth, after = run(text, *leaves, oracle=True), run(made, *leaves)
    assert truth.error is None
    assert after.error is None, f"{after.error}\n{made}"
    assert len(truth.shown) == len(after.shown)
    for a, b in zip(truth.shown, after.shown, strict=True):
        assert a.dtype == b.dtype  # type: ignore[attr-defined]  # tensors
        assert torch.equal(a, b), made
    for name, gradient in truth.gradients.items():
        assert torch.equal(gradient, after.gradients[name]), f"{name}: {gradient}, {after.gradients[name]}\n{made}"
    assert torch.equal(truth.random, after.random)
    assert fixed(made, applicability) == made
    return made
