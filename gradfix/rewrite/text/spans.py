"""Edits straight on the text: pieces of it replaced by others, which may hold pieces of the original again."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradfix.edits import Edit
from gradfix.source import Source, Span


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of the text, and what stands in its place."""

    span: Span
    text: Callable[[Rendering], str]


class Rendering:
    """The text with units replaced; a unit inside another is replaced in what the outer one takes over."""

    def __init__(self, source: Source, units: Sequence[Unit]) -> None:
        self._source = source
        self._units = sorted(units, key=lambda unit: (unit.span.start, -unit.span.end))
        self._open: list[Unit] = []

    def edits(self) -> tuple[Edit, ...]:
        """One edit for each unit that is inside no other."""
        return tuple(Edit(unit.span, self._text(unit)) for unit in self._outermost(Span(0, len(self._source.text))))

    def node(self, node: ast.AST) -> str:
        """The text of `node` with the units in it replaced."""
        return self.inside(self._source.span_of(node))

    def inside(self, span: Span) -> str:
        """The text of `span` with the units in it replaced, but for those being replaced already."""
        parts: list[str] = []
        position = span.start
        for unit in self._outermost(span):
            parts += [self._source.text[position : unit.span.start], self._text(unit)]
            position = unit.span.end
        return "".join([*parts, self._source.text[position : span.end]])

    def _text(self, unit: Unit) -> str:
        self._open.append(unit)
        try:
            return unit.text(self)
        finally:
            self._open.pop()

    def _outermost(self, span: Span) -> list[Unit]:
        found: list[Unit] = []
        for unit in self._units:
            inside = span.start <= unit.span.start and unit.span.end <= span.end
            behind = not found or unit.span.start >= found[-1].span.end
            if inside and behind and not any(unit is other for other in self._open):
                found.append(unit)
        return found


def before_block(source: Source, statement: ast.stmt, lines: Sequence[str]) -> Edit:
    """The edit that puts `lines` before a compound statement, which begins its line."""
    position = source.position(source.span_of(statement).start)
    indent = source.line_text(position.line)[: position.column].replace("\f", "")
    newline = source.newline_at(position.line) or source.newline
    start = source.line_span(position.line).start
    return Edit(Span(start, start), "".join(indent + line + newline for line in lines))


def after_block(source: Source, statement: ast.stmt, line: str) -> Edit | None:
    """The edit that puts `line` behind a compound statement and the comments that belong to its body.

    None when another statement stands on its last line.
    """
    span = source.span_of(statement)
    position = source.position(span.start)
    indent = source.line_text(position.line)[: position.column].replace("\f", "")
    last = source.position(span.end).line
    follows = source.text[span.end : source.line_span(last).end].strip()
    if follows and not follows.startswith("#"):
        return None
    newline = source.newline_at(last) or source.newline
    for number in range(last + 1, source.line_count + 1):
        text = source.line_text(number)
        if not text.lstrip().startswith("#") or len(text) - len(text.lstrip()) <= len(indent):
            break
        last = number
    end = source.line_span(last).end
    return Edit(Span(end, end), newline + indent + line)
