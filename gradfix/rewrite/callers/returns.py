"""What a function returns, and how it comes to return one of its parameters as well."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from gradfix.analysis.facts import Spelling
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.callers.definitions import Definition
from gradfix.rewrite.grounds.places import root_of
from gradfix.rewrite.text import names
from gradfix.rewrite.text.sites import site_of
from gradfix.rewrite.text.spans import after_block
from gradfix.source import Source, Span

_SHARED_LINE = Refusal(
    RefusalKind.SPELLING,
    "the end of the function shares its line with something else",
    "return the changed tensor by hand",
)


@dataclass(frozen=True, slots=True)
class Returned:
    """The statements by which a function comes to its end, all of one kind."""

    statements: tuple[ast.Return, ...]
    falls_through: bool  # the end of the body is reached
    nothing: bool  # none returns a value
    width: int | None  # of the tuples written out that all of them return
    at: int | None  # where in the tuple the parameter stands already; 0 where it is all that is returned

    @property
    def is_itself(self) -> bool:
        """Whether the parameter, and nothing else, is returned already."""
        return self.at == 0 and self.width is None


def returned_by(definition: Definition, name: str) -> Returned | None:
    """What the function returns; None for a generator, where some ways out have a value and others have none, and where
    a `finally` runs between what is returned and the end."""
    own = list(_own(definition.node))
    if any(isinstance(node, (ast.Yield, ast.YieldFrom)) or _returns_early(node) for node in own):
        return None
    statements = tuple(node for node in own if isinstance(node, ast.Return))
    values = [s.value for s in statements if s.value is not None and not _is_none(s.value)]
    through = _falls_through(definition.node.body)
    if not values:
        return Returned(statements, through, True, None, None)
    if through or len(values) < len(statements):
        return None
    if all(_stands_for(value, name) for value in values):
        return Returned(statements, through, False, None, 0)
    widths = {len(v.elts) if isinstance(v, ast.Tuple) and not _is_starred(v) else None for v in values}
    width = widths.pop() if len(widths) == 1 else None
    at = None
    if width is not None:
        places = (p for p in range(width) if all(_stands_for(v.elts[p], name) for v in values))  # type: ignore[attr-defined]  # tuples
        at = next(places, None)
    return Returned(statements, through, False, width, at)


def binds_only_in_place(definition: Definition, name: str, write: ast.stmt) -> bool:
    """Whether the parameter stands for what was handed over, in place or not, to the end of the function."""
    inside = list(ast.walk(definition.node))
    nested = (node for node in inside[1:] if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))
    if any(_is_name(node, name) for function in nested for node in ast.walk(function)):
        return False
    kept = [node.target for node in inside if isinstance(node, ast.AugAssign) and not isinstance(node.op, ast.MatMult)]
    if isinstance(write, ast.Assign) and _stands_for(write.value, name):
        kept += [target for target in write.targets if isinstance(target, ast.Name)]
    places = {(target.lineno, target.col_offset) for target in kept}
    bound = [n for n in inside if isinstance(n, ast.Name) and n.id == name and not isinstance(n.ctx, ast.Load)]
    return all((node.lineno, node.col_offset) in places for node in bound)


def edits_of_returns(
    source: Source, definition: Definition, name: str, returned: Returned, spelling: Spelling, *, flat: bool
) -> list[Edit] | Refusal:
    """The edits after which every way out returns the parameter, too."""
    edits: list[Edit] = []
    if returned.at is not None:
        return edits
    for statement in returned.statements:
        span = source.span_of(statement)
        if returned.nothing:
            edits.append(Edit(span, f"return {name}"))
            continue
        assert statement.value is not None
        value = source.span_of(statement.value)
        if isinstance(statement.value, ast.Tuple) and not flat and source.text[value.start] != "(":
            edits += [Edit(Span(value.start, value.start), "("), Edit(Span(value.end, value.end), f"), {name}")]
        elif isinstance(statement.value, ast.Tuple) and flat and source.text[value.end - 1] == ")":
            last = source.span_of(statement.value.elts[-1]).end
            edits.append(Edit(Span(last, last), f", {name}"))
        else:
            edits.append(Edit(Span(span.end, span.end), f", {name}"))
    if returned.falls_through:
        last_edit = _at_end(source, definition.node.body[-1], f"return {name}")
        if last_edit is None:
            return _SHARED_LINE
        edits.append(last_edit)
    return edits + _annotation(source, definition, name, returned, spelling, flat=flat)


def _at_end(source: Source, last: ast.stmt, line: str) -> Edit | None:
    site = site_of(source, last)
    if not hasattr(last, "body") and not site.is_alone:
        return Edit(Span(site.span.end, site.span.end), f"; {line}")
    return after_block(source, last, line)


def _annotation(
    source: Source, definition: Definition, name: str, returned: Returned, spelling: Spelling, *, flat: bool
) -> list[Edit]:
    """The edit of `-> None`, or of whatever the function is said to return."""
    promised, parameter = definition.node.returns, definition.parameter(name)
    if promised is None or parameter is None:
        return []
    one = names.torch_name(spelling, "Tensor")
    if parameter.annotation is not None:
        one = source.span_of(parameter.annotation).text(source.text)
    span = source.span_of(promised)
    text = span.text(source.text)
    if returned.nothing:
        return [Edit(span, one)]
    if flat and isinstance(promised, ast.Subscript) and ast.unparse(promised.value) in ("tuple", "Tuple"):
        return [Edit(Span(span.end - 1, span.end - 1), f", {one}")]
    return [Edit(span, f"tuple[{text}, {one}]")]


def _own(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions and classes in it."""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting = [*ast.iter_child_nodes(node), *waiting]


def _returns_early(node: ast.AST) -> bool:
    """Whether something in `node` is returned before the last statements of `node` run."""
    if not isinstance(node, ast.Try) or not node.finalbody:
        return False
    return any(isinstance(inner, ast.Return) for inner in ast.walk(node))


def _falls_through(body: list[ast.stmt]) -> bool:
    """Whether the end of the block may be reached; True where that can't be told."""
    last = body[-1]
    if isinstance(last, (ast.Return, ast.Raise)):
        return False
    if isinstance(last, ast.If):
        return not last.orelse or _falls_through(last.body) or _falls_through(last.orelse)
    if isinstance(last, ast.With):
        return _falls_through(last.body)
    return True


def _stands_for(value: ast.expr, name: str) -> bool:
    """`v`, or a chain of writing calls on it, which returns it."""
    return _is_name(root_of(value), name)


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_starred(node: ast.Tuple) -> bool:
    return any(isinstance(item, ast.Starred) for item in node.elts)
