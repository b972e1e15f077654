"""Python number taken from a tensor on the way to a loss.

## What it does
Finds `t.item()`, `float(t)`, `t.tolist()` and `math.sqrt(t)` where the number goes into a loss; and computes with the
tensor instead.
A function of another file of the project that does so is named where it is called, with the line to change there.

## Why does backward fail?
A Python number has no graph. A loss made of numbers can't be differentiated, and a number that is added to a loss is a
constant: the tensor behind it gets no gradient.

## Example
```python
import torch


def f(x):
    total = torch.zeros(())
    for i in range(3):
        total += x.pow(i + 2).sum().item()
    total.backward()
```
Use instead:
```python
import torch


def f(x):
    total = torch.zeros(())
    for i in range(3):
        total += x.pow(i + 2).sum()
    total.backward()
```
An array of NumPy that such numbers are put into becomes a tensor of its dtype, where everything that uses it has an
equal in torch; a list of numbers that goes to `np.mean`, `np.sum` or `np.array` becomes a list of tensors, and
`torch.stack(losses)`. A tensor that may have dimensions of size 1 gets none with `.reshape(())`, as its number has
none, and one that is written in place later is cloned, as the number stays what it was. Functions of `math` become
those of torch.

## Leaves alone
```python
def f(x):
    loss = (x * x).sum()
    if loss.item() > 0.5:  # a decision, and a line in a log
        print(loss.item())
    loss.backward()
```
```python
def f(x):
    loss = (x * x).sum()
    (loss / loss.item()).backward()  # a weight: the gradient would be another one
```

## Fix safety
Safe where backward fails today and the number goes straight into a tensor whose dtype it doesn't change. Unsafe
elsewhere: Python computes in double precision, a tensor in its own, so the last digits may differ; and where the
program runs its gradients change.

## References
- <https://pytorch.org/docs/stable/generated/torch.Tensor.item.html>
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
    "GF302",
    "number-from-tensor",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=(".item", "float(", "tolist", "math"),
)
def number_from_tensor(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return cut_findings("GF302", "number-from-tensor", source, facts, frozenset({CutKind.NUMBER}))
