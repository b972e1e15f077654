"""Operation without a gradient on the way to a loss.

## What it does
Finds losses that depend on their leaves only through `argmax`, comparisons, integer dtypes or rounding, and says what
people use instead; also where that is true of one leaf only, if an optimizer holds it or its `.grad` is read, and no
other loss gives it a gradient: the threshold of `h * (h > threshold)`. It edits nothing: what the loss ought to be is
yours to say.

## Why does backward fail?
What is discrete has no gradient: `argmax`, `==` and `.long()` give tensors without a graph, and so does an integer
tensor that a float is written into. `round`, `floor` and `sign` keep the graph, with a gradient of zero: nothing is
learnt, and nothing says so.

## Example
```python
def f(x):
    correct = (x.sigmoid() > 0.5).float()
    correct.mean().backward()
```

## Leaves alone
```python
def f(x):
    mask = x > 0.5  # chooses among values
    (x * mask).sum().backward()
```
```python
def f(x):
    best = x.argmax()  # an index
    x[best].backward()
```

## Fix safety
There is no fix, only advice: a smooth stand-in for the loss, a floating dtype for the buffer, or a gradient that is
passed straight through the rounding.

## References
- <https://pytorch.org/docs/stable/notes/autograd.html>
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
    "GF304",
    "no-gradient-op",
    since="0.1",
    applicability=Applicability.DISPLAYONLY,
    symptom=SYMPTOM,
    needles=("backward", "grad"),
)
def no_gradient_op(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    kinds = frozenset({CutKind.DISCRETE, CutKind.FLAT})
    return cut_findings("GF304", "no-gradient-op", source, facts, kinds)
