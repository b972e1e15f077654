"""Comments inside a compound statement, for rewrites that put other lines in its place."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

from gradfix.source import Source, Span


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment with its `#`, and the line it stands on (from 1)."""

    text: str
    line: int


def remarks_in(source: Source, span: Span) -> tuple[Remark, ...]:
    """The comments from the start of `span` to the end of its last line, in order."""
    first = source.position(span.start).line
    last = source.position(span.end).line
    return tuple(_remarks(source, first, last))


def _remarks(source: Source, first: int, last: int) -> Iterator[Remark]:
    lines = [source.line_text(line) for line in range(first, last + 1)]
    text = "if 1:\n" + "\n".join(lines) + "\n"  # indented lines are a block of their own
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield Remark(token.string, token.start[0] - 2 + first)
    except (tokenize.TokenError, IndentationError):
        return
