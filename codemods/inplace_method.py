"""Method or function with an underscore on a tensor that backward needs as it was.

## What it does
Finds `y.exp_()`, `y[0].mul_(2)`, `torch.relu_(y)` and their like where an operation saved the values of `y` for
backward, or where `y` is a leaf or one of several views; and calls the one without the underscore. So is a call of a
function or module of another file of the project that writes to its argument: there the argument is cloned first. What
a method of a class in another file writes of its own object is named where it is called, with the line to change there.

## Why does backward fail?
Methods that end in an underscore overwrite the tensor. The operation that saved it finds in backward that its version
counter has changed, and raises. In a chain, `y.exp_().mul_(2)` overwrites what `exp_` itself has saved. A hook that
writes to the gradient it is given (`t.register_hook(lambda g: g.mul_(2))`) raises where that is the gradient of a sum,
which is one number for all elements, and reaches the other operand too where it is that of an addition.

## Example
```python
def f(x):
    y = x.tanh()
    y.mul_(2).add_(1)
    return y
```
Use instead:
```python
def f(x):
    y = x.tanh()
    y = y.mul(2).add(1)
    return y
```
`y.fill_(v)` and `y.zero_()` become `y = torch.fill(y, v)`, which has the graph of `y`, or `torch.zeros_like(y)` and its
like where `y` has none; where each round of a loop begins with that, the round makes `y` instead. Methods that have no
other form (`copy_`, random fills), and writes through a view, work on a clone: `y = y.clone()` before the call.

## Leaves alone
```python
def f(x):
    y = x - 1
    y.exp_()  # `exp_` saves its own result, which nobody overwrites
    return y
```
```python
def f(x):
    y = x * 3
    y.clamp_(min=0.5)
    return y
```

## Fix safety
Values, dtype and gradients stay the same; comparisons are cast back (`y.eq_(3)` keeps the dtype of `y`). Where somebody
else may hold the tensor, the call stays, and backward gets a copy of what it needs: `a = y.clone().sin()`, or
`y.copy_(y.exp())` for a result saved in place. A leaf is left as it is, and a copy is worked on, which the call itself
makes where it can: `sigma_copy = sigma.clamp(min=0.1)`. Refused for methods that change the storage or the graph on
purpose.

## References
- <https://pytorch.org/docs/stable/notes/autograd.html#in-place-operations-with-autograd>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.facts import ModuleFacts, WriteForm
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding
from gradfix.source import Source

from ._writes import SYMPTOM, write_findings

_FORMS = frozenset({WriteForm.METHOD, WriteForm.FUNCTION, WriteForm.CALL, WriteForm.FOREIGN})


@codemod(
    "GF103",
    "inplace-method",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=("_(", "_ (", "import"),  # what is imported may write, too
)
def inplace_method(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    return write_findings("GF103", "inplace-method", source, facts, _FORMS)
