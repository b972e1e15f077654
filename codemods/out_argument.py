"""Result put into an existing tensor with `out=` where gradients are needed.

## What it does
Finds `torch.mul(a, b, out=y)` where an operand or `y` certainly requires grad, and assigns the result instead. What
merely may require grad isn't found: such code would have raised the first time that it does. Where torch lets the call
pass (gradients are off, or nothing it takes needs them), it finds what overwrites a value that backward needs.

## Why does backward fail?
Functions with `out=` have no derivative. With gradients on, torch raises as soon as something that requires grad comes
in or would be overwritten.

## Example
```python
import torch

x = torch.ones(3, requires_grad=True)
y = torch.empty(3)
torch.mul(x, 0.5, out=y)
(x * y).sum().backward()
```
Use instead:
```python
import torch

x = torch.ones(3, requires_grad=True)
y = torch.mul(x, 0.5)
(x * y).sum().backward()
```
`out=` keeps the dtype of `y`; the result is cast to it unless it is known to have it. A tensor that is made only to be
written there isn't made any more, if its dtype is known or another's: that of `y = torch.empty_like(x)` is `x.dtype`.

## Leaves alone
```python
import torch


def f(x):
    scale = torch.empty(3)
    torch.mul(torch.ones(3), 2, out=scale)  # nothing here requires grad
    return x * scale
```
```python
import torch


def f(x):
    scale = torch.empty(3)
    with torch.no_grad():
        torch.abs(x, out=scale)
    return x + scale
```

## Fix safety
The program raised before; the values are those that `out=` would have put there. Unsafe where somebody else may hold
the tensor and expects to see them, refused where another name of the same memory is read afterwards.

## References
- <https://pytorch.org/docs/stable/generated/torch.mul.html>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.facts import ModuleFacts, Write, WriteForm
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding
from gradfix.source import Source

from ._writes import findings_of


@codemod(
    "GF105",
    "out-argument",
    since="0.2",
    applicability=Applicability.SAFE,
    symptom="functions with out=... arguments don't support automatic differentiation|modified by an inplace operation",
    needles=("out",),
)
def out_argument(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return findings_of(
        "GF105",
        "out-argument",
        source,
        facts,
        _breaks,
        lambda write: rewrite.assign_result(source, write, facts.spelling),
    )


def _breaks(write: Write) -> bool:
    """Whether torch refuses the write, or lets it overwrite what was saved: gradients are off, or not needed here."""
    return write.form is WriteForm.OUT and bool(write.hazards)
