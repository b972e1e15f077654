"""The table of torch's operators against the installed torch: calls are made, written to, and run backward.

The writes are real (under no_grad) and the code is not that of the script that made the table.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from operator_calls import ENVIRONMENT, lines, row

from gradfix import torch_ops, torch_tables

torch = pytest.importorskip("torch")

INSTALLED = ".".join(torch.__version__.split(".")[:2])
pytestmark = pytest.mark.skipif(INSTALLED not in torch_tables.MINORS, reason=f"there is no table of torch {INSTALLED}")

LINES = list(lines())
IDS = [f"{name}({call})" for name, call, _ in LINES]
CONFLICT = "modified by an inplace operation"


@pytest.fixture(autouse=True)
def _table() -> Iterator[None]:
    with torch_tables.of_torch(INSTALLED):
        yield


def environment() -> dict[str, Any]:
    """Fresh tensors, the same every time."""
    torch.default_generator.manual_seed(1)
    names: dict[str, Any] = {"torch": torch, "rand": lambda *shape: torch.rand(*shape, dtype=torch.float64)}
    exec(ENVIRONMENT, names)
    return names


def function(name: str) -> Callable[..., Any]:
    target: Any = torch
    for part in name.split("."):
        target = getattr(target, part)
    found: Callable[..., Any] = target
    return found


def arguments(call: str, tracked: Sequence[int] | None) -> tuple[list[Any], list[list[Any]]]:
    """The arguments, and the tensors of each tensor argument (of a list: its elements). None of them is a leaf.

    `tracked` are indices of tensor arguments, None stands for all.
    """
    made: list[Any] = []
    groups: list[list[Any]] = []
    for value in eval(f"({call},)", environment()):
        if isinstance(value, torch.Tensor | list):
            items = value if isinstance(value, list) else [value]
            groups.append([prepared(item, tracked is None or len(groups) in tracked) for item in items])
            made.append(groups[-1] if isinstance(value, list) else groups[-1][0])
        else:
            made.append(value)
    return made, groups


def prepared(tensor: Any, tracked: bool) -> Any:
    leaf = tensor.detach().clone(memory_format=torch.contiguous_format)
    return leaf.requires_grad_().clone() if tracked and leaf.is_floating_point() else leaf


def breaks(run: Callable[..., Any], call: str, tracked: Sequence[int] | None, target: int | None) -> bool:
    """Write to tensor argument `target` (None: the first output) after the call, then run backward."""
    made, groups = arguments(call, tracked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run(*made)
    outputs = list(result) if isinstance(result, tuple | list) else [result]
    with torch.no_grad():
        for tensor in [outputs[0]] if target is None else groups[target]:
            tensor.logical_not_() if tensor.dtype is torch.bool else tensor.add_(0)
    error = backward_error([output for output in outputs if output.requires_grad])
    assert not error or CONFLICT in error
    return bool(error)


def backward_error(outputs: Sequence[Any]) -> str:
    if not outputs:
        return ""
    try:
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
    except RuntimeError as error:
        return str(error)
    return ""


def measured(run: Callable[..., Any], call: str, tracked: Sequence[int] | None) -> str:
    count = len(arguments(call, tracked)[1])
    letters = ["S" if breaks(run, call, tracked, target) else "-" for target in range(count)]
    return "".join(letters) + ("R" if breaks(run, call, tracked, None) else "-")


def agrees(said: str, seen: str) -> bool:
    """A definite answer is the truth; ? stands for either."""
    return len(said) == len(seen) and all(one in ("?", other) for one, other in zip(said, seen, strict=True))


@pytest.mark.parametrize(("name", "call", "code"), LINES, ids=IDS)
def test_the_list_is_true(name: str, call: str, code: str) -> None:
    assert measured(function(name), call, None) == code


@pytest.mark.parametrize(("name", "call", "code"), LINES, ids=IDS)
def test_the_table_is_true_for_each_argument_tracked_alone(name: str, call: str, code: str) -> None:
    operator = torch_ops.function(f"torch.{name}")
    assert operator is not None
    found = row(operator, call)
    for at, group in enumerate(arguments(call, ())[1]):
        if group[0].is_floating_point():
            said = found.code({found.parameters[at]})
            assert agrees(said, measured(function(name), call, [at])), (found.parameters[at], said)


MODULES = {
    "ReLU()": "z",
    "Sigmoid()": "z",
    "GELU()": "z",
    "SiLU()": "z",
    "Softmax(dim=-1)": "z",
    "LeakyReLU()": "z",
    "Tanhshrink()": "z",
    "Identity()": "z",
    "LayerNorm(4)": "x",
    "BatchNorm2d(3)": "img",
    "GroupNorm(3, 3)": "img",
    "Conv2d(3, 2, 3)": "img",
    "Linear(4, 5)": "x",
    "Linear(4, 5, bias=False)": "x",
    "PReLU()": "z",
    "MaxPool2d(2)": "img",
    "MSELoss()": "x, y",
    "Embedding(5, 3)": "i",
}


@pytest.mark.parametrize("text", MODULES)
def test_modules(text: str) -> None:
    """With their own parameters tracked, as they are."""
    layer = eval(f"torch.nn.{text}", {"torch": torch}).double()
    found = torch_ops.module(text.partition("(")[0])
    assert found is not None
    assert found.call is not None
    call = found.call.given(dict.fromkeys(found.call.parameters, "none") | {"training": "true"})
    weights = {"weights"} if list(layer.parameters()) else set()
    assert found.learns in ("maybe", "yes" if weights else "no")
    for tracked in [(), None]:
        count = len(arguments(MODULES[text], ())[1])
        names = weights | set(call.parameters[:count] if tracked is None else ())
        answers = [call.saved(parameter) for parameter in call.parameters[:count]]
        said = "".join("S" if save and save.condition.holds(names) else "-" for save in answers)
        said += "R" if call.outputs[0].condition.holds(names) else "-"
        assert measured(layer, MODULES[text], tracked) == said, tracked


UNARY = """
abs acos asin atan ceil cos cosh deg2rad digamma erf erfc exp exp2 expm1 fix floor frac lgamma log log10 log1p log2
logit nan_to_num neg rad2deg reciprocal relu round rsqrt sgn sigmoid sign sin sinc sinh sqrt square tan tanh trunc
"""


@pytest.mark.parametrize("name", UNARY.split())
def test_twins_give_the_same_values_and_gradients(name: str) -> None:
    twin = torch_ops.inplace(f"{name}_")
    assert twin is not None
    assert twin.twin is not None
    results = []
    for method in (f"{name}_", twin.twin):
        leaf = environment()["u"].requires_grad_()
        result = getattr(leaf.clone(), method)()
        result.sum().backward()
        results.append((result.detach(), leaf.grad))
    (written, gradient), (made, other) = results
    assert torch.equal(written, made)
    assert torch.equal(gradient, other)


MEASURED = ["+ tensor tensor", "** tensor number", "/= tensor tensor", "@ tensor tensor", "[]= mask", "[] slice", "abs"]


def test_the_script_measures_what_the_table_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "scripts"))
    script = importlib.import_module("make_torch_ops")
    measured = dict(script.symbol_rows(MEASURED))
    assert sorted(measured) == sorted(MEASURED)
    assert measured == {name: torch_tables.row(INSTALLED, name) for name in MEASURED}
