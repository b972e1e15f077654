"""The verb `join_pieces`: a buffer whose slots or slices are written one after the other is made of them at once."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import partial

from gradfix.analysis.facts import FilledBlock, Piece, Spelling, ValueKind
from gradfix.analysis.text.slot_shapes import operands
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.buffers.lists import place_returned
from gradfix.rewrite.buffers.slots import clones
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import is_effectless
from gradfix.rewrite.text.numbers import spread
from gradfix.rewrite.text.pieces import has_comment
from gradfix.rewrite.text.spans import Rendering, Unit
from gradfix.rewrite.writes import obstacles
from gradfix.source import Source, Span

_ATOMS = (ast.Name, ast.Attribute, ast.Subscript, ast.Call)
_FORM = "stack"
_COLUMNS = 88
_BY_HAND = "name the parts, and join them by hand"


def join_pieces(source: Source, block: FilledBlock, spelling: Spelling) -> tuple[Rewrite, ...] | Refusal:
    """The way to join the pieces of `block`; or why there is none."""
    if not names.can_spell_torch(spelling):
        return Refusal(
            RefusalKind.SPELLING, "torch isn't imported here, and there is no place to import it", "import torch first"
        )
    for piece in block.pieces:
        if (found := obstacles.refusal(source, piece.write)) is not None:
            return found
        if obstacles.applicability(piece.write) is not Applicability.SAFE:
            return Refusal(RefusalKind.HELD, f"somebody else may hold `{block.name}`", _BY_HAND)
        if not sites.site_of(source, piece.write.statement).is_alone:
            return Refusal(
                RefusalKind.SPELLING, "a write shares its line with another statement", "put it on a line of its own"
            )
    if _may_change(block, spelling):
        return Refusal(
            RefusalKind.ORDER, "what is written may be a view of what changes before the last write", _BY_HAND
        )
    title = f"Make `{block.name}` of its parts at once, with `{_function(block)}`"
    build = partial(_build, block=block, spelling=spelling)
    made = [Rewrite(title, Applicability.SAFE, partial(build, plain=False), _FORM)]
    if not all(piece.is_alike for piece in block.pieces):
        title += ", taking each to have its dtype"
        made.append(Rewrite(title, Applicability.UNSAFE, partial(build, plain=True), _FORM))
    return (*made, *clones(source, block.name, [piece.write for piece in block.pieces], spelling))


def _may_change(block: FilledBlock, spelling: Spelling) -> bool:
    """Whether a value may be a view of something that code unknown runs over before the values are joined."""
    for piece in block.pieces:
        value = _value(piece)
        own = isinstance(value, (ast.BinOp, ast.UnaryOp, ast.Constant)) or bool(operands(value))
        behind = (s for s in block.between if s.lineno > piece.write.statement.lineno)
        if not own and not all(is_effectless(statement, spelling) for statement in behind):
            return True
    return False


def _function(block: FilledBlock) -> str:
    return "stack" if all(piece.is_slot for piece in block.pieces) else "cat"


def _build(source: Source, *, block: FilledBlock, spelling: Spelling, plain: bool) -> tuple[Edit, ...] | Refusal:
    joiner = _Joiner(source, block, spelling, plain=plain)
    edits = Rendering(source, [*joiner.units(), *joiner.dropped()]).edits()
    return (*edits, *names.import_torch(source, spelling, " ".join(edit.text for edit in edits)))


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece, and the name its value gets; None where it goes into the call as it is."""

    piece: Piece
    name: str | None


