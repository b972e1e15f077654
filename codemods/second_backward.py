"""Backward through a graph that a backward before it has freed.

## What it does
Finds a second `backward()`, or `torch.autograd.grad`, that meets operations whose saved values the first one has freed.
The fix that is offered has the first one keep them.

## Why does backward fail?
Backward frees what the operations have saved as it passes them, to save memory. A second pass needs the values again.
Operations that save nothing, sums and views among them, can be passed as often as one likes.

A network that is an argument or an attribute is taken for one where it is trained: by its methods (`train`,
`zero_grad`), by an optimizer over its parameters, or by one of its name (`opt_d` of `discriminator`).

## Example
```python
def f(x):
    h = x.exp()
    h.sum().backward()
    (h * 2).sum().backward()
```
Use instead:
```python
def f(x):
    h = x.exp()
    h.sum().backward(retain_graph=True)
    (h * 2).sum().backward()
```
Often something else is meant: one backward of the sum of both losses; or a graph computed anew in every round of a
loop, without what is carried over from the round before; or gradients that are part of the loss, which need
`create_graph=True`. No fix is offered for the latter two.

## Leaves alone
```python
def f(x):
    h = x.exp()
    h.sum().backward(retain_graph=True)
    (h * 2).sum().backward()
```
```python
def f(x):
    for _ in range(2):
        x.exp().sum().backward()  # a graph of its own in every round
```

## Fix safety
Unsafe: the gradients of both passes are added up in `.grad`, and the memory is held longer; whether that is meant is
yours to say.

## References
- <https://pytorch.org/docs/stable/generated/torch.Tensor.backward.html>
"""

from __future__ import annotations

from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.backward_facts import SecondBackward
from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import codemod
from gradfix.findings import Applicability, Finding, Refusal, Severity
from gradfix.identity import identity
from gradfix.source import Source


@codemod(
    "GF403",
    "second-backward",
    since="0.2",
    applicability=Applicability.UNSAFE,
    symptom="backward through the graph a second time",
    needles=("backward", "grad("),
)
def second_backward(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    for again in facts.second_backwards:
        made = rewrite.keep_graph(source, again)
        freed = source.position(source.span_of(again.first).start).line
        earlier = "in the round of the loop before" if again.looped else "when it ran before"
        where = earlier if again.first is again.node else f"in line {freed}"
        may = "needs" if again.severity is Severity.ERROR else "may need"
        text = " ".join(source.span_of(again.node).text(source.text).split())
        yield Finding(
            code="GF403",
            name="second-backward",
            severity=again.severity,
            message=f"`{text}`{_there(again)} {may} what backward freed {where}{_shared(source, again)}",
            span=source.span_of(again.node),
            identity=identity("GF403", again.function, again.statement, again.identity_ordinal),
            hazard=again.hazards[0],
            rewrites=() if isinstance(made, Refusal) else made,
            refusal=made if isinstance(made, Refusal) else None,
        )


def _there(again: SecondBackward) -> str:
    """The backward itself, where that stands in another file."""
    there = again.elsewhere
    return "" if there is None else f" (`{there.text}` in {there.file}, line {there.line})"


def _shared(source: Source, again: SecondBackward) -> str:
    """What both go back through, where that is one call."""
    if again.shared is None:
        return ""
    span = source.span_of(again.shared)
    text = " ".join(span.text(source.text).split())
    return f": the graph of `{text}` (line {source.position(span.start).line})"
