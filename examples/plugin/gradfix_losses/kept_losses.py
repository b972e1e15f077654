"""Loss kept for the log together with its graph.

## What it does
Finds `total += loss` where both have a graph: a sum for the log that keeps every round's graph in memory. What is offered
is a suggestion: the sum may as well be what is differentiated.

## Why does backward fail?
It doesn't; memory runs out. Every loss holds the graph behind it, and the sum holds all the losses.

## Example
```python
def f(x):
    total = 0.0
    for value in x:
        total += value.exp()
    return total
```

## Leaves alone
```python
def f(x):
    total = 0.0
    for value in x:
        total += value.exp().item()
    return x * total
```

## Fix safety
None is made.

## References
- <https://pytorch.org/docs/stable/notes/faq.html>
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradfix.analysis.facts import ModuleFacts, Tracked, WriteForm
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding, Refusal, RefusalKind, Severity
from gradfix.identity import identity
from gradfix.source import Source


@codemod(
    "LOSS01",
    "kept-loss",
    since="0.1",
    applicability=Applicability.DISPLAYONLY,
    symptom="out of memory",
    needles=("+=",),
)
def kept_loss(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    for write in facts.writes:
        name = ast.unparse(write.target)
        if write.form is WriteForm.AUGMENTED and write.operator == "+=" and "total" in name:
            tracked = write.written.tensor is not None and write.written.tensor.tracked is not Tracked.NO
            if tracked or write.tensor.tracked is not Tracked.NO:
                yield Finding(
                    code="LOSS01",
                    name="kept-loss",
                    severity=Severity.WARNING,
                    message=f"`{name}` keeps the graph of everything that is added to it",
                    span=source.span_of(write.node),
                    identity=identity("LOSS01", write.function, write.statement, write.identity_ordinal),
                    hazard=None,
                    refusal=Refusal(
                        RefusalKind.MEANING, "it may be the loss", f"add `.item()` to what goes into `{name}` if it is a log"
                    ),
                )
