"""Write through a view of a tensor that backward needs as it was.

## What it does
Finds writes to `row` after `row = y[0]`, to `y.diagonal()`, `y.t()[0]`, `y.view(-1)` and their like, where an operation
saved the values of `y`, and `y` or another view of it is read afterwards. The write is replayed: the view gets a new
value, which is put back into its base, and other views that are read later are taken again.

## Why does backward fail?
A view has the memory of its base, and its version counter. A write through the one overwrites the other, and the
operation that saved it finds in backward that the counter has changed.

## Example
```python
def f(x):
    y = x.exp()
    row = y[:1]
    row += 1
    return y
```
Use instead:
```python
import torch


def f(x):
    y = x.exp()
    row = y[:1]
    y = torch.slice_scatter(y, row + 1, end=1)
    return y
```
`row = row + 1` alone would not do: `y` would miss the write. A row goes back by `torch.select_scatter`, a diagonal by
`torch.diagonal_scatter`, what `t()`, `permute` and `view` show by turning it back. Where that takes more than one
operation, `y` is cloned before its views are taken. Where somebody else holds `y` (another name, a list, a caller), and
where the write is one of several, backward is given a copy of what it needs: `y = x.exp().clone()`.

## Leaves alone
```python
def f(x):
    y = x * 2  # saves nothing
    row = y[:1]
    row += 1
    return y
```
```python
def f(x):
    y = x.exp()
    row = y[:1].clone()  # has memory of its own
    row += 1
    return y * row
```

## Fix safety
Values, dtype and gradients stay the same, and every view that is read later sees the write: one that was spelled with
names that have changed since can't be taken again, and is left as it is. Where only the view is read afterwards, it
alone is given a new tensor.

## References
- <https://pytorch.org/docs/stable/tensor_view.html>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding
from gradfix.source import Source

from ._writes import SYMPTOM, VIEW, view_findings


@codemod(
    "GF501",
    VIEW,
    since="0.2",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=("]", "_(", "=", "inplace"),
)
def view_write(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return view_findings("GF501", VIEW, source, facts)
