"""Detached tensor that a loss depends on.

## What it does
Finds `t.data`, `t.detach()`, detours through NumPy (`torch.from_numpy(np.sqrt(t.detach().numpy()))`) and tensors
computed under `no_grad` that leave a loss without a graph, or with none but its own (`loss.requires_grad_()`); and
computes with the tensor itself. Also a write through `.data` of a buffer made on the spot (`out.data[i] = v`), which
keeps the graph of `v` from what the loss is made of.
A function of another file of the project that does so is named where it is called, with the line to change there.

## Why does backward fail?
A detached tensor shares the values, not the graph. Where everything a loss is made of was detached on the way, backward
has nothing to go back through.

## Example
```python
def f(x):
    y = x.exp().data
    y.sum().backward()
```
Use instead:
```python
def f(x):
    y = x.exp()
    y.sum().backward()
```
Detours through NumPy become the functions of torch that compute the same.

## Leaves alone
```python
def f(x):
    target = x.detach() + 1  # a target: the other side of the difference has a graph
    ((x - target) ** 2).sum().backward()
```
```python
def f(x):
    y = x + (x.round() - x).detach()  # passes the gradient straight through
    (y * y).sum().backward()
```

## Fix safety
Safe for `.data`, and for detours whose functions give the same bits in torch, where backward fails today. Unsafe for
`.detach()`, which somebody wrote on purpose, and for functions that may differ in the last digit. Where the loss has a
graph otherwise, a detach is taken to be meant, but where an optimizer steps whose parameters get no gradient on another
way, from any loss of the file. Leaving out a `no_grad` around what the loss is computed from is unsafe,
too: nobody but its author knows why it is there. Where a step in the block, `w = w - lr * w.grad`, made what has no
graph, the leaf itself is updated instead.

## References
- <https://pytorch.org/docs/stable/generated/torch.Tensor.detach.html>
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
    "GF303",
    "detached",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=("data", "detach", "no_grad", "inference_mode", "set_grad_enabled"),
)
def detached(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    kinds = frozenset({CutKind.DATA, CutKind.DETACH, CutKind.GRADIENTS_OFF})
    return cut_findings("GF303", "detached", source, facts, kinds)
