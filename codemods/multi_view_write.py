"""Write to one of several views that were made at once.

## What it does
Finds writes in place to the parts that `unbind`, `split` and `chunk` return, and to the rows that a loop over a tensor
or unpacking it gives; writes them out of place, and makes the tensor of its parts again where it is read afterwards.
The same goes for what a module with a full backward hook is given, and gives, and for what a `torch.autograd.Function`
gives that is an argument of it, or a view of one.

## Why does backward fail?
Autograd follows a write through a view back to its base only if the view was made alone. Those of `unbind`, `split` and
`chunk` are made together, and iterating over a tensor is `unbind`: a write to them raises at once. A full backward hook
(`register_full_backward_hook`) puts such views between its module and what is around it. A write to what a Function
gives as a view would go past the Function's own `backward`.

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
    y = y + 1
    return y
```
Only arithmetic with a number is done at once. What else a loop does to each row is stacked,
`y = torch.stack([row * w for row in y])`, or collected in a list in the loop. `a += 1` after `a, b = y.chunk(2)`
becomes `a = a + 1` and `y = torch.cat([a, b])`. Views of `y` that are read later are taken again. Where `y` is read
meanwhile, the loop is left early, or somebody else holds `y`, the parts are taken one by one, as views that may be
written: `[y[i] for i in range(len(y))]`, `y.tensor_split(2)`. Where nobody reads `y` afterwards, the part alone is
given a new tensor: `row = row + 1`.

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
Values and dtype stay the same, bit for bit; the tensor made of parts lies in new, contiguous memory. One without rows
stays as it is (`if len(y) else y`): `torch.stack` refuses an empty list. Of parts taken one by one, what is returned
may be a list in place of a tuple, and for more than two chunks that fix asks: `tensor_split` cuts sizes that can't be
divided in another way.

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

from ._writes import MULTI_VIEW, parts_findings


@codemod(
    "GF502",
    MULTI_VIEW,
    since="0.2",
    applicability=Applicability.SAFE,
    symptom="returns multiple views|another view of its base has been modified|created inside a custom Function",
    needles=("for ", "chunk", "split", "unbind", "apply", ","),
)
def multi_view_write(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return parts_findings("GF502", MULTI_VIEW, source, facts)
