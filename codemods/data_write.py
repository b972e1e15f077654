"""Write through `.data` to a tensor that backward needs as it was.

## What it does
Finds `y.data[0] = v`, `y.data.clamp_()`, `y.data += v` where an operation saved the values of `y` and backward is still
to come; and writes to a NumPy array that shares the memory of `y`, by `y.detach().numpy()` or `torch.from_numpy`.
Initialising and updating parameters through `.data` isn't found, since nobody has saved them then.

## Why does backward fail?
It doesn't: its result is wrong without a word. `.data` hides the write from autograd, which finds the version counter
as it was. Backward computes with the values written over those it saved, and passes gradients to elements that no
longer count.

## Example
```python
import torch


def f(x):
    y = torch.exp(x)
    y.data[0] = 2.0
    return y
```
Use instead:
```python
import torch


def f(x):
    y = torch.exp(x)
    y = y.clone()
    y[0] = 2.0
    return y
```

## Leaves alone
```python
import torch


def f(x):
    y = torch.exp(x)
    y = y.clone()
    y[0] = 2.0  # autograd sees it
    return y
```
```python
import torch


def f(x):
    w = torch.zeros(3)
    w.data.fill_(0.5)  # nobody has saved it
    return x * w
```

## Fix safety
Unsafe: values stay the same, but the gradient changes, from a wrong one to that of the values computed. Refused for
parameters, whose update belongs behind backward, where another name of the memory is read afterwards, and where NumPy
writes.

## References
- <https://pytorch.org/docs/stable/notes/autograd.html#in-place-correctness-checks>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.facts import ModuleFacts, WriteForm
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding, Refusal, RefusalKind
from gradfix.source import Source

from ._writes import findings_of

_SHARED = Refusal(
    RefusalKind.MEANING,
    "NumPy writes to the memory of the tensor",
    "write to a copy of the array where the tensor shall keep its values, else to the tensor itself",
)


@codemod(
    "GF106",
    "data-write",
    since="0.2",
    applicability=Applicability.UNSAFE,
    symptom="",
    needles=(".data", "numpy"),
)
def data_write(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return findings_of(
        "GF106",
        "data-write",
        source,
        facts,
        lambda write: write.form in (WriteForm.DATA, WriteForm.ARRAY) and bool(write.hazards),
        lambda write: _SHARED if write.form is WriteForm.ARRAY else rewrite.write_openly(source, write),
    )
