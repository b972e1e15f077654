"""An optimizer that steps between a forward pass and the backward that still needs its parameters.

## What it does
Finds `optimizer.step()` where a later `backward()` goes through operations that saved the parameters it updates.
Networks and optimizers that a training loop is handed count as well, where the code shows what they are (a warning):
`net.train()`, `net.zero_grad()`, an optimizer that is named after the network, or the only one.

## Why does backward fail?
A step writes every parameter with a gradient in place. A layer saved its weight when it was called, and its version
counter no longer fits. (Before torch 1.5 such steps weren't counted, and the gradients were silently wrong.)

## Example
```python
import torch
from torch import nn

def f(x):
    critic = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    score = critic(x)
    score.sum().backward(retain_graph=True)
    optimizer.step()
    (score * 2).sum().backward()
```
Either compute `score` anew after the step, as the updated critic sees it, or step when every backward through it is
done: then ask for the gradients of the second loss with `torch.autograd.grad`, or with `backward(inputs=…)`, where
those of the critic aren't to go into its step.

## Leaves alone
```python
import torch
from torch import nn

def f(x):
    critic = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    critic(x).sum().backward()
    optimizer.step()
    (critic(x) * 2).sum().backward()  # through the updated critic
```

## Fix safety
There is no fix, only advice: which of the losses is to see the updated parameters is yours to say.

## References
- <https://pytorch.org/docs/stable/notes/autograd.html#in-place-correctness-checks>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding, Refusal, RefusalKind, Severity
from gradfix.identity import identity
from gradfix.source import Source

_REFUSAL = Refusal(
    RefusalKind.MEANING,
    "which of the losses is to see the updated parameters can't be told",
    "compute the loss anew after the step, or step after the last backward that goes through these parameters",
)


@codemod(
    "GF404",
    "step-before-backward",
    since="0.2",
    applicability=Applicability.DISPLAYONLY,
    symptom="modified by an inplace operation",
    needles=("step(",),
)
def step_before_backward(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    for step in facts.early_steps:
        hazard = step.hazards[0]
        text = " ".join(source.span_of(step.node).text(source.text).split())
        line = source.position(hazard.save.span.start).line if hazard.save else 0
        there = step.elsewhere
        where = "" if there is None else f" (`{there.text}` in {there.file}, line {there.line})"
        saved = "saved" if step.severity is Severity.ERROR else "may have saved"
        yield Finding(
            code="GF404",
            name="step-before-backward",
            severity=step.severity,
            message=f"`{text}`{where} updates in place the parameters that line {line} {saved} for a later backward",
            span=source.span_of(step.node),
            identity=identity("GF404", step.function, step.statement, step.identity_ordinal),
            hazard=hazard,
            refusal=_REFUSAL,
        )
