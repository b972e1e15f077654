"""New tensor made of the values of others.

## What it does
Finds `torch.tensor([a, b])`, `torch.tensor(x)`, `x.new_tensor(a)`, `torch.Tensor([a, b])`, `torch.as_tensor([a, b])`,
`Variable(x)` and `nn.Parameter(x)` of tensors with a graph, on their way to a loss; and builds the tensor from the
tensors themselves.
A function of another file of the project that does so is named where it is called, with the line to change there.

## Why does backward fail?
These functions copy numbers. What they make has no graph, so a loss computed from it can't be differentiated; with
`requires_grad=True` it is a leaf of its own, and the gradient never reaches what the numbers came from.

## Example
```python
import torch


def f(x):
    losses = torch.tensor([(x * x).sum(), x.exp().mean()])
    losses.sum().backward()
```
Use instead:
```python
import torch


def f(x):
    losses = torch.stack([(x * x).sum(), x.exp().mean()])
    losses.sum().backward()
```
Numbers among the tensors become tensors, `dtype=` and `device=` become `.to(…)`, and `torch.tensor(x)` of one tensor
becomes `x.clone()`. Items that may have a dimension of size 1 are reshaped to have none, as `torch.tensor` does.

## Leaves alone
```python
import torch


def f(x):
    weights = torch.tensor([0.5, 2.0, 1.0])  # numbers
    (weights * x).sum().backward()
```
```python
import torch


def f(x):
    loss = (x * x).sum()
    history = torch.tensor([loss, loss * 2])  # only looked at
    print(history)
    loss.backward()
```

## Fix safety
Safe where backward fails today: values, shape and dtype stay the same bit for bit. The result lives on the device of
its items, where `torch.tensor` copies to the default one. Unsafe where the program runs: its gradients change.

## References
- <https://pytorch.org/docs/stable/generated/torch.stack.html>
- <https://pytorch.org/docs/stable/generated/torch.tensor.html>
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
    "GF301",
    "tensor-from-tensors",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=("ensor", "Parameter", "asarray", "from_numpy"),
)
def tensor_from_tensors(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    kinds = frozenset({CutKind.TENSOR, CutKind.PARAMETER})
    return cut_findings("GF301", "tensor-from-tensors", source, facts, kinds)
