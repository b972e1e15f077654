"""Augmented assignment to a tensor that backward needs as it was.

## What it does
Finds `x += v` (and `-=`, `*=`, `/=`, …) on names, attributes and parts of tensors (`x[0] += v`), where an operation
saved the values of `x` for backward, or where `x` is a leaf or one of several views; and writes it as an assignment.

## Why does backward fail?
On a tensor, `x += v` doesn't make a new tensor as it does with numbers: it overwrites the memory of `x`. The operation
that saved `x` finds in backward that its version counter has changed, and raises.

## Example
```python
def f(x):
    h = x.sigmoid()
    h += 1
    return h
```
Use instead:
```python
def f(x):
    h = x.sigmoid()
    h = h + 1
    return h
```
The operator is kept, and the operand gets the parentheses it needs: `a /= b + c` becomes `a = a / (b + c)`.
`x += v` keeps the dtype of `x`; where `v` may have a wider one, the result is cast: `x = (x + v).to(x.dtype)`.

## Leaves alone
```python
def f(x):
    h = x * 2
    h += 1  # multiplying by a number saves nothing
    return h
```
```python
def f(x):
    total = 0
    for value in x:
        total += value  # the first round makes a new tensor, addition saves nothing
    return total
```

## Fix safety
Values, dtype and gradients stay the same. Where somebody else may hold the tensor and expects to see the update
(another name, a caller, a list), the update stays, and backward gets a copy of what it needs: `a = h.clone().sin()`.
A function that writes to its argument comes to return it (`h = scale_(h)`), where all its callers are in the file.

## References
- <https://pytorch.org/docs/stable/notes/autograd.html#in-place-correctness-checks>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.facts import ModuleFacts, WriteForm
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding
from gradfix.source import Source

from ._writes import SYMPTOM, write_findings

_FORMS = frozenset({WriteForm.AUGMENTED, WriteForm.AUGMENTED_INDEX})


@codemod(
    "GF102",
    "augmented-assignment",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=("+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="),
)
def augmented_assignment(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return write_findings("GF102", "augmented-assignment", source, facts, _FORMS)
