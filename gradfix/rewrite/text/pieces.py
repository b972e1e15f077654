"""Pieces of the original text: an expression fit for another place, and edits that leave the rest as it is."""

from __future__ import annotations

import ast
import keyword
import re

from gradfix.edits import Edit
from gradfix.source import Source, Span

_WORD = re.compile(r"[\w)\]]+\Z")
_ATOMS = (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.List, ast.ListComp)


def text_of(source: Source, node: ast.AST) -> str:
    """The text of `node` as it stands."""
    return source.span_of(node).text(source.text)


def atom(source: Source, node: ast.expr) -> str:
    """`node` fit for any place: in parentheses unless it is one anyway. They also hold its line breaks together."""
    text = text_of(source, node)
    return text if isinstance(node, _ATOMS) else f"({text})"


def has_comment(source: Source, span: Span) -> bool:
    """Whether a comment may stand in the span; a `#` in a string counts."""
    return "#" in span.text(source.text)


def instead(source: Source, node: ast.AST, text: str) -> Edit:
    """The edit that puts `text` in the place of `node`."""
    return Edit(source.span_of(node), text)


def without_call(source: Source, attribute: ast.Attribute, outer: ast.expr, text: str = "") -> Edit:
    """The edit that puts `text` in the place of `.item()` of `loss.item()`; `outer` is the call or `attribute`."""
    start = source.text.rindex(".", source.span_of(attribute.value).end, source.span_of(attribute).end)
    kept = source.text[:start].rstrip(" \t\r\n\\")
    return Edit(Span(len(kept), source.span_of(outer).end), text)


def is_parenthesised(source: Source, node: ast.expr) -> bool:
    """Whether parentheses of its own stand around `node`, rather than those of a call."""
    span = source.span_of(node)
    before, after = source.text[: span.start].rstrip(), source.text[span.end :].lstrip()
    if not before.endswith("(") or not after.startswith(")"):
        return False
    word = _WORD.search(before[:-1].rstrip())
    return word is None or keyword.iskeyword(word[0])
