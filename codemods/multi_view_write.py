"""Write to one of several views that were made at once.

## What it does
Finds writes in place to the parts that `unbind`, `split` and `chunk` return, and to the rows that a loop over a tensor
or unpacking it gives; and makes the parts one by one.

## Why does backward fail?
Autograd follows a write through a view back to its base only if the view was made alone. Those of `unbind`, `split` and
`chunk` are made together, and iterating over a tensor is `unbind`: a write to them raises at once.

## Example
```python
def f(x):
    y = x.neg()
    for row in y:
        row += 1
    return y
```
Use instead:
```python
def f(x):
    y = x.neg()
    for row in [y[i] for i in range(len(y))]:
        row += 1
    return y
```
`y.chunk(2)` becomes `y.tensor_split(2)`, whose parts are slices. Where nobody reads the base afterwards, the part is
given a new tensor instead: `row = row + 1`.

## Leaves alone
```python
def f(x):
    y = x.neg()
    left, right = y.tensor_split(2)
    left += 1  # a slice
    return y
```
```python
def f(x):
    total = 0
    for value in x:
        total = total + value * 2
    return total
```

## Fix safety
Values stay the same bit for bit, and so does who shares memory with whom; what is returned may be a list in place of a
tuple. For more than two chunks the fix asks: `tensor_split` cuts sizes that can't be divided in another way.

## References
- <https://pytorch.org/docs/stable/generated/torch.Tensor.unbind.html>
- <https://pytorch.org/docs/stable/generated/torch.tensor_split.html>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding
from gradfix.source import Source

from ._writes import MULTI_VIEW, view_findings


@codemod(
    "GF502",
    MULTI_VIEW,
    since="0.2",
    applicability=Applicability.SAFE,
    symptom="returns multiple views|its base or another view of its base has been modified",
    needles=("for ", "chunk", "split", "unbind", ","),
)
def multi_view_write(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return view_findings("GF502", MULTI_VIEW, source, facts)
