"""Assignment under a mask of a value computed from what stands under the same mask.

## What it does
Finds `y[mask] = f(y[mask], z[mask])`, `y[mask] *= s`, and pairs of writes under a mask and its inverse (`y[m] = …`,
`y[~m] = …`), where an operation saved `y` for backward; computes the value everywhere, and selects it with
`torch.where`. Plain numbers under a mask, `y[mask] = 0`, are left to index-assignment (GF101), which does the same.

## Why does backward fail?
The write overwrites all of `y` as far as autograd is concerned: its version counter is bumped, and the operation that
saved `y` raises in backward.

## Example
```python
def f(x):
    y = x.exp()
    y[y > 1] = y[y > 1].log() + 1
    return y
```
Use instead:
```python
import torch


def f(x):
    y = x.exp()
    y = torch.where(y > 1, torch.where(y > 1, y, 1).log() + 1, y)
    return y
```
The inner `torch.where` keeps gradients finite: what isn't selected has a gradient of zero, and zero times the slope of
`log` at 0 would be NaN. It puts in a number at which everything is finite; sums and multiples by numbers don't need it.

## Leaves alone
```python
def f(x):
    y = x + 1
    y[y > 1] *= 2  # nobody saved `y`
    return y
```
```python
import torch


def f(x):
    y = x.exp()
    return torch.where(y > 1, y.log() + 1, y)
```

## Fix safety
Values, dtype, shape and gradients stay the same; `sigmoid` and `pow` may differ in the last bit, since torch computes
long tensors otherwise than short ones. Offered where mask and tensors are proven to have the shape of `y`; elsewhere
index-assignment and augmented-assignment keep the mask as an index. `x <= 0` isn't taken for the inverse of `x > 0`:
neither holds for NaN.

## References
- <https://pytorch.org/docs/stable/generated/torch.where.html>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.facts import Masking, ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding, Refusal, Rewrite
from gradfix.identity import identity
from gradfix.source import Source

from ._writes import SYMPTOM, message


@codemod(
    "GF204",
    "masked-assignment",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=("]",),
)
def masked_assignment(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    for masking in facts.maskings:
        made = rewrite.select_masked(source, masking, facts.spelling)
        if isinstance(made, Refusal):
            continue
        writes = [masking.first.write] + ([masking.inverse.write] if masking.inverse else [])
        worst = max(writes, key=lambda write: write.severity.rank)
        yield Finding(
            code="GF204",
            name="masked-assignment",
            severity=worst.severity,
            message=message(source, worst),
            span=source.span_of(worst.node),
            identity=identity("GF204", worst.function, worst.statement, worst.identity_ordinal),
            hazard=worst.hazards[0] if worst.hazards else None,
            rewrites=(made, *_alternatives(source, masking, facts)),
            leads=tuple(source.span_of(write.node) for write in writes),
        )


def _alternatives(source: Source, masking: Masking, facts: ModuleFacts) -> tuple[Rewrite, ...]:
    """What the codemod of the write alone would offer."""
    if masking.inverse is not None:
        return ()
    made = rewrite.out_of_place(source, masking.first.write, facts.spelling)
    return () if isinstance(made, Refusal) else made
