"""Buffer that a loop, or one statement after the other, fills slot by slot.

## What it does
Finds loops that write a tensor slot by slot, `out[i] = v`, and don't read it, where an operation saved the buffer
before (it is filled again, say) or where nothing is wrong at all (`--severity info`); and makes the buffer anew in each
round, or collects the values in a list, which `torch.stack` makes a tensor of. Finds, too, buffers whose columns, rows
or slices are written by one statement after the other; and makes the buffer of all of them at once, with `torch.stack`
or `torch.cat`.

## Why does backward fail?
A loop that fills a fresh buffer once is fine. When the buffer is used and then filled again, the writes overwrite what
the first use has saved for backward.

## Example
```python
import torch


def f(x):
    out = torch.zeros(3)
    total = 0
    for scale in (1.0, 2.0):
        for i in range(3):
            out[i] = scale * x[i].exp()
        total = total + (out**2).sum()
    return total
```
Use instead:
```python
import torch


def f(x):
    total = 0
    for scale in (1.0, 2.0):
        out = torch.zeros(3)
        for i in range(3):
            out[i] = scale * x[i].exp()
        total = total + (out**2).sum()
    return total
```
The buffer is made in each round where that shows nowhere: each round writes the same places before it reads any, and
nobody has the buffer besides. Else, and where it takes no more than that, the values are collected:
`out = torch.stack([(scale * x[i].exp()).to(out).reshape(()) for i in range(3)])`.
A loop whose body is more than that write appends to a list instead. `out[i] = v` casts, moves and broadcasts `v`;
where the facts don't prove that needless, the value is made to fit: `.to(out)` for dtype and device, `.reshape(())` for
single elements, `.reshape_as(out[i])` for what is computed element by element with a slot, `.expand_as(out[i])` for a
value of no more dimensions than one, memory of its own (`torch.empty_like(out[i])`) where that isn't known. A loop that
doesn't surely write every slot, once and in order, starts from the slots as they are: see recurrent-buffer (GF203).

A buffer that single statements fill is joined where they are proven to write all of one dimension, each part once, with
values of its shape: `out[:, 0] = a`, `out[:, 1] = out[:, 0] * b` becomes `out_0 = a` and
`out = torch.stack([out_0, out_0 * b], dim=1)`; `out[:, :k] = a`, `out[:, k:] = b` a `torch.cat`. Where anything is
missing (a part that isn't written, a value of unknown shape, a branch, another name for the buffer), each write is left
to the codemod of its spelling.

## Leaves alone
```python
import torch


def f(x):
    out = torch.zeros(3)
    for i in range(3):
        out[i] = x[i].exp()  # a fresh buffer, filled once
    return out
```
```python
import torch


def f(x):
    return torch.stack([x[i].exp() for i in range(3)])
```

## Fix safety
Values, dtype, shape and gradients stay the same; the result lies in new, contiguous memory. An empty loop leaves the
buffer as it is. Where somebody else may hold the buffer, the writes are left to the codemod of their spelling.

## References
- <https://pytorch.org/docs/stable/generated/torch.stack.html>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding
from gradfix.source import Source

from ._buffers import block_findings, buffer_findings
from ._writes import SYMPTOM


@codemod(
    "GF202",
    "loop-filled-buffer",
    since="0.1",
    applicability=Applicability.SAFE,
    symptom=SYMPTOM,
    needles=("]",),
)
def loop_filled_buffer(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    yield from buffer_findings("GF202", "loop-filled-buffer", source, facts, recurrent=False)
    yield from block_findings("GF202", "loop-filled-buffer", source, facts)
