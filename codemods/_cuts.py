"""Cuts of the graph as findings: which of them one codemod reports, and what it says about each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from gradfix import rewrite
from gradfix.analysis.cut_kinds import CutEffect, CutKind
from gradfix.analysis.facts import Cut, ModuleFacts, Tracked
from gradfix.findings import Finding, Refusal, Severity
from gradfix.identity import identity
from gradfix.source import Source

SYMPTOM = "does not require grad and does not have a grad_fn"

_CUTS = {
    CutKind.TENSOR: "copies values without their graph",
    CutKind.NUMBER: "makes a Python number, which has no graph",
    CutKind.DATA: "leaves the graph behind",
    CutKind.DETACH: "leaves the graph behind",
    CutKind.PARAMETER: "makes a new leaf, where gradients end",
    CutKind.GRADIENTS_OFF: "turns gradients off",
    CutKind.DISCRETE: "has no gradient",
    CutKind.FLAT: "has a gradient of zero",
    CutKind.NO_LEAF: "has nothing to go back to",
}
# Measured (2.13): with gradients on or off; of a tensor without them they read the number.
_NUMBERS_ONLY = frozenset({"full", "full_like", "new_full"})
_EFFECTS = {
    CutEffect.NO_GRAPH: "backward fails, the loss (line {line}) has no graph",
    CutEffect.NUMBER: "the loss (line {line}) is no tensor",
    CutEffect.NEW_LEAF: "the loss (line {line}) depends on nothing else",
    CutEffect.ZERO: "so have all leaves of the loss (line {line})",
    CutEffect.RETURNED: "what is returned as a loss has no graph",
    CutEffect.RETURNED_LEAF: "what is returned as a loss depends on nothing else",
    CutEffect.STARVED: "what it is computed from gets no gradient from any loss (line {line}), though one is asked for",
    CutEffect.CONSTANT: "it adds nothing to the gradient of the loss (line {line})",
    CutEffect.PARTIAL: "the loss (line {line}) takes it as a constant",
}


def cut_findings(
    code: str, name: str, source: Source, facts: ModuleFacts, kinds: frozenset[CutKind]
) -> Iterator[Finding]:
    """One finding for each cut of one of `kinds` that a loss depends on."""
    seen: dict[str, int] = {}
    for cut in facts.cuts:
        if cut.kind not in kinds or (cut.origin is not None and cut.severity is Severity.INFO):
            continue  # whether a helper of another file should end the graph is a question for that file
        part = ast.dump(cut.node) if not isinstance(cut.node, ast.stmt) else ""
        if cut.origin is not None:
            part = f"{part}{cut.origin.file}:{cut.origin.text}"
        key = f"{cut.function}\0{ast.dump(cut.statement)}\0{cut.identity_ordinal}\0{part}"
        seen[key] = seen.get(key, 0) + 1
        made = rewrite.reconnect(source, cut, facts)
        yield Finding(
            code=code,
            name=name,
            severity=cut.severity,
            message=message(source, cut),
            span=cut.hazards[0].write.span,
            identity=identity(
                code,
                cut.function,
                cut.statement,
                cut.identity_ordinal,
                part=f"{part}{seen[key] if seen[key] > 1 else ''}",
            ),
            hazard=cut.hazards[0],
            rewrites=() if isinstance(made, Refusal) else made,
            refusal=_refusal(cut, made) if isinstance(made, Refusal) else None,
        )


def message(source: Source, cut: Cut) -> str:
    """What is wrong, in one line about the user's code."""
    if cut.kind is CutKind.NO_LEAF:
        return "backward fails, nothing that the loss is computed from requires grad"
    text = " ".join(cut.hazards[0].write.span.text(source.text).split())
    if len(text) > 60:
        text = text[:59].rstrip() + "…"
    if cut.op in _NUMBERS_ONLY and cut.origin is None and cut.severity is Severity.ERROR and _requires_grad(cut):
        return f"`{text}` takes numbers, and no tensor that requires grad: torch raises a `TypeError` here"
    line = source.position(cut.loss.span.start).line
    there = cut.origin
    elsewhere = "" if there is None else f" (`{there.text}` in {there.file}, line {there.line})"
    return f"`{text}` {_CUTS[cut.kind]}{elsewhere}: {_EFFECTS[cut.effect].format(line=line)}"


def _requires_grad(cut: Cut) -> bool:
    return cut.value is not None and cut.value.tensor is not None and cut.value.tensor.tracked is Tracked.YES


def _refusal(cut: Cut, refusal: Refusal) -> Refusal:
    """Of operations without a gradient, what people use instead."""
    advice = _INSTEAD.get(cut.op) if cut.kind in (CutKind.DISCRETE, CutKind.FLAT) else None
    return replace(refusal, advice=advice) if advice is not None else refusal


_SOFT = "train on a smooth stand-in: `softmax` or `cross_entropy` on the scores; keep this for evaluation"
_STRAIGHT = "pass the gradient straight through: `y = x + (round(x) - x).detach()`; or leave it out while training"
_INSTEAD = {
    **dict.fromkeys(("argmax", "argmin", "argsort", "topk", "sort", "max", "min", "one_hot", "multinomial"), _SOFT),
    **dict.fromkeys(
        ("compare", "eq", "ne", "gt", "ge", "lt", "le", "isclose"),
        "train on how far apart they are, not on whether: `sigmoid`, a margin, a distance",
    ),
    **dict.fromkeys(("round", "floor", "ceil", "trunc", "fix", "sign", "heaviside"), _STRAIGHT),
    **dict.fromkeys(
        ("long", "int", "short", "byte", "char", "to", "type", "bool"), "keep a floating dtype as far as the loss"
    ),
    **dict.fromkeys(("full", "full_like", "new_full"), "spread the tensor itself: `value.expand(size)`"),
    "grad": "`create_graph=True` gives the gradients a graph of their own",
    **dict.fromkeys(
        ("write", "tensor", "LongTensor"), "give the tensor a floating dtype, so that it can carry a graph"
    ),
}
