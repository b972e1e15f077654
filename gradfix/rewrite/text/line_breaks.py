"""Lines that a rewrite made too long, broken inside brackets as Black breaks them.

A line is too long beyond 88 columns, or beyond the longest line of code that the file has itself.
"""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gradfix import edits as edit_sets
from gradfix import syntax
from gradfix.analysis.text.nodes import every_node
from gradfix.edits import Edit
from gradfix.source import Source

_BLACK = 88
_NAMED = re.compile(r"\*{1,2}|[^\W\d]\w*\s*=(?!=)\s*")
_STATEMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr)


def broken(source: Source, edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """`edits`, with the statements they make too long for one line broken over several."""
    limit = _limit(source.text)
    if (
        not edits
        or edits[-1].span.end > len(source.text)
        or not any(_may_be_long(source, edit, limit) for edit in edits)
    ):
        return tuple(edits)
    made = Source(source.path, edit_sets.apply(source.text, edits), source.encoding, source.bom)
    breaks: dict[int, Edit] = {}
    long = [line for line in _touched(made, edits) if len(made.line_span(line)) > limit]
    whole = _whole_lines(source, made, edits) if long else frozenset()
    for line in long:
        if line in whole:
            span = made.line_span(line)
            lines = _broken_line(span.text(made.text), limit)
            newline = made.newline_at(line) or made.newline
            breaks[line] = Edit(span, newline.join(lines))
    return edit_sets.compose(source.text, edits, breaks.values()) if breaks else tuple(edits)


@lru_cache(maxsize=1)
def _limit(text: str) -> int:
    lines = (line.rstrip() for line in text.splitlines())
    code = (len(line) for line in lines if not line.lstrip().startswith("#") and '"' not in line and "'" not in line)
    return max(_BLACK, max(code, default=0))


def _may_be_long(source: Source, edit: Edit, limit: int) -> bool:
    """A quick look; other edits of the same line count as if they were as long."""
    line = source.line_text(source.position(edit.span.start).line)
    return len(line) + 2 * max(map(len, edit.text.split("\n"))) > limit


def _touched(made: Source, edits: Sequence[Edit]) -> Iterator[int]:
    grown = 0
    for edit in edits:
        start = edit.span.start + grown
        grown += len(edit.text) - len(edit.span)
        yield from range(made.position(start).line, made.position(start + len(edit.text)).line + 1)


def _whole_lines(source: Source, made: Source, edits: Sequence[Edit]) -> frozenset[int]:
    """The lines of `made` in which a whole statement stands: a line inside its brackets may look like one.

    What an edit makes of such a line is looked at alone, else the whole text.
    """
    known, seen, found, grown = _statement_lines(source.text), set[int](), set[int](), 0
    for edit in edits:
        start = edit.span.start + grown
        grown += len(edit.text) - len(edit.span)
        line = source.position(edit.span.start).line
        if line in seen or line not in known or source.position(edit.span.end).line != line:
            return _statement_lines(made.text)
        seen.add(line)
        first, last = (made.position(at).line for at in (start, start + len(edit.text)))
        text = made.text[made.line_span(first).start : made.line_span(last).end]
        lines = _statement_lines(textwrap.dedent(text))
        if not lines:  # a line behind the end of a block is no text of its own with what stands in that block
            return _statement_lines(made.text)
        found |= {first - 1 + number for number in lines}
    return frozenset(found)


@lru_cache(maxsize=4)
def _statement_lines(text: str) -> frozenset[int]:
    """Lines with a statement of their own; none in what can't be parsed."""
    try:
        tree = syntax.tree_of(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    return frozenset(
        node.lineno for node in every_node(tree) if isinstance(node, _STATEMENTS) and node.lineno == node.end_lineno
    )


def _broken_line(line: str, limit: int) -> list[str]:
    """The lines of a simple statement; `line` alone where it isn't a whole one, or nothing in it can be broken."""
    indent = line[: len(line) - len(line.lstrip())]
    code, comment = _without_comment(line.strip())
    try:
        statements = ast.parse(code).body
    except SyntaxError:
        return [line]
    value = getattr(statements[0], "value", None) if len(statements) == 1 else None
    if not isinstance(statements[0], _STATEMENTS) or value is None:
        return [line]
    start, end = _span(code, value)
    lines = _Breaker(limit).lines(indent, code[:start], code[start:end], code[end:])
    return [*lines[:-1], lines[-1] + comment] if _is_same(textwrap.dedent("\n".join(lines)), code) else [line]


def _is_same(text: str, code: str) -> bool:
    try:
        return ast.dump(ast.parse(text)) == ast.dump(ast.parse(code))
    except SyntaxError:
        return False


def _without_comment(code: str) -> tuple[str, str]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.COMMENT:
                kept = code[: token.start[1]].rstrip()
                return kept, code[len(kept) :]
    except tokenize.TokenError:
        pass
    return code, ""


@dataclass(frozen=True, slots=True)
class _Breaker:
    """Breaks expressions; `before` and `after` are what stands on their lines before and behind them."""

    limit: int

    def lines(self, indent: str, before: str, text: str, after: str, *, inside: bool = False) -> list[str]:
        """The expression in one line where it fits, else in several; `inside` brackets it needs none of its own."""
        whole = indent + before + text + after
        if len(whole) <= self.limit:
            return [whole]
        node = _parsed(text)
        if before.endswith("(") and after.startswith(")"):
            before, after = before[:-1], after[1:]
        elif not (inside and isinstance(node, ast.BinOp)) and (call := _last_call(node)) is not None:
            opening = text.index("(", _span(text, call.func)[1]) + 1
            if text[opening:-1].strip() and len(indent + before + text[:opening]) <= self.limit:
                return self._bracket(indent, before + text[:opening], text[opening:-1].strip(), ")" + after)
        elif isinstance(node, ast.List) and node.elts:
            return self._bracket(indent, before + "[", text[1:-1].strip().removesuffix(","), "]" + after)
        pieces = _pieces(text, node)
        if inside:
            pieces[0] = before + pieces[0]
            pieces[-1] += after
            return [indent + piece for piece in pieces]
        if node is None or isinstance(node, (ast.Constant, ast.Name, ast.JoinedStr)):
            return [whole]
        deeper = indent + _unit(indent)
        inner = [text] if len(deeper + text) <= self.limit else pieces
        return [f"{indent}{before}(", *(deeper + piece for piece in inner), f"{indent}){after}"]

    def _bracket(self, indent: str, before: str, items: str, after: str) -> list[str]:
        """Arguments or items in a line of their own, or else in one each."""
        deeper = indent + _unit(indent)
        inner = [deeper + items]
        parts = _parts(items)
        if len(inner[0]) > self.limit and not isinstance(_parsed(parts[0][1]), ast.GeneratorExp):
            comma = "," if len(parts) > 1 else ""
            inner = [line for name, part in parts for line in self.lines(deeper, name, part, comma, inside=True)]
        return [indent + before, *inner, indent + after]


def _last_call(node: ast.expr | None) -> ast.Call | None:
    """The call whose brackets end the expression; None where Black breaks at operators or dots instead."""
    if isinstance(node, ast.BinOp):
        weaker = (part for part in (node.left, node.right) if isinstance(part, ast.BinOp))
        return None if any(_strength(part.op) <= _strength(node.op) for part in weaker) else _last_call(node.right)
    if not isinstance(node, ast.Call):
        return None
    receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
    return None if isinstance(receiver, ast.Call) else node


def _pieces(text: str, node: ast.expr | None) -> list[str]:
    """`a + b` as terms that begin with their operators, `a.b(c).d(e)` as calls that begin with their dots.

    `a if b else c` as three parts.
    """
    cuts: list[int] = []
    left = node
    if isinstance(node, ast.IfExp):
        gaps = ((node.body, node.test, "if"), (node.test, node.orelse, "else"))
        cuts = [text.rindex(word, _span(text, a)[1], _span(text, b)[0]) for a, b, word in gaps]
    if isinstance(node, ast.BinOp):
        while isinstance(left, ast.BinOp) and _strength(left.op) == _strength(node.op):
            end, right = _span(text, left.left)[1], _span(text, left.right)[0]
            cuts.insert(0, next((i for i in range(end, right) if text[i] not in " )"), end))
            left = left.left
    while isinstance(left, ast.Call) and isinstance(left.func, ast.Attribute) and not isinstance(node, ast.BinOp):
        left = left.func.value
        end = _span(text, left)[1]
        if isinstance(left, (ast.Call, ast.BinOp)):
            cuts.insert(0, text.index(".", end))
    return [text[a:b].strip() for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _parts(arguments: str) -> list[tuple[str, str]]:
    """What stands before each argument (`dim=`, `*`), and the argument."""
    depth, start, found = 0, 0, []
    for token in tokenize.generate_tokens(io.StringIO(arguments).readline):
        depth += (token.string in "([{") - (token.string in ")]}") if token.type == tokenize.OP else 0
        if token.string == "," and depth == 0:
            found.append(arguments[start : token.start[1]].strip())
            start = token.end[1]
    pieces = [piece for piece in (*found, arguments[start:].strip()) if piece]
    return [(piece[:cut], piece[cut:]) for piece in pieces for cut in [_named(piece)]]


def _named(argument: str) -> int:
    found = _NAMED.match(argument)
    return 0 if found is None else found.end()


def _strength(operator: ast.operator) -> int:
    return {ast.Add: 1, ast.Sub: 1, ast.BitOr: -1, ast.BitAnd: 0}.get(type(operator), 2)


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return None


def _unit(indent: str) -> str:
    return "\t" if indent.endswith("\t") else "    "


def _span(text: str, node: ast.expr) -> tuple[int, int]:
    """Where a node stands in a text of one line, in characters."""
    raw = text.encode()
    return len(raw[: node.col_offset].decode()), len(raw[: node.end_col_offset].decode())
