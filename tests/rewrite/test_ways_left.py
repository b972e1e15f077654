"""What the ways without a graph become, and where they are left: the text after the fix says both."""

from __future__ import annotations

import pytest

from gradfix import edits, registry
from gradfix.engine import engine
from gradfix.findings import Applicability
from gradfix.source import Source

CODEMODS = [codemod for codemod in registry.builtin() if codemod.code == "GF205"]
MASKED = """\
def masked(v, mask):
    if mask.sum() == 0:
        return torch.zeros(2)
    return v[mask].sum()
"""
STEP = """\
def step(x: torch.Tensor, mask):
    masked(x.exp(), mask).sum().backward()
"""


def fixed(program: str) -> tuple[list[str], list[str]]:
    """The lines that the fix brings, and why findings are left."""
    source = Source.from_bytes("program.py", f"import torch\n{program}".encode())
    result = engine.fix(source, CODEMODS, engine.Policy(applicability=Applicability.SAFE))
    after = edits.apply(source.text, result.edits)
    compile(after, "program.py", "exec")
    brought = [line.strip() for line in after.splitlines() if line not in source.text.splitlines()]
    return brought, [left.refusal.reason for left in result.left if left.refusal is not None]


def returning(value: str, *, step: str = STEP, before: str = "pass", parameters: str = "") -> str:
    return (
        f"def masked(v, mask{parameters}):\n    {before}\n    if mask.sum() == 0:\n        return {value}\n"
        f"    return v[mask].sum()\n{step}"
    )


def test_the_sum_takes_dtype_and_device_of_what_it_is_added_to() -> None:
    assert fixed(returning("torch.zeros(2)"))[0] == [
        "zero = torch.zeros(2)",
        "return zero + v.flatten()[:0].sum().to(zero)",
    ]


@pytest.mark.parametrize("value", ["v.new_zeros(())", "torch.zeros_like(v)", "v.new_tensor(0.0)"])
def test_made_like_the_operand_it_needs_no_cast(value: str) -> None:
    assert fixed(returning(value))[0] == [f"return {value} + v.flatten()[:0].sum()"]


def test_made_on_another_device_it_needs_one() -> None:
    assert fixed(returning("v.new_zeros((), device='cpu')"))[0][0] == "zero = v.new_zeros((), device='cpu')"


@pytest.mark.parametrize(
    ("parameters", "before"),
    [
        (", w=None", "pass"),
        (", *, w=None", "pass"),
        (", w", "t = 0 if w is None else w.sum()"),
        (", w", "t = w.sum() if isinstance(w, torch.Tensor) else 0"),
        (", w", "t = w and w.sum()"),
    ],
)
def test_what_may_be_no_tensor_is_no_operand(parameters: str, before: str) -> None:
    program = (
        f"def masked(v, mask{parameters}):\n    {before}\n    if mask.sum() == 0:\n        return torch.tensor(0.0)\n"
        "    return v[mask].sum() + (0 if w is None else w.sum())\n"
        "def step(x: torch.Tensor, mask):\n    masked(x.exp(), mask, w=x.sin()).backward()\n"
    )
    assert not any("w." in line for line in fixed(program)[0])


@pytest.mark.parametrize(("parameter", "end"), [("w=None", "return"), ("w", "del w")])
def test_nor_is_it_one_where_the_function_around_has_it(parameter: str, end: str) -> None:
    program = (
        f"def make(mask, {parameter}):\n    def inner():\n        if mask.sum() == 0:\n"
        f"            return torch.tensor(0.0)\n        return w.sum()\n    inner().backward()\n    {end}\n"
        "def step(x: torch.Tensor, mask):\n    make(mask, x.sin())\n"
    )
    brought, reasons = fixed(program)
    assert brought == []
    assert len(reasons) == 1


