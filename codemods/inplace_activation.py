"""Activation or dropout with `inplace=True` on a tensor that backward needs as it was.

## What it does
Finds `F.relu(h, inplace=True)`, and calls of modules made with `inplace=True`, where an operation saved the values of
the argument for backward. The flag of a function is dropped; a module gets a clone to work on.

## Why does backward fail?
With the flag the function overwrites its argument. The operation that saved it finds in backward that its version
counter has changed, and raises.

## Example
```python
import torch.nn.functional as F


def f(x):
    h = x.sigmoid()
    h = F.relu(h, inplace=True)
    return h
```
Use instead:
```python
import torch.nn.functional as F


def f(x):
    h = x.sigmoid()
    h = F.relu(h)
    return h
```

## Leaves alone
```python
import torch.nn.functional as F


def f(x):
    h = x + 1
    h = F.relu(h, inplace=True)  # addition saves nothing
    return h
```

## Fix safety
Values, dtype, random numbers and gradients stay the same. When the argument keeps its name and is read again, it is
given the result, as it was before. Where somebody else may hold the tensor, the call stays, and backward gets a copy of
what it needs.

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


@codemod(
    "GF104",
    "inplace-activation",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=("inplace", "True"),
)
def inplace_activation(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return write_findings("GF104", "inplace-activation", source, facts, frozenset({WriteForm.FLAG}))
