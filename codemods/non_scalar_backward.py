"""Backward called on a tensor with more than one element.

## What it does
Finds `z.backward()` where `z` has several elements and no gradient is passed. Two fixes are offered; both give the
gradient of the sum of `z`.

## Why does backward fail?
Backward needs a number to differentiate. For several numbers it must be told how much each of them counts: that is the
`gradient` argument. Without it torch raises, whatever is right or wrong with the rest of the code.

## Example
```python
import torch

x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
z = x + 1
z.backward()
```
Use instead:
```python
import torch

x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
z = x + 1
z.sum().backward()
```
or, with the same gradient:
```python
import torch

x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
z = x + 1
z.backward(torch.ones_like(z))
```

## Leaves alone
```python
import torch


def f(x):
    z = x + 1
    z.backward(torch.ones_like(z))
```
```python
def f(x):
    z = (x + 1).mean()
    z.backward()
```

## Fix safety
Unsafe: code that raised now runs, but whether the sum, the mean or something else is the loss is yours to say.

## References
- <https://pytorch.org/docs/stable/generated/torch.Tensor.backward.html>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.facts import BackwardCall, ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding, Severity
from gradfix.identity import identity
from gradfix.source import Source


@codemod(
    "GF401",
    "non-scalar-backward",
    since="0.1",
    applicability=Applicability.UNSAFE,
    symptom="grad can be implicitly created only for scalar outputs",
    needles=("backward",),
)
def non_scalar_backward(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    for call in facts.backward_calls:
        if call.severity is not None and not call.has_gradient:
            yield Finding(
                code="GF401",
                name="non-scalar-backward",
                severity=call.severity,
                message=_message(source, call, call.severity),
                span=source.span_of(call.node),
                identity=identity("GF401", call.function, call.statement, call.identity_ordinal),
                hazard=call.hazards[0] if call.hazards else None,
                rewrites=rewrite.scalar_loss(source, call, facts.spelling),
            )


def _message(source: Source, call: BackwardCall, severity: Severity) -> str:
    name = " ".join(source.span_of(call.root).text(source.text).split())
    shape = call.tensor.shape
    if severity is not Severity.ERROR:
        how_many = "may have more than one element"
    elif shape is not None and None not in shape:
        how_many = f"has shape {shape}"
    else:
        how_many = "has more than one element"
    there = call.elsewhere
    where = "backward" if there is None else f"`{there.text}` in {there.file}, line {there.line},"
    return f"`{name}` {how_many}: {where} needs a single number, or a gradient for each element"
