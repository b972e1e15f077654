"""Gradient of a tensor that was computed, which backward doesn't keep.

## What it does
Finds `w.grad` where `w` was computed from a leaf, and optimizers that are given such a tensor; and makes the result the
leaf, or has it keep its gradient. Where a step along the gradient made it, `w = w - lr * w.grad`, the leaf itself is
updated.

## Why does backward fail?
Backward puts gradients into leaves only. `torch.randn(3, requires_grad=True) * 0.01` makes a leaf that nobody can name
any more, and a product, whose `.grad` stays None. So does `.cuda()`. An optimizer refuses such a tensor.

## Example
```python
import torch


def f(x):
    w = torch.ones(3, requires_grad=True) * 0.5
    (w * w).sum().backward()
    return x * w.grad
```
Use instead:
```python
import torch


def f(x):
    w = (torch.ones(3) * 0.5).requires_grad_()
    (w * w).sum().backward()
    return x * w.grad
```
or, where the leaf has a name:
```python
import torch


def f(x):
    w = torch.ones(3, requires_grad=True) * 0.5
    w.retain_grad()
    (w * w).sum().backward()
    return x * w.grad
```

## Leaves alone
```python
import torch


def f(x):
    w = torch.ones(3, requires_grad=True)
    (w * w).sum().backward()
    return x * w.grad  # a leaf
```
```python
import torch


def f(x):
    h = x * 2
    h.retain_grad()
    h.sum().backward(retain_graph=True)
    return x * h.grad
```

## Fix safety
Unsafe: a gradient that was None is there, and code that asks for it does more than before.

## References
- <https://pytorch.org/docs/stable/generated/torch.Tensor.is_leaf.html>
- <https://pytorch.org/docs/stable/generated/torch.Tensor.retain_grad.html>
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.backward_facts import NonLeafGrad
from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding, Refusal
from gradfix.identity import identity
from gradfix.source import Source


@codemod(
    "GF402",
    "non-leaf-grad",
    since="0.2",
    applicability=Applicability.UNSAFE,
    symptom="NoneType|can't optimize a non-leaf",
    needles=(".grad", "optim"),
)
def non_leaf_grad(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    for grad in facts.non_leaf_grads:
        if _asks_whether(grad):
            continue
        made = rewrite.reach_leaf(source, grad, facts.spelling, facts.non_leaf_grads)
        name = " ".join(source.span_of(grad.target).text(source.text).split())
        yield Finding(
            code="GF402",
            name="non-leaf-grad",
            severity=grad.severity,
            message=f"`{name}` {_trouble(grad)}",
            span=source.span_of(grad.node),
            identity=identity("GF402", grad.function, grad.statement, grad.identity_ordinal, part=name),
            hazard=grad.hazards[0],
            rewrites=() if isinstance(made, Refusal) else made,
            refusal=made if isinstance(made, Refusal) else None,
        )


def _trouble(grad: NonLeafGrad) -> str:
    if grad.by_optimizer:
        return "holds a tensor that was computed: an optimizer takes leaves only"
    return "was computed and is no leaf: its `.grad` stays None"


def _asks_whether(grad: NonLeafGrad) -> bool:
    """`if h.grad is None`, or a print of it: None is an answer, though not to `h.grad.norm()`."""
    nodes = list(ast.walk(grad.statement))
    if any(isinstance(node, (ast.Attribute, ast.Subscript)) and node.value is grad.node for node in nodes):
        return False
    return any(_takes_none(node) and any(inner is grad.node for inner in ast.walk(node)) for node in nodes)


def _takes_none(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