class _Joiner:
    """One build: which values get names, and what stands in the place of each write."""

    def __init__(self, source: Source, block: FilledBlock, spelling: Spelling, *, plain: bool) -> None:
        self._plain = plain  # dtype and device are taken to be those of the buffer
        self._source = source
        self._block = block
        self._spelling = spelling
        self._writes = sorted(block.pieces, key=lambda piece: piece.write.statement.lineno)
        inline = self._inline()
        self._parts = [
            _Part(piece, None if any(piece is other for other in inline) else self._name(number))
            for number, piece in enumerate(block.pieces)
        ]
        self._returned = self._return()

    def _return(self) -> ast.Name | None:
        """Where the tensor of all pieces goes into the statement that returns it, right behind the last write."""
        last = self._writes[-1]
        found = place_returned(self._source, last.write.statement, self._block.name, self._spelling)
        if found is None or self._has_comment(last, is_last=False):
            return None
        return found.name if found.is_all or self._width(found.name) <= _COLUMNS else None

    def _width(self, returned: ast.Name) -> int:
        """About as many columns as the line of `returned` takes with the call in it."""
        texts = [part.name or self._text(_value(part.piece)) for part in self._parts]
        inline = [part.piece for part in self._parts if part.name is None]
        cast = sum(len(f"().to({self._block.kind or self._block.name})") * (not p.is_alike) for p in inline)
        reshaped = sum(len(".reshape(())") * (not piece.has_shape) for piece in inline)
        joined = f"torch.{_function(self._block)}([{', '.join(texts)}], dim={self._block.axis})"
        return len(self._source.line_text(returned.lineno)) + len(joined) + cast + reshaped

    def _name(self, number: int) -> str:
        return names.fresh(self._source, f"{self._block.name}_{number}", f"{self._block.name}_part{number}")

    def _inline(self) -> list[Piece]:
        """The last writes, as far as nothing stands between them and their values may be computed in order of slots."""
        found: list[Piece] = []
        following = list(self._block.between)
        read = {number for _, number in self._block.reads}
        for piece in reversed(self._writes):
            number = self._number(piece)
            if not following or following[-1] is not piece.write.statement or (found and number in read):
                break
            ordered = all(number < self._number(other) for other in found)
            effectless = all(is_effectless(_value(other), self._spelling) for other in (piece, *found))
            if (not ordered and not effectless) or self._has_comment(piece, is_last=not found):
                break
            found.append(piece)
            following.pop()
        return found

    def _has_comment(self, piece: Piece, *, is_last: bool) -> bool:
        """In the value, or behind a statement that would go."""
        span = self._source.span_of(piece.write.statement)
        end = span.end if is_last else self._source.line_span(self._source.position(span.end).line).end
        return has_comment(self._source, Span(span.start, end))

    def _number(self, piece: Piece) -> int:
        return next(i for i, other in enumerate(self._block.pieces) if other is piece)

    def units(self) -> list[Unit]:
        """What stands for each write and each read."""
        found = [self._read(node, number) for node, number in self._block.reads]
        last = self._writes[-1]
        for part in self._parts:
            statement = part.piece.write.statement
            span = self._source.span_of(statement)
            if part.piece is last and self._returned is None:
                found.append(Unit(span, self._assigned))
            elif part.name is not None:
                found.append(Unit(span, partial(self._named, part)))
        if self._returned is not None:
            found.append(Unit(self._source.span_of(self._returned), self._joined))
        return found

    def _read(self, node: ast.Subscript, number: int) -> Unit:
        name = self._parts[number].name
        assert name is not None
        return Unit(self._source.span_of(node), lambda render: name)

    def _named(self, part: _Part, render: Rendering) -> str:
        return f"{part.name} = {self._value(part.piece, render)}"

    def _joined(self, render: Rendering) -> str:
        parts = [self._item(part, render) for part in self._parts]
        axis = f", dim={self._block.axis}" if self._block.axis else ""
        return f"{names.torch_name(self._spelling, _function(self._block))}([{', '.join(parts)}]{axis})"

    def _assigned(self, render: Rendering) -> str:
        assigned = f"{self._block.name} = {self._joined(render)}"
        last = next(part for part in self._parts if part.piece is self._writes[-1])
        if last.name is None:
            return assigned
        separator = sites.site_of(self._source, last.piece.write.statement).separator
        return f"{self._named(last, render)}{separator}{assigned}"

    def _item(self, part: _Part, render: Rendering) -> str:
        mixed = part.piece.is_slot and _function(self._block) == "cat"
        suffix = f".unsqueeze({self._block.axis})" if mixed else ""
        return self._value(part.piece, render, suffix) if part.name is None else part.name + suffix

    def _value(self, piece: Piece, render: Rendering, suffix: str = "") -> str:
        """The value as a slot or a slice."""
        node = _value(piece)
        text = render.node(node)
        if piece.write.written.kind is ValueKind.NUMBER:
            return spread(self._spelling, self._text(_target(piece)), node, text) + suffix
        if not piece.has_shape:
            suffix = f".reshape(()){suffix}"
        if not piece.is_alike and not self._plain:
            suffix = f".to({self._block.kind or self._block.name}){suffix}"
        broken = "\n" in text and not (isinstance(node, ast.Call) and "\n" not in self._text(node.func))
        is_bare = not broken and (isinstance(node, _ATOMS) or not suffix)
        return (text if is_bare else f"({text})") + suffix

    def _text(self, node: ast.AST) -> str:
        return self._source.span_of(node).text(self._source.text)

    def dropped(self) -> list[Unit]:
        """The lines whose values went into the call, and the one that makes the buffer where nobody needs it."""
        last = self._writes[-1]
        gone = [part.piece for part in self._parts if part.name is None]
        inlined = [p.write.statement for p in gone if p is not last or self._returned is not None]
        if not self._needs_buffer():
            inlined.append(self._block.created)
        return [Unit(self._lines(statement), lambda render: "") for statement in inlined]

    def _needs_buffer(self) -> bool:
        numbers = any(piece.write.written.kind is ValueKind.NUMBER for piece in self._block.pieces)
        span = self._source.span_of(self._block.created)
        first, last = self._source.position(span.start).line, self._source.position(span.end).line
        before = self._source.text[self._source.line_span(first).start : span.start]
        after = self._source.text[span.end : self._source.line_span(last).end]
        stays = bool(before.strip() or after.strip()) or not is_effectless(self._block.created, self._spelling)
        return (
            numbers
            or stays
            or self._block.reads_metadata
            or not (self._plain or self._block.kind or all(p.is_alike for p in self._block.pieces))
        )

    def _lines(self, statement: ast.stmt) -> Span:
        span = self._source.span_of(statement)
        first, last = self._source.position(span.start).line, self._source.position(span.end).line
        start, end = self._source.line_span(first).start, self._source.line_span(last).end
        return Span(start, end + len(self._source.newline_at(last)))


def _value(piece: Piece) -> ast.expr:
    assert isinstance(piece.write.node, ast.Assign)
    return piece.write.node.value


def _target(piece: Piece) -> ast.expr:
    assert isinstance(piece.write.node, ast.Assign)
    return piece.write.node.targets[0]
