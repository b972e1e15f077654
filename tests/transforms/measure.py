"""Runs the rewritten functions of `forms` under `torch.func.vmap`, `torch.func.grad` and `torch.compile`.

`python -m tests.transforms.measure` runs all of them, and fails where one does otherwise than the table of
`docs/transforms.md` says; with `--write`, the table is written anew.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from gradfix import edits, registry
from gradfix.engine import engine
from gradfix.findings import Applicability
from gradfix.source import Source

from .forms import FORMS, Form

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "transforms.md"
START, END = "<!-- table -->\n", "<!-- end of table -->\n"
Function = Callable[[torch.Tensor], torch.Tensor]


def rewritten(form: Form) -> str:
    """The program of a form after gradfix."""
    source = Source.from_text("form.py", form.program())
    result = engine.fix(source, registry.builtin(), engine.Policy(applicability=Applicability.UNSAFE))
    return edits.apply(source.text, result.edits)


def function_of(text: str) -> Function:
    """The function that a program defines; its own backward runs."""
    space: dict[str, Function] = {}
    exec(compile(text, "form.py", "exec"), space)
    return space["f"]


def under_vmap(function: Function, form: Form) -> None:
    """A batch of inputs gives what each gives alone."""
    batch = torch.rand(5, *form.size)
    expected = torch.stack([function(one) for one in batch])
    torch.testing.assert_close(torch.func.vmap(function)(batch), expected, rtol=0, atol=1e-6)


def under_grad(function: Function, form: Form) -> None:
    """The gradient is that of backward."""
    one = torch.rand(form.size)
    found = torch.func.grad(lambda x: function(x).square().sum())(one)
    torch.testing.assert_close(found, _gradient(function, one)[1], rtol=0, atol=0)


def under_compile(function: Function, form: Form) -> None:
    """Compiled as one graph, values and gradient stay the same."""
    torch._dynamo.reset()
    one = torch.rand(form.size)
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    for found, expected in zip(_gradient(compiled, one), _gradient(function, one), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def _gradient(function: Function, one: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = one.clone().requires_grad_()
    result = function(leaf)
    result.square().sum().backward()
    assert leaf.grad is not None
    return result.detach(), leaf.grad


TRANSFORMS: dict[str, Callable[[Function, Form], None]] = {
    "vmap": under_vmap,
    "grad": under_grad,
    "compile": under_compile,
}


def failure(transform: str, function: Function, form: Form) -> str | None:
    """The first line of what a transform raises; None where it gives what the plain function does."""
    torch.manual_seed(0)
    try:
        TRANSFORMS[transform](function, form)
    except Exception as error:
        return str(error).strip().splitlines()[0]
    return None


def table(forms: Iterable[Form]) -> str:
    """The table of the document, and the reasons under it."""
    reasons: dict[str, int] = {}
    rows = ["| form | codemods | example | vmap | grad | compile |", "|---|---|---|---|---|---|"]
    for form in forms:
        marks = []
        for transform in TRANSFORMS:
            why = form.why_not(transform)
            number = reasons.setdefault(why, len(reasons) + 1) if why else 0
            marks.append(f"no ({number})" if why else "yes")
        rows.append(f"| {form.name} | {form.codes} | `{form.line}` | {' | '.join(marks)} |")
    notes = [f"{number}. {why[0].upper()}{why[1:]}." for why, number in reasons.items()]
    return "\n".join([*rows, "", *notes]) + "\n"


def documented() -> str:
    """The table that the document has."""
    return DOCUMENT.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]


def main() -> int:
    """Run every form under every transform."""
    warnings.simplefilter("ignore")
    wrong = 0
    for form in FORMS:
        function = function_of(rewritten(form))
        for transform in TRANSFORMS:
            found, expected = failure(transform, function, form), form.why_not(transform)
            if bool(found) != bool(expected):
                wrong += 1
                print(f"{form.name}, {transform}: {found or 'works'}, where the table says {expected or 'yes'}")
    if "--write" in sys.argv[1:]:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(text.replace(START + documented() + END, START + table(FORMS) + END), encoding="utf-8")
    print(f"{len(FORMS)} forms under {len(TRANSFORMS)} transforms, {wrong} not as documented")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
