"""The fixtures of the codemods: `NAME.before.py` becomes `NAME.after.py`, `NAME.keep.py` stays as it is; all are run.

Each ends in `case()`, which gives a function and its arguments (a tuple, or a list of tuples). `pytest
--update-fixtures` isn't needed: write the `.after.py` by hand, as a reader would want it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recorded_losses import recorded

from gradfix import edits, registry
from gradfix.codemod import Codemod
from gradfix.engine import engine
from gradfix.findings import Applicability, Severity
from gradfix.source import Source

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parent / "fixtures"
CODEMODS = {codemod.name: codemod for codemod in registry.builtin()}
POLICY = engine.Policy(applicability=Applicability.UNSAFE)

Case = tuple[Callable[..., object], list[tuple[object, ...]]]


def fixtures(kind: str) -> list[pytest.param]:
    """Every file `*.<kind>.py` with the codemod its folder is named after."""
    found = []
    for name, codemod in CODEMODS.items():
        for path in sorted((FOLDER / name.replace("-", "_")).glob(f"*.{kind}.py")):
            found.append(pytest.param(codemod, path, id=f"{name}/{path.name.split('.')[0]}"))
    return found


def load(path: Path) -> Case:
    """What `case()` of a fixture gives, with a list of inputs."""
    names: dict[str, object] = {"__name__": "fixture"}
    exec(compile(path.read_text(), str(path), "exec"), names)
    function, inputs = names["case"]()  # type: ignore[operator]  # by contract
    return function, inputs if isinstance(inputs, list) else [inputs]


def leaves(arguments: tuple[object, ...]) -> list[object]:
    """The arguments, floating tensors as fresh leaves."""
    fresh = []
    for argument in arguments:
        if isinstance(argument, torch.Tensor) and argument.is_floating_point():
            argument = argument.detach().clone().requires_grad_()
        fresh.append(argument)
    return fresh


def contracted(result: object) -> torch.Tensor:
    """A random linear function of what a fixture returns, the same every time."""
    torch.default_generator.manual_seed(1)
    return (result * torch.randn(result.shape)).sum()  # type: ignore[attr-defined, operator]  # a tensor


def number(function: Callable[..., object], arguments: list[object]) -> object:
    """A number that depends on all that `function` returns; the loss, where it returns nothing but differentiates."""
    torch.default_generator.manual_seed(0)
    with recorded() as losses:
        result = function(*arguments)
    if result is None:
        return sum(losses)
    return contracted(result)


def gradients(function: Callable[..., object], arguments: tuple[object, ...]) -> list[object]:
    """Of all floating arguments, zero where there is none."""
    given = leaves(arguments)
    inputs = [a for a in given if isinstance(a, torch.Tensor) and a.requires_grad]
    torch.default_generator.manual_seed(0)
    result = function(*given)
    if result is not None:
        contracted(result).backward()
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in inputs]


def differences(function: Callable[..., object], arguments: tuple[object, ...], step: float = 1e-6) -> list[object]:
    """Central differences of the forward of `function`."""
    results = []
    for position, argument in enumerate(arguments):
        if not isinstance(argument, torch.Tensor) or not argument.is_floating_point():
            continue
        slopes = torch.zeros_like(argument)
        for place in range(argument.numel()):
            ends = []
            for sign in (1, -1):
                moved = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
                moved[position].view(-1)[place] += sign * step  # type: ignore[attr-defined]  # a tensor
                ends.append(number(function, moved).detach())  # type: ignore[attr-defined]
            slopes.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
        results.append(slopes)
    return results


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.default_generator.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def test_every_codemod_has_fixtures_and_leaves_more_alone_than_it_changes() -> None:
    for name in CODEMODS:
        folder = FOLDER / name.replace("-", "_")
        befores, keeps = len(list(folder.glob("*.before.py"))), len(list(folder.glob("*.keep.py")))
        assert befores or CODEMODS[name].applicability is Applicability.DISPLAYONLY
        assert keeps >= befores


@pytest.mark.parametrize(("codemod", "path"), fixtures("before"))
def test_before_becomes_after(codemod: Codemod, path: Path) -> None:
    source = Source.from_bytes(path.name, path.read_bytes())
    result = engine.fix(source, [codemod], POLICY)
    assert (
        edits.apply(source.text, result.edits) == path.with_name(path.name.replace(".before.", ".after.")).read_text()
    )


@pytest.mark.parametrize(("codemod", "path"), fixtures("after") + fixtures("keep"))
def test_after_and_keep_stay_as_they_are(codemod: Codemod, path: Path) -> None:
    source = Source.from_bytes(path.name, path.read_bytes())
    result = engine.fix(source, [codemod], POLICY)
    assert result.edits == ()
    if ".keep." in path.name:
        assert [r.finding.message for r in result.left if r.finding.severity is Severity.ERROR and r.fix] == []


@pytest.mark.parametrize(("codemod", "path"), fixtures("before"))
def test_before_fails_as_the_codemod_says(codemod: Codemod, path: Path) -> None:
    function, inputs = load(path)
    messages = []
    for arguments in inputs:
        try:
            gradients(function, arguments)
        except (RuntimeError, TypeError, ValueError) as error:
            messages.append(str(error))
    if codemod.name == "swapped-elements":  # nothing raises, the values are wrong
        assert not messages
        meant, _ = load(path.with_name(path.name.replace(".before.", ".after.")))
        assert not torch.equal(number(function, leaves(inputs[0])), number(meant, leaves(inputs[0])))
        return
    if not codemod.symptom:  # nothing raises, the gradient is wrong
        assert not messages
        found, expected = gradients(function, inputs[0]), differences(function, inputs[0])
        assert any(not torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
        return
    assert messages
    assert all(re.search(codemod.symptom, message) for message in messages)


@pytest.mark.parametrize(("codemod", "path"), fixtures("after"))
def test_after_has_the_gradient_that_was_meant(codemod: Codemod, path: Path) -> None:
    function, inputs = load(path)
    original, _ = load(path.with_name(path.name.replace(".after.", ".before.")))
    if codemod.name == "out-argument" or path.name.startswith(
        "first_values_"
    ):  # only without gradients does the original run
        original = torch.no_grad()(original)
    if codemod.name in (
        "non-scalar-backward",
        "non-leaf-grad",
        "swapped-elements",
        "expanded-write",
    ) or path.name.startswith("steps_"):  # the original has no forward to compare with
        original = function
    for arguments in inputs:
        found, expected = gradients(function, arguments), differences(original, arguments)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(("codemod", "path"), fixtures("keep"))
def test_keep_runs_as_it_stands(codemod: Codemod, path: Path) -> None:
    function, inputs = load(path)
    for arguments in inputs:
        given = leaves(arguments)
        result = function(*given)
        if isinstance(result, torch.Tensor) and result.requires_grad:
            result.sum().backward()
