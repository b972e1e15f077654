"""The examples on the pages of the codemods, run on torch: they do what the page says, and the codemods write them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from recorded_losses import recorded

from gradfix import edits, registry
from gradfix.codemod import Codemod
from gradfix.engine import engine
from gradfix.findings import Applicability, Severity
from gradfix.report import pages
from gradfix.source import Source

torch = pytest.importorskip("torch")

CODEMODS = registry.builtin()
Function = Callable[..., object]


def function(block: str) -> Function:
    """`f` of a code block; of a program without one, its run, with an `x` that isn't the program's own."""
    code = compile(block, "<page>", "exec")
    names: dict[str, Function] = {}
    if "def f(" in block:
        exec(code, names)
        return names["f"]

    def run(x: object) -> object:
        own = {"x": x}
        exec(code, own)
        return (x * own["x"].grad).sum()  # type: ignore[attr-defined, operator]  # tensors; the gradient becomes ours

    return run


def inputs() -> list[object]:
    """Points where every example differentiates; the branches of both signs are among them."""
    generator = torch.Generator().manual_seed(0)
    point = torch.rand(3, generator=generator) + 0.2
    return [sign * point for sign in (1, -1)]


def gradient(f: Function, point: object) -> object:
    """Of the sum of what `f` returns, or of the backward it runs itself."""
    x = point.clone().requires_grad_()  # type: ignore[attr-defined]  # a tensor
    result = f(x)
    if result is not None:
        result.sum().backward()  # type: ignore[attr-defined]  # a tensor
    return x.grad


def differences(f: Function, point: object, step: float = 1e-6) -> object:
    """Central differences of the sum of what `f` returns, or of the loss it differentiates itself, without autograd."""
    result = torch.zeros_like(point)
    with torch.no_grad():
        for i in range(len(point)):  # type: ignore[arg-type]  # a tensor
            ends = []
            for sign in (1, -1):
                moved = point.clone()  # type: ignore[attr-defined]  # a tensor
                moved[i] += sign * step
                with recorded() as losses:
                    value = f(moved)
                ends.append(sum(losses) if value is None else value.sum())  # type: ignore[attr-defined]  # a tensor
            result[i] = (ends[0] - ends[1]) / (2 * step)
    return result


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def blocks(codemod: Codemod, heading: str) -> tuple[str, ...]:
    return pages.code_blocks(pages.sections(codemod.page)[heading])


@pytest.mark.parametrize("codemod", CODEMODS, ids=lambda codemod: codemod.name)
def test_the_example_fails_with_the_stated_symptom(codemod: Codemod) -> None:
    f = function(blocks(codemod, "Example")[0])
    messages = []
    for point in inputs():
        try:
            gradient(f, point)
        except (RuntimeError, TypeError, ValueError) as error:
            messages.append(str(error))
    if not codemod.symptom:  # nothing raises, the gradient is wrong
        assert not messages
        instead = function(blocks(codemod, "Example")[1])
        assert any(not torch.allclose(gradient(f, point), differences(instead, point)) for point in inputs())
        return
    assert messages
    assert all(re.search(codemod.symptom, message) for message in messages)


@pytest.mark.parametrize("codemod", CODEMODS, ids=lambda codemod: codemod.name)
def test_what_to_use_instead_has_the_right_gradient(codemod: Codemod) -> None:
    example, *instead = blocks(codemod, "Example")
    for block in instead:
        for point in inputs():
            found = gradient(function(block), point)
            raises = codemod.name in (
                "non-scalar-backward",
                "non-leaf-grad",
                "out-argument",
            )  # there is no forward to compare with
            forward = function(block if codemod.name in ("swapped-elements", "expanded-write") else example)
            expected = torch.ones_like(point) if raises else differences(forward, point)
            assert torch.allclose(found, expected, atol=1e-6), block


@pytest.mark.parametrize("codemod", CODEMODS, ids=lambda codemod: codemod.name)
def test_what_it_leaves_alone_runs_and_is_left_alone(codemod: Codemod) -> None:
    for block in blocks(codemod, "Leaves alone"):
        for point in inputs():
            assert gradient(function(block), point) is not None
        source = Source.from_text("page.py", block)
        found = engine.check_source(source, [codemod])
        assert [f for f in found if f.severity is not Severity.INFO] == []


@pytest.mark.parametrize("codemod", CODEMODS, ids=lambda codemod: codemod.name)
def test_the_codemod_writes_what_its_page_shows(codemod: Codemod) -> None:
    example, *instead = blocks(codemod, "Example")
    if codemod.applicability is Applicability.DISPLAYONLY:
        assert not instead
        return
    source = Source.from_text("page.py", example)
    (result,) = engine.results(source, engine.check_source(source, [codemod]), engine.Policy())
    assert result.fix is not None, result.refusal
    made = [edits.apply(example, fix.edits) for fix in (result.fix, *result.alternatives)]
    assert made[: len(instead)] == list(instead)


def test_the_first_fix_is_as_safe_as_the_codemod_promises() -> None:
    for codemod in CODEMODS:
        source = Source.from_text("page.py", blocks(codemod, "Example")[0])
        (finding,) = engine.check_source(source, [codemod])
        if codemod.applicability is Applicability.DISPLAYONLY:
            assert finding.refusal is not None
            continue
        assert finding.rewrites[0].applicability in (codemod.applicability, Applicability.UNSAFE)
