"""Constant without a graph that one way through a function gives, where the others give what has one.

## What it does
Finds constants (`torch.tensor(0.0)`) that a branch on tensor data returns, or gives to a name, where the other ways
give what is computed from tensors that require grad; if a backward follows that has nothing else to go back through,
and nothing (`if loss.requires_grad:`, `except RuntimeError:`) keeps it away; or if a loss returns it that nobody in
the file calls. And connects the constant to those tensors.

## Why does backward fail?
When that way is taken, nothing that requires grad has reached the loss. It has no graph, and backward has nothing to go
back through. It happens for some batches only: those without a positive example, or under an empty mask.

## Example
```python
import torch


def masked_mean(values, mask):
    if mask.sum() == 0:
        return torch.tensor(0.0)
    return values[mask].mean()


def f(x: torch.Tensor):
    loss = masked_mean(x.exp(), x > 0)
    loss.backward()
```
Use instead:
```python
import torch


def masked_mean(values, mask):
    if mask.sum() == 0:
        zero = torch.tensor(0.0)
        return zero + values.flatten()[:0].sum().to(zero)
    return values[mask].mean()


def f(x: torch.Tensor):
    loss = masked_mean(x.exp(), x > 0)
    loss.backward()
```
The sum of no elements is zero whatever `values` holds; `values.sum() * 0` is NaN where those hold infinities or NaN.
Where dtypes, devices and dimensions are known, it is shorter: `values.new_zeros(()) + values[:0].sum()`.

## Leaves alone
```python
import torch


def masked_mean(values, mask):
    if mask.sum() == 0:
        return torch.tensor(0.0)
    return values[mask].mean()


def f(x: torch.Tensor):
    loss = x.pow(2).sum() + masked_mean(x.exp(), x > 0)  # goes back through the squares
    loss.backward()
```
```python
import torch


def spread(values, weight=0.0):
    if weight == 0:  # doesn't depend on data
        return torch.tensor(0.0)
    return weight * values.var()


def f(x: torch.Tensor):
    loss = spread(x, 0.5)
    loss.backward()
```

## Fix safety
Values stay the same bit for bit, and so do the gradients of the other ways. On this one they are zero. Safe where the
program would have failed; unsafe where nobody in the file calls the loss, since beside other terms a gradient of None
becomes zero, and optimizers with momentum or weight decay move such a parameter.

## References
- <https://pytorch.org/docs/stable/notes/autograd.html#how-autograd-encodes-the-history>
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding, Refusal
from gradfix.identity import identity
from gradfix.source import Source

_LEADING = {True: "if", False: "unless", None: "in this case of"}


@codemod(
    "GF205",
    "graphless-branch",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom="does not require grad and does not have a grad_fn",
    needles=("return",),
)
def graphless_branch(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    for way in facts.bare_ways:
        made = rewrite.connect_way(source, way, facts.spelling)
        name = " ".join(ast.unparse(way.node).split())
        test = " ".join(source.span_of(way.test).text(source.text).split())
        yield Finding(
            code="GF205",
            name="graphless-branch",
            severity=way.severity,
            message=f"`{name}` brings no graph: backward {'fails' if way.proven else 'may fail'} "
            f"{_LEADING[way.when]} `{test}`",
            span=source.span_of(way.node),
            identity=identity("GF205", way.function, way.statement, way.identity_ordinal, part=name),
            hazard=way.hazards[0],
            rewrites=() if isinstance(made, Refusal) else made,
            refusal=made if isinstance(made, Refusal) else None,
        )
