"""The verb `copy_parameter`: a function that writes to `self.weight` works on a local copy of that parameter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from gradfix.analysis.facts import Spelling, Write
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.grounds.places import root_of
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import same
from gradfix.rewrite.text.scopes import Mention, mentions_of
from gradfix.rewrite.text.sites import site_of
from gradfix.rewrite.writes.first_writes import copied_by
from gradfix.rewrite.writes.updates import OF_LEAVES
from gradfix.source import Source, Span

_OWN = frozenset({"grad", "requires_grad", "is_leaf"})
_KEPT = Refusal(
    RefusalKind.LEAF,
    "the parameter is assigned, or its memory handled, in the same function",
    "work on a local copy (`w = self.weight.clone()`), or update it under `torch.no_grad()` if that is meant",
)
_UNREAD = Refusal(
    RefusalKind.LEAF,
    "what reads the parameter after the write isn't spelled in this function, and would miss a local copy",
    "compute with a changed copy by hand (`F.linear(x, w)`, `torch.func.functional_call`), or update the parameter "
    "under `torch.no_grad()` if that is meant",
)


def copy_parameter(source: Source, write: Write, spelling: Spelling) -> Rewrite | None:
    """Clone the parameter into a local name that the function uses from then on.

    None for anything but an attribute, or a constant item of one. Unsafe: an update that should last may be meant,
    which belongs behind backward, under `torch.no_grad()`.
    """
    leaf = _leaf(write)
    held = leaf.value if isinstance(leaf, ast.Subscript) else leaf
    if leaf is None or not isinstance(held, ast.Attribute) or not isinstance(held.value, ast.Name):
        return None
    path = ast.unparse(leaf)
    build = partial(_build, path=path, held=held, write=write, spelling=spelling)
    return Rewrite(f"Work on a local copy of `{path}`", Applicability.UNSAFE, build, "local-copy")


def _leaf(write: Write) -> ast.expr | None:
    """The part of the target that is the leaf: `self.w` of `self.w[0]`, `self.ws[0]` of `self.ws[0][1].mul_(2)`."""
    told = {hazard.storage for hazard in write.hazards if hazard.kind in OF_LEAVES}
    return next((part for part in _parts(write.target) if ast.unparse(part) in told), None)


def _build(
    source: Source, *, path: str, held: ast.Attribute, write: Write, spelling: Spelling
) -> tuple[Edit, ...] | Refusal:
    scope = names.scope_of(source, write.statement)
    if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return _KEPT
    leaf = ast.parse(path, mode="eval").body
    if isinstance(leaf, ast.Subscript) and not _are_told_apart(scope, ast.unparse(held), leaf):
        return _UNREAD
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
    if not _is_read_after(mentions, write.statement, scope) or _is_read_unseen(scope, path.partition(".")[0], source):
        return _UNREAD
    first = next((s for s in scope.body if any(s in m.around for m in mentions)), None)
    if first is None:
        return _KEPT
    name = names.fresh(source, f"{held.attr}_copy", f"local_{held.attr}")
    texts = {source.span_of(mention.node).text(source.text) for mention in mentions}
    if len(texts) > 1:
        return _KEPT
    path = texts.pop()
    if (made := copied_by(source, write, spelling, first, path, name)) is not None:
        return (*made, *_renamed(source, [m for m in mentions if m.statement() is not first], name))
    return _cloned_before(source, first, path, name, _renamed(source, mentions, name))


def _are_told_apart(scope: ast.AST, path: str, leaf: ast.Subscript) -> bool:
    """Whether every item that the function takes of a container is named by a key that only equals itself."""
    keys = [
        around.slice
        if isinstance(around := mention.around[0], ast.Subscript) and around.value is mention.node
        else None
        for mention in mentions_of(scope, path)
    ]
    values = [key.value if isinstance(key, ast.Constant) else None for key in (leaf.slice, *keys)]
    return all(type(value) is str for value in values) or all(type(value) is int for value in values)


def _renamed(source: Source, mentions: list[Mention], name: str) -> list[Edit]:
    spans = sorted((source.span_of(mention.node) for mention in mentions), key=lambda span: span.start)
    return [Edit(span, name) for span in spans]


def _cloned_before(source: Source, first: ast.stmt, path: str, name: str, edits: list[Edit]) -> tuple[Edit, ...]:
    """The copy made before the statement that needs it first."""
    site = site_of(source, first)
    made = f"{name} = {path}.clone(){site.separator}"
    if edits[0].span.start == site.span.start:
        return (Edit(edits[0].span, made + name), *edits[1:])
    return (Edit(Span(site.span.start, site.span.start), made), *edits)


def _is_read_after(mentions: list[Mention], statement: ast.stmt, scope: ast.AST) -> bool:
    """Whether a statement that doesn't only write mentions the parameter, behind `statement` or in a loop."""
    for mention in mentions:
        reader = mention.statement()
        behind = (reader.lineno, reader.col_offset) > (statement.lineno, statement.col_offset)
        if (behind or mention.loops(scope)) and not _only_writes(reader, mention.node):
            return True
    return False


def _only_writes(statement: ast.stmt, parameter: ast.expr) -> bool:
    """`w[0] = w[0] * 2`, `w.clamp_(0)`: of what the statement reads, nothing is left but the write."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, (ast.AugAssign, ast.AnnAssign)):
        targets = [statement.target]
    else:
        targets = [statement.value] if isinstance(statement, ast.Expr) else []
    return any(same(part, parameter) for target in targets for part in _parts(target))


def _parts(target: ast.expr) -> Iterator[ast.expr]:
    """`w[0]` and `w` of `w[0]` and of `w[0].mul_(2)`."""
    part = root_of(target)
    yield part
    while isinstance(part, ast.Subscript):
        part = root_of(part.value)
        yield part


def _is_read_unseen(scope: ast.FunctionDef | ast.AsyncFunctionDef, owner: str, source: Source) -> bool:
    """Whether the module that has the parameter is called or handed on, so that code elsewhere reads the parameter."""
    methods = _methods_around(source, scope)
    for mention in mentions_of(scope, owner):
        around = mention.around
        if not isinstance(around[0], ast.Attribute):
            return not isinstance(around[0], ast.arguments)
        called = isinstance(around[1], ast.Call) and around[1].func is around[0]
        if called and (methods is None or around[0].attr in methods):
            return True
    return False


def _methods_around(source: Source, scope: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str] | None:
    """The methods of the class that `scope` is a method of, None for a plain function."""
    for node in ast.walk(names.tree_of(source)):
        if isinstance(node, ast.ClassDef) and any(inner.lineno == scope.lineno for inner in node.body):
            return frozenset(
                inner.name for inner in node.body if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef))
            )
    return None
