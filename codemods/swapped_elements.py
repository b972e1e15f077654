"""Swap of two elements of a tensor, which writes one of them twice.

## What it does
Finds `y[0], y[1] = y[1], y[0]`, and the same with a name in between, on tensors with a graph; the value that is
overwritten first is copied before.

## Why does backward fail?
It doesn't, the values are wrong. What stands on the right are views: after the first write, both show the new value.
`[1., 2.]` becomes `[2., 2.]`, and the gradient of the element that was lost is zero.

## Example
```python
import torch


def f(x):
    y = torch.neg(x)
    y[0], y[1] = y[1], y[0]
    return y * torch.arange(3)
```
Use instead:
```python
import torch


def f(x):
    y = torch.neg(x)
    y[0], y[1] = y[1], y[0].clone()
    return y * torch.arange(3)
```

## Leaves alone
```python
import torch


def f(x):
    y = torch.neg(x)
    y[0], y[1] = y[1].clone(), y[0].clone()
    return y * torch.arange(3)
```
```python
import torch


def f(x):
    y = torch.neg(x)
    y[[0, 1]] = y[[1, 0]]  # a list as index makes a copy
    return y * torch.arange(3)
```

## Fix safety
Unsafe: the values change, to those that the swap means. The backward check sees that and leaves the fix out;
`--no-verify` makes it.

## References
- <https://pytorch.org/docs/stable/tensor_view.html>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding, Severity
from gradfix.identity import identity
from gradfix.source import Source


@codemod(
    "GF107",
    "swapped-elements",
    since="0.2",
    applicability=Applicability.UNSAFE,
    symptom="",
    needles=("]",),
)
def swapped_elements(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    for swap in facts.swaps:
        view = " ".join(source.span_of(swap.view).text(source.text).split())
        target = " ".join(source.span_of(swap.node).text(source.text).split())
        line = source.position(source.span_of(swap.earlier).start).line
        when = "just" if swap.earlier is swap.statement else f"in line {line}"
        yield Finding(
            code="GF107",
            name="swapped-elements",
            severity=Severity.WARNING,
            message=f"`{target}` gets the value that `{view}` was given {when}, not the one it had",
            span=source.span_of(swap.node),
            identity=identity("GF107", swap.function, swap.statement, swap.identity_ordinal, part=target),
            hazard=None,
            rewrites=rewrite.copy_view(source, swap),
        )