@pytest.mark.parametrize(
    "before",
    [
        "for y in v.unbind(): pass\n    else:\n        if mask.any(): return torch.tensor(0.0)",
        "with suppress(ValueError): y = v.exp()",
    ],
)
def test_what_may_be_unbound_is_no_operand(before: str) -> None:
    program = (
        f"from contextlib import suppress\ndef masked(v, mask):\n    {before}\n"
        "    if mask.sum() == 0:\n        return torch.tensor(0.0)\n    return y.sum()\n" + STEP
    )
    assert not any("y." in line for line in fixed(program)[0])


@pytest.mark.parametrize(
    "line",
    [
        "ls = [y[m].sum() if m.any() else torch.zeros(m.shape) for m in masks]",
        "ls = [y[masks].sum() if masks.any() else torch.zeros(3 // count)]",
        "ls = [y[masks].sum() if masks.any() else torch.zeros(1, device=count.device)]",
    ],
)
def test_an_arm_is_not_computed_before_it_is_chosen(line: str) -> None:
    program = (
        f"def step(x: torch.Tensor, masks, count):\n    y = x.exp()\n    {line}\n    ls[0].backward()\n    return\n"
    )
    brought, reasons = fixed(program)
    assert brought == []
    assert len(reasons) == 1
    assert "would be computed before" in reasons[0]


def test_nothing_is_computed_before_what_stands_before_it() -> None:
    step = STEP.replace("masked(x.exp(), mask)", "masked(x.exp(), mask, [1])[1]")
    program = returning("(q.pop(), torch.zeros(len(q)))", step=step, parameters=", q")
    brought, reasons = fixed(program.replace("return v[mask].sum()", "return 0, v[mask].sum()"))
    assert brought == []
    assert "would be computed before" in reasons[0]


def test_no_fix_where_autograd_does_not_record() -> None:
    program = (
        "def masked(v, mask):\n    with torch.no_grad():\n        if mask.sum() == 0:\n"
        "            return torch.tensor(0.0)\n    return v[mask].sum()\n" + STEP
    )
    brought, reasons = fixed(program)
    assert brought == []
    assert reasons == ["grad mode is off where `torch.tensor(0.0)` is computed"]


def test_no_fix_for_another_layout() -> None:
    assert fixed(returning("torch.zeros(2, layout=torch.sparse_coo)"))[1] == ["a sum with another layout may raise"]


GUARDS = {
    "a handler": "try:\n        loss.backward()\n    except RuntimeError:\n        pass",
    "one of several": "try:\n        loss.backward()\n    except (ValueError, RuntimeError):\n        pass",
    "a context": "with pytest.raises(RuntimeError):\n        loss.backward()",
    "an assertion": "assert loss.requires_grad\n    loss.backward()",
    "an expression": "loss.backward() if loss.requires_grad else None",
    "an operand": "loss.requires_grad and loss.backward()",
}
OPEN = {
    "another handler": "try:\n        loss.backward()\n    except KeyboardInterrupt:\n        pass",
    "no handler": "try:\n        loss.backward()\n    finally:\n        pass",
    "a loop": "while True:\n        loss.backward()",
    "a choice in it": "(loss if mask is loss else loss * 2).backward()",
    "an assertion behind": "loss.backward()\n    assert loss.requires_grad",
}


def step_with(end: str) -> str:
    return MASKED + f"def step(x: torch.Tensor, mask):\n    loss = masked(x.exp(), mask).sum()\n    {end}\n"


@pytest.mark.parametrize("end", GUARDS.values(), ids=GUARDS.keys())
def test_what_keeps_a_run_from_backward(end: str) -> None:
    assert fixed(step_with(end)) == ([], [])


@pytest.mark.parametrize("end", OPEN.values(), ids=OPEN.keys())
def test_what_keeps_nothing_from_it(end: str) -> None:
    assert fixed(step_with(end))[0]


@pytest.mark.parametrize(("asked", "is_found"), [("mask.any()", False), ("x.any()", False), ("other", True)])
def test_a_caller_that_asks_what_it_hands_on(asked: str, is_found: bool) -> None:
    caller = f"def train(x: torch.Tensor, mask, other):\n    if not {asked}:\n        return\n    step(x, mask)\n"
    assert bool(fixed(MASKED + STEP + caller)[0]) is is_found
