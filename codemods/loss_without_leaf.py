"""Loss computed from nothing that requires grad.

## What it does
Finds backward calls on tensors that no leaf that requires grad goes into, and says so. It edits nothing: which tensors
are to be differentiated is yours to say.

## Why does backward fail?
Autograd records operations on tensors that require grad: parameters, and tensors made with `requires_grad=True`. Where
none of them goes into the loss, no graph is recorded, and backward has nothing to go back through.

## Example
```python
import torch


def f(x):
    weights = torch.ones(3)
    loss = (weights * 2).sum()
    loss.backward()
```

## Leaves alone
```python
def f(x):
    loss = (x * 2).sum()  # whether `x` requires grad is for the caller to say
    loss.backward()
```
```python
import torch


def f(x):
    loss = (torch.ones(3) * x).sum()
    loss.backward()
```

## Fix safety
There is no fix, only advice.

## References
- <https://pytorch.org/docs/stable/notes/autograd.html#setting-requires-grad>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding
from gradfix.source import Source

from ._cuts import SYMPTOM, cut_findings


@codemod(
    "GF305",
    "loss-without-leaf",
    since="0.1",
    applicability=Applicability.DISPLAYONLY,
    symptom=SYMPTOM,
    needles=("backward", "grad"),
)
def loss_without_leaf(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return cut_findings("GF305", "loss-without-leaf", source, facts, frozenset({CutKind.NO_LEAF}))
