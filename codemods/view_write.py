"""Write through a view of a tensor that backward needs as it was.

## What it does
Finds writes to `row` after `row = y[0]`, to `y.diagonal()`, `y.t()[0]`, `y.view(-1)` and their like, where an operation
saved the values of `y`, and `y` or another view of it is read afterwards. Backward is given a copy of what it needs.

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
def f(x):
    y = x.exp().clone()
    row = y[:1]
    row += 1
    return y
```
`row = row + 1` would not do: `y` would miss the write.

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
Values, dtype and gradients stay the same, and every view still sees the write. Where only the view is read afterwards,
or the view is spelled on the spot, its base is cloned, or given a new tensor.

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
