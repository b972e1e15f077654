"""Calls of a function that comes to return its argument: what each does with the result, and how it takes it."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix.analysis.hazards.handed import argument_for
from gradfix.edits import Edit
from gradfix.rewrite.callers.definitions import Definition
from gradfix.rewrite.callers.returns import Returned
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_container_item, mentions, same
from gradfix.rewrite.text.scopes import path_to
from gradfix.source import Source, Span


@dataclass(frozen=True, slots=True)
class CallSite:
    """One call, and the name, attribute or item of a dict that gets what it hands back."""

    call: ast.Call
    statement: ast.stmt
    place: ast.expr | None  # None: nobody but the function ever sees what is handed over
    target: ast.expr | None  # what the statement assigns the result to


def call_site(source: Source, call: ast.AST, definition: Definition, name: str) -> CallSite | None:
    """How the function is called there; None where the argument can't be told or can't be given a new tensor."""
    around = path_to(names.tree_of(source), call) if isinstance(call, ast.Call) else ()
    statement = next((node for node in around if isinstance(node, ast.stmt)), None)
    given = argument_for(call, definition.node, name, bound=definition.is_method)
    if statement is None or given is None or not isinstance(call, ast.Call):
        return None
    if any(isinstance(node, ast.Lambda) for node in around[: around.index(statement)]):
        return None
    place = given if isinstance(given, (ast.Name, ast.Attribute, ast.Subscript)) else None
    if place is not None and not _can_be_bound(source, place, around):
        return None
    target = None
    if isinstance(statement, ast.Assign) and around[0] is statement and len(statement.targets) == 1:
        target = statement.targets[0]
    return CallSite(call, statement, place, target)


def _can_be_bound(source: Source, place: ast.expr, around: tuple[ast.AST, ...]) -> bool:
    """A variable of the function it stands in, an attribute of one, an item under a string."""
    if isinstance(place, ast.Subscript):
        return is_container_item(place) and _can_be_bound(source, place.value, around)
    if isinstance(place, ast.Attribute):
        return isinstance(place.value, ast.Name) or (
            isinstance(place.value, ast.Attribute) and _can_be_bound(source, place.value, around)
        )
    if not isinstance(place, ast.Name):
        return False
    scope = next(n for n in around if isinstance(n, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)))
    comprehended = any(isinstance(node, ast.comprehension | ast.ListComp | ast.GeneratorExp) for node in around)
    if isinstance(scope, ast.Module):
        return not comprehended
    if isinstance(scope, ast.ClassDef) or comprehended:
        return False
    bound = {a.arg for a in ast.walk(scope.args) if isinstance(a, ast.arg)}
    bound |= {n.id for n in ast.walk(scope) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    declared = {n for s in ast.walk(scope) if isinstance(s, (ast.Global, ast.Nonlocal)) for n in s.names}
    return place.id in bound | declared


def takes_flat(site: CallSite, returned: Returned) -> bool:
    """Whether the statement unpacks just the tuple that the function returns."""
    targets = site.target.elts if isinstance(site.target, (ast.Tuple, ast.List)) else []
    return len(targets) == returned.width and not any(isinstance(target, ast.Starred) for target in targets)


def edits_of_call(
    source: Source, site: CallSite, returned: Returned, *, flat: bool, handed_on: bool
) -> list[Edit] | None:
    """The edits after which the place holds what is handed back; None where the call can't take it.

    `handed_on`: the function around the call comes to return what the place holds at its end.
    """
    alone = isinstance(site.statement, ast.Expr) and _same_place(site.statement.value, site.call)
    if returned.nothing:
        return _prefixed(source, site, "{}") if alone else None
    if returned.is_itself:
        return _prefixed(source, site, "{}") if alone else _edits_of_use(source, site, handed_on=handed_on)
    if returned.at is not None:
        taken = site.target.elts[returned.at] if takes_flat(site, returned) else None  # type: ignore[union-attr]  # a tuple
        return [] if taken is not None and site.place is not None and same(taken, site.place) else None
    if alone:
        count = returned.width if flat and returned.width else 1
        return None if _is_read(source, "_") else _prefixed(source, site, "_, " * count + "{}")
    return _unpacked(source, site, flat=flat)


def _edits_of_use(source: Source, site: CallSite, *, handed_on: bool) -> list[Edit] | None:
    """For a function that returns the argument itself: the result is used, and the place holds it as well."""
    if site.place is None or (site.target is not None and same(site.target, site.place)):
        return []
    if isinstance(site.place, ast.Name) and not handed_on:
        ends = isinstance(site.statement, ast.Return) and names.is_local(source, site.statement, site.place.id)
        if (ends or names.is_dead_after(source, site.statement, site.place.id)) and not _stands_beside(site):
            return []
    if isinstance(site.target, (ast.Name, ast.Attribute)):
        start = source.span_of(site.call).start
        return [Edit(Span(start, start), f"{_text(source, site.place)} = ")]
    return None


def _stands_beside(site: CallSite) -> bool:
    """Whether the statement mentions the place outside of the call."""
    assert site.place is not None
    inside = sum(mentions(node, site.place) for node in ast.walk(site.call) if type(node) is type(site.place))
    whole = sum(mentions(node, site.place) for node in ast.walk(site.statement) if type(node) is type(site.place))
    return whole > inside


def _prefixed(source: Source, site: CallSite, targets: str) -> list[Edit]:
    if site.place is None:
        return []
    start = source.span_of(site.statement).start
    return [Edit(Span(start, start), f"{targets.format(_text(source, site.place))} = ")]


def _unpacked(source: Source, site: CallSite, *, flat: bool) -> list[Edit] | None:
    """`p = f(h)` as `p, h = f(h)`."""
    if site.target is None or site.place is None or mentions(site.target, site.place):
        return None
    place = _text(source, site.place)
    span = source.span_of(site.target)
    if not isinstance(site.target, (ast.Tuple, ast.List)):
        return [Edit(Span(span.end, span.end), f", {place}")]
    bare = source.text[span.start] not in "(["
    if flat:
        last = source.span_of(site.target.elts[-1]).end
        return [Edit(Span(last, last), f", {place}")]
    opening, closing = ("(", ")") if bare else ("", "")
    return [Edit(Span(span.start, span.start), opening), Edit(Span(span.end, span.end), f"{closing}, {place}")]


def _is_read(source: Source, name: str) -> bool:
    tree = names.tree_of(source)
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load) for n in ast.walk(tree))


def _same_place(a: ast.expr, b: ast.expr) -> bool:
    return (a.lineno, a.col_offset, a.end_col_offset) == (b.lineno, b.col_offset, b.end_col_offset)


def _text(source: Source, node: ast.expr) -> str:
    return source.span_of(node).text(source.text)
