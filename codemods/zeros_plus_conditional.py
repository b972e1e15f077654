"""Buffer without a graph that only a branch on tensor data connects to the leaves.

## What it does
Finds a tensor that starts without a graph (`torch.zeros(3)`) and gets one only inside an `if` on tensor data, on its
way to a loss; and chooses its values with `torch.where`, so that the loss depends on its inputs for every input. A name
that the branch binds to another tensor (`loss = loss + term`) is found where a backward follows that has nothing else
to go back through, and no test (`if count > 0:`) guards it.

## Why does backward fail?
When the branch isn't taken, nothing that requires grad has ever reached the buffer. The loss has no graph, and backward
has nothing to go back through.

## Example
```python
import torch


def f(x):
    y = torch.zeros(3)
    if x[0] > 0:
        y[0] = 2 * x[0]
    return y
```
Use instead:
```python
import torch


def f(x):
    y = torch.zeros(3)
    y[0] = torch.where(x[0] > 0, 2 * x[0], y[0])
    return y
```
Values that may be computed in any case are masked. Anything with an effect, and anything that might raise where the
branch isn't taken, stays in its branch; the buffer is connected after it, with a gradient of zero:
```python
import torch


def f(x):
    y = torch.zeros(3)
    if x[0] > 0:
        y[0] = 2 * x[0]
    y = torch.where(torch.zeros_like(y, dtype=torch.bool), x[0].sum(), y)
    return y
```

## Leaves alone
```python
import torch


def f(x):
    y = torch.zeros(3) + x  # connected before the branch
    if x[0] > 0:
        y[0] = 2 * x[0]
    return y
```
```python
import torch


def f(x, use_bias=True):
    y = torch.zeros(3)
    if use_bias:  # doesn't depend on data
        y[0] = 2 * x[0]
    return y
```

## Fix safety
Values stay the same bit for bit, and so do the gradients where the branch is taken. Where it isn't, the gradient is
zero (never NaN: operands of `sqrt`, division and the like are replaced by 1 there). Safe where the program would have
failed in that case; unsafe where something else connects the loss, since a gradient of None becomes zero, and
optimizers with momentum or weight decay move such a parameter.

## References
- <https://pytorch.org/docs/stable/generated/torch.where.html>
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.facts import ConditionalFill, ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding, Refusal
from gradfix.identity import identity
from gradfix.source import Source


@codemod(
    "GF201",
    "zeros-plus-conditional",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom="does not require grad and does not have a grad_fn",
    needles=("if ", "if(", "if\t", "while"),
)
def zeros_plus_conditional(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    for fill in facts.fills:
        if rewrite.is_anchored(source, fill):
            continue
        made = rewrite.connect_branch(source, fill, facts.spelling)
        name = ast.unparse(fill.buffer)
        yield Finding(
            code="GF201",
            name="zeros-plus-conditional",
            severity=fill.severity,
            message=_message(source, fill, name),
            span=source.span_of(fill.branch.test),
            identity=identity("GF201", fill.function, fill.branch, fill.identity_ordinal, part=name),
            hazard=fill.hazards[0] if fill.hazards else None,
            rewrites=() if isinstance(made, Refusal) else made,
            refusal=made if isinstance(made, Refusal) else None,
        )


def _message(source: Source, fill: ConditionalFill, name: str) -> str:
    test = " ".join(source.span_of(fill.branch.test).text(source.text).split())
    if fill.only_connection:
        return f"`{name}` has a graph only if `{test}`: otherwise backward fails"
    return f"`{name}` has a graph only if `{test}`: otherwise its gradients are missing"
