"""Buffer that a loop fills while it reads the slots filled before.

## What it does
Finds loops that write a tensor slot by slot and read slots of it: `h[t] = f(h[t - 1])`, `D[i, j] = … D[i - 1, j] …`,
cumulative sums and products. The slots become a list of tensors while the loop runs, a list of lists for a table, and
are stacked after it.

## Why does backward fail?
Every write bumps the version counter of the whole buffer. The operation that saved the slot before shares that counter:
in backward it finds that "its" tensor has been modified, although nobody touched that slot.

## Example
```python
import torch


def f(x):
    h = torch.zeros(3)
    h[0] = x[0]
    for t in range(1, 3):
        h[t] = h[t - 1] * x[t]
    return h
```
Use instead:
```python
import torch


def f(x):
    h = torch.zeros(3)
    h[0] = x[0]
    h = list(h)
    for t in range(1, 3):
        h[t] = (h[t - 1] * x[t]).to(h[t]).reshape(())
    return torch.stack(h)
```
A buffer that only the loop uses, or what writes to its slots before it, is a list from the beginning:
`h = list(torch.zeros(3))`. In functions with type hints, where the loop asks for the shape of the buffer, and where it
may have no slots, the list has a name of its own (`h_list`).

`h[t] = v` casts `v` to the dtype of `h`, moves it to its device and broadcasts it; the list takes `v` as it is. So `v`
is made to fit unless it is proven to: `.to(h[t])` where the dtype or the device isn't known, `.reshape(())` for a
single element, `.reshape_as(h[t])` for what is computed element by element with a slot, `.expand_as(h[t])` for a value
of no more dimensions than one. Where that isn't known (behind `n, d = x.shape` it is), the buffer stays and backward
gets copies of the slots it needs: `h[t] = torch.tanh(x[t] + h[t - 1].clone() @ w)`. If that is no cure, the value is
written into memory of its own: `h_slot = torch.empty_like(h[t])`, `h_slot[...] = v`. The alternative fix takes each
value as it is.

## Leaves alone
```python
import torch


def f(x):
    h = torch.zeros(3)
    h[0] = x[0]
    for t in range(1, 3):
        h[t] = h[t - 1] + x[t]  # addition saves nothing
    return h
```
```python
import torch


def f(x):
    h = [x[0]]
    for t in range(1, 3):
        h.append(h[t - 1] * x[t])
    return torch.stack(h)
```

## Fix safety
Values, dtype, shape and gradients stay the same; the result lies in new, contiguous memory. Where the slots aren't
named by ints along the same dimensions, or somebody else may hold the buffer, each write is left to the codemod of its
spelling (index-assignment, augmented-assignment): right as well, but mostly a copy of all slots in every round.

## References
- <https://pytorch.org/docs/stable/notes/autograd.html#in-place-correctness-checks>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding
from gradfix.source import Source

from ._buffers import buffer_findings
from ._writes import SYMPTOM


@codemod(
    "GF203",
    "recurrent-buffer",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=("for ", "for(", "while ", "while("),
)
def recurrent_buffer(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return buffer_findings("GF203", "recurrent-buffer", source, facts, recurrent=True)
