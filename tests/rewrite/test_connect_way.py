"""A constant that is connected stays what it was: value, dtype and shape, whatever the operand holds."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable

import pytest
import torch

from gradfix import edits, registry
from gradfix.engine import engine
from gradfix.source import Source

CONSTANTS = (
    "torch.tensor(0.0)",
    "torch.zeros(())",
    "torch.zeros(1)",
    "torch.zeros((), dtype=torch.float64)",
    "torch.ones(2, 3)",
    "pred.new_zeros(())",
    "pred.new_tensor(2.5)",
    "torch.zeros_like(pred)",
    "torch.zeros((), dtype=pred.dtype, device=pred.device)",
)
MINUS_ZEROS = ("torch.tensor(-0.0)", "torch.zeros(3).mul(-1.0)")  # to which no zero may be added
FORMS = {
    "return": """
        def f(pred, keep):
            if keep.sum() == 0:
                return CONSTANT
            return pred.sum() * 2
    """,
    "one line": """
        def f(pred, keep):
            if not keep.any(): return CONSTANT
            return pred.sum() * 2
    """,
    "tuple": """
        def g(pred, keep):
            if keep.sum() == 0:
                return 0, CONSTANT
            return 1, pred.sum() * 2

        def f(pred, keep):
            return g(pred, keep)[1]
    """,
    "expression": """
        def f(pred, keep):
            return pred.sum() * 2 if keep.any() else CONSTANT
    """,
    "arms": """
        def f(pred, keep):
            if keep.any():
                loss = pred.sum() * 2
            else:
                loss = CONSTANT
            return loss
    """,
}
DIFFERENTIATED = """

def run(pred: torch.Tensor, keep: torch.Tensor):
    loss = f(pred * 1.0, keep)
    loss.sum().backward()
"""
OPERANDS = [
    torch.tensor(values, dtype=dtype)
    for values, dtype in itertools.product(
        (1.5, [1.0, -2.0], [[math.inf, 1.0], [math.nan, 0.0]]), (torch.float16, torch.float32, torch.float64)
    )
]
CODEMODS = [codemod for codemod in registry.builtin() if codemod.code == "GF205"]
Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def function(text: str) -> Function:
    names: dict[str, Function] = {}
    exec(text, names)
    return names["f"]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("constant", [*CONSTANTS, *MINUS_ZEROS])
def test_it_stays_what_it_was_and_has_a_graph(constant: str, form: str) -> None:
    text = "import torch\n" + textwrap.dedent(form).replace("CONSTANT", constant) + DIFFERENTIATED
    source = Source.from_text("f.py", text)
    (result,) = engine.results(source, engine.check_source(source, CODEMODS), engine.Policy())
    if result.fix is None:
        assert constant in MINUS_ZEROS, result.refusal
        assert form in (FORMS["tuple"], FORMS["expression"])  # it would be computed before something else
        return
    made = edits.apply(text, result.fix.edits)
    again = Source.from_text("f.py", made)
    assert not engine.check_source(again, CODEMODS)
    before, after = function(text), function(made)
    for pred, keep in itertools.product(OPERANDS, (torch.tensor([False]), torch.tensor([True]))):
        leaves = [pred.clone().requires_grad_() for _ in range(2)]
        old, new = (f(leaf, keep) for f, leaf in zip((before, after), leaves, strict=True))
        assert (old.dtype, old.shape) == (new.dtype, new.shape)
        assert torch.equal(old.nan_to_num(), new.nan_to_num())
        assert torch.equal(old.signbit(), new.signbit())
        new.sum().backward()
        if keep.any():
            old.sum().backward()
        expected = leaves[0].grad if keep.any() else torch.zeros_like(pred)
        assert torch.equal(leaves[1].grad, expected)
