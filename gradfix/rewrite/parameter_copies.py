"""The verb `copy_parameter`: a function that writes to `self.weight` works on a local copy of it."""

from __future__ import annotations

import ast
from functools import partial

from gradfix.analysis.facts import Write
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite import names
from gradfix.rewrite.places import root_of
from gradfix.rewrite.scopes import mentions_of
from gradfix.rewrite.sites import site_of
from gradfix.rewrite.updates import OF_LEAVES
from gradfix.source import Source, Span

_OWN = frozenset({"grad", "requires_grad", "is_leaf"})
_KEPT = Refusal(
    RefusalKind.LEAF,
    "the parameter is assigned, or its memory handled, in the same function",
    "work on a local copy (`w = self.weight.clone()`), or update it under `torch.no_grad()` if that is meant",
)


def copy_parameter(source: Source, write: Write) -> Rewrite | None:
    """Clone the attribute into a local name that the function uses from then on; None for anything but an attribute.

    Unsafe: an update that should last may be meant, which belongs behind backward, under `torch.no_grad()`.
    """
    root = root_of(write.target)
    while isinstance(root, ast.Subscript):
        root = root.value
    if not isinstance(root, ast.Attribute) or not isinstance(root.value, ast.Name):
        return None
    if not any(hazard.kind in OF_LEAVES for hazard in write.hazards):
        return None
    path = ast.unparse(root)
    build = partial(_build, path=path, attribute=root.attr, statement=write.statement)
    return Rewrite(f"Work on a local copy of `{path}`", Applicability.UNSAFE, build, "local-copy")


def _build(source: Source, *, path: str, attribute: str, statement: ast.stmt) -> tuple[Edit, ...] | Refusal:
    scope = names.scope_of(source, statement)
    if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return _KEPT
    mentions = []
    for mention in mentions_of(scope, path):
        parent = mention.around[0]
        if isinstance(parent, ast.Attribute) and parent.attr in _OWN:
            continue
        stored = not isinstance(mention.node.ctx, ast.Load)  # type: ignore[attr-defined]  # attributes have one
        hidden = isinstance(parent, ast.Attribute) and parent.attr == "data"
        if hidden or (stored and not isinstance(mention.statement(), ast.AugAssign)):
            return _KEPT
        if any(isinstance(node, ast.JoinedStr) for node in mention.around):
            return _KEPT
        mentions.append(mention)
    first = next((s for s in scope.body if any(s in m.around for m in mentions)), None)
    if first is None:
        return _KEPT
    name = names.fresh(source, f"{attribute}_copy", f"local_{attribute}")
    site = site_of(source, first)
    made = f"{name} = {path}.clone(){site.separator}"
    edits = []
    for span in sorted((source.span_of(mention.node) for mention in mentions), key=lambda span: span.start):
        if span.text(source.text) != path:
            return _KEPT
        edits.append(Edit(span, name))
    if edits[0].span.start == site.span.start:
        return (Edit(edits[0].span, made + name), *edits[1:])
    return (Edit(Span(site.span.start, site.span.start), made), *edits)
