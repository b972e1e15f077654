"""Builds the list of a buffer that a loop fills from end to end: a comprehension, or `append` in the loop."""

from __future__ import annotations

import ast

from gradfix.analysis.facts import FilledBuffer, Filling, SlotWrite, Spelling
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.buffers.fitting import AS_IT_IS, COPIED, NUMBER, OWN_MEMORY, Fit, fit_of
from gradfix.rewrite.buffers.lists import is_annotated, sealed
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import is_effectless
from gradfix.rewrite.text.numbers import spread
from gradfix.rewrite.text.spans import Rendering, Unit, before_block
from gradfix.source import Source, Span

WIDTH = 100  # columns that a comprehension may take
_NOT_INSIDE = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)  # a comprehension is a scope of its own
_SCOPE_BOUND = frozenset({"super", "locals", "eval", "exec", "vars", "dir"})


def build(
    source: Source, *, buffer: FilledBuffer, filling: Filling, spelling: Spelling, plain: bool
) -> tuple[Edit, ...] | Refusal:
    """The edits that collect the values of the loop and stack them."""
    collector = _Collector(source, buffer, filling, spelling, plain=plain)
    edits = collector.comprehension() or collector.appended()
    if edits is None:
        return Refusal(
            RefusalKind.SPELLING, "the loop shares its last line with another statement", "put it on lines of its own"
        )
    return (*edits, *names.import_torch(source, spelling, " ".join(edit.text for edit in edits)))


class _Collector:
    """One build: the value of each round, and what is made of them."""

    def __init__(
        self, source: Source, buffer: FilledBuffer, filling: Filling, spelling: Spelling, *, plain: bool
    ) -> None:
        self._source = source
        self._buffer = buffer
        self._filling = filling
        self._written: SlotWrite = buffer.writes[0]
        fit = fit_of(buffer, self._written)
        self._fit = AS_IT_IS if plain and fit != NUMBER else fit
        self._name = buffer.name.id
        self._stack = names.torch_name(spelling, "stack")
        self._spelling = spelling
        node = self._written.write.node
        assert isinstance(node, ast.Assign)
        self._value = node.value

    @property
    def _droppable(self) -> ast.stmt | None:
        """The statement that made the buffer, where the result needs nothing of it and making it has no effect."""
        made = self._filling.created
        needs_buffer = self._fit not in (AS_IT_IS, Fit(COPIED)) or not self._buffer.has_slots
        return None if needs_buffer or made is None or not is_effectless(made, self._spelling) else made

    def comprehension(self) -> tuple[Edit, ...] | None:
        """`out = torch.stack([e for i in range(n)])`; None where it wouldn't be as clear as the loop."""
        loop = self._filling.loop
        span = self._source.span_of(loop)
        text = span.text(self._source.text)
        single = self._filling.is_single and not self._filling.leaves_target and self._buffer.has_slots
        if not single or "#" in text or self._fit == OWN_MEMORY or not self._fits_comprehension():
            return None
        source = self._source.span_of(loop.iter).text(self._source.text)
        target = self._source.span_of(loop.target).text(self._source.text)
        line = f"{self._name} = " + self._stacked(f"[{self._element()} for {target} in {source}]")
        position = self._source.position(span.start)
        if "\n" in line or "\r" in line or position.column + len(line) > WIDTH or self._has_tail(span):
            return None
        dropped = self._drop()
        return None if dropped is None else (*dropped, Edit(span, line))

    def _has_tail(self, span: Span) -> bool:
        last = self._source.position(span.end).line
        return bool(self._source.text[span.end : self._source.line_span(last).end].strip())

    def _fits_comprehension(self) -> bool:
        nodes = [*ast.walk(self._value), *ast.walk(self._filling.loop.iter)]
        calls = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
        bound = any(isinstance(node, _NOT_INSIDE) for node in nodes) or not calls.isdisjoint(_SCOPE_BOUND)
        return not bound and not isinstance(self._value, (ast.Starred, ast.Tuple))

    def _drop(self) -> tuple[Edit, ...] | None:
        """The edit that takes away the line that made the buffer; None where something else stands on it."""
        statement = self._droppable
        if statement is None:
            return ()
        edit = sites.removed(self._source, statement)
        return None if edit is None else (edit,)

    def _element(self) -> str:
        """The value as a slot."""
        text = self._source.span_of(self._value).text(self._source.text)
        if self._fit == NUMBER:
            return spread(self._spelling, self._slot(), self._value, text)
        if self._fit == AS_IT_IS:
            return text
        atomic = isinstance(self._value, (ast.Name, ast.Attribute, ast.Subscript, ast.Call))
        return (text if atomic else f"({text})") + self._fit.suffix(self._name, self._slot())

    def _slot(self) -> str:
        return self._source.span_of(self._written.access.node).text(self._source.text)

    def _stacked(self, values: str) -> str:
        order = "[::-1]" if self._filling.backwards else ""
        axis = self._buffer.axes[0]
        return f"{self._stack}({values}{order}{'' if axis == 0 else f', dim={axis}'})"

    def appended(self) -> tuple[Edit, ...] | None:
        """An empty list before the loop, `append` in it, `torch.stack` after it."""
        made = self._droppable
        own = made is not None and not is_annotated(self._source, self._filling.loop)
        values = self._name if own else names.list_name(self._source, self._name, "list")
        whole = self._stacked(values)
        if not self._buffer.has_slots:
            whole = f"{whole} if {values} else {self._name}"
        end = sealed(self._source, self._filling.loop, self._name, whole, self._spelling)
        if end is None:
            return None
        opened = f"{values} = []"
        if made is None:
            start = before_block(self._source, self._filling.loop, [opened])
        else:
            start = Edit(self._source.span_of(made), opened)
        span = self._source.span_of(self._written.write.statement)
        unit = Unit(span, lambda render: self._append(values, render))
        return (start, *Rendering(self._source, [unit]).edits(), *end)

    def _append(self, values: str, render: Rendering) -> str:
        if self._fit != OWN_MEMORY:
            return f"{values}.append({self._element()})"
        own = names.fresh(self._source, f"{self._name}_slot", f"new_{self._name}_slot")
        empty_like = names.torch_name(self._spelling, "empty_like")
        statement = self._written.write.statement
        assert isinstance(statement, ast.Assign)
        target = self._source.span_of(statement.targets[0])
        rest = Span(target.end, self._source.span_of(statement).end).text(self._source.text)
        separator = sites.site_of(self._source, statement).separator
        lines = [f"{own} = {empty_like}({self._slot()})", f"{own}[...]{rest}", f"{values}.append({own})"]
        return separator.join(lines)
