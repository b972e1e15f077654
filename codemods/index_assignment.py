"""Assignment to a part of a tensor that backward needs as it was.

## What it does
Finds `y[i] = v` where an operation saved the values of `y` for backward, or where `y` is a leaf, a view of one, or one
of several views of a tensor; and makes it an assignment of a new tensor to `y`. So is a write, in a function that
`torch.vmap` maps, of what differs between the examples to what is one for all of them, which raises at once.

## Why does backward fail?
The write bumps the version counter of `y`. In backward, the operation that saved `y` compares the counter with the one
it remembers and raises. Leaves that require grad refuse the write at once.

## Example
```python
import torch


def f(x):
    y = x.flatten().exp()
    y[0] = 10
    return y
```
Use instead:
```python
import torch


def f(x):
    y = x.flatten().exp()
    y = y.index_put((torch.tensor(0),), y.new_tensor(10))
    return y
```
The new tensor is made in one step: by `index_put` for elements, `torch.where` for masks, `torch.select_scatter` and
`torch.slice_scatter` for rows, columns and slices. These also work under `torch.func.vmap`. Where the number of
dimensions isn't known, or with `--form clone`, `y = y.clone()` stands before the write instead; a value that may keep
something of `y` for backward is computed before the clone is made. Of `y[:] = v` nothing old is left: `y = v`, or
`y = torch.empty_like(y).copy_(v)` where `v` may have another shape or dtype, or memory that somebody else writes;
of a number `y = torch.fill(y, 0)`, or `y = torch.zeros_like(y)` where `y` has no graph.

## Leaves alone
```python
def f(x):
    y = x + 2
    y[0] = 10  # adding a number saves nothing
    return y
```
```python
import torch


def f(x):
    out = torch.zeros(3)
    out[0] = x[0]  # a buffer that is only filled
    out[1] = x[1] * x[2]
    return out
```

## Fix safety
Values, dtype and gradients stay the same. Where somebody else may hold the tensor and expects to see the write (another
name, a caller, a list), the write stays, and backward gets a copy of what it needs: `a = y.clone().sin()`.
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


@codemod(
    "GF101",
    "index-assignment",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=("]",),
)
def index_assignment(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return write_findings("GF101", "index-assignment", source, facts, frozenset({WriteForm.INDEX}))
