"""Write to an expanded tensor, several elements of which share one memory cell.

## What it does
Finds writes in place to what `expand` returns, where the sizes prove that elements are repeated; and clones the tensor
where it is expanded.

## Why does backward fail?
The write raises in the forward pass: after `expand`, one memory cell stands for several elements, and torch refuses to
write several values to it. Filling it and writing single elements isn't refused, but changes all that share the cell.

## Example
```python
import torch


def f(x):
    y = x[:1].expand(3)
    z = torch.zeros(1).expand(3)
    z += x
    return z * y
```
Use instead:
```python
import torch


def f(x):
    y = x[:1].expand(3)
    z = torch.zeros(1).expand(3).clone()
    z += x
    return z * y
```

## Leaves alone
```python
import torch


def f(x):
    z = torch.zeros(1).repeat(3)  # memory of its own
    z += x
    return z
```
```python
import torch


def f(x):
    z = torch.zeros(1).expand(3)
    z = z + x
    return z
```

## Fix safety
Safe where torch raises. Unsafe where the write runs today: it reaches every element that shares the cell, and with the
fix only the one that is named.

## References
- <https://pytorch.org/docs/stable/generated/torch.Tensor.expand.html>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding
from gradfix.source import Source

from ._writes import EXPANDED, family_of, findings_of


@codemod(
    "GF503",
    EXPANDED,
    since="0.2",
    applicability=Applicability.SAFE,
    symptom="refers to a single memory location",
    needles=("expand", "broadcast_to"),
)
def expanded_write(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return findings_of(
        "GF503",
        EXPANDED,
        source,
        facts,
        lambda write: family_of(write) == EXPANDED,
        lambda write: rewrite.own_memory(source, write),
    )
