"""What can tell a new tensor from the old one, though nobody else holds the old one.

A write in place may raise where the form out of place goes on (`y += v` of a larger `v`), and then a handler goes on
with the old tensor. A value that is being returned while `finally` writes to it has no name any more. A tensor may have
attributes of its own, or be asked where it lies in memory. And an assignment may run code (`__setattr__`) where a write
runs none, and leave a buffer behind in what `state_dict` gave.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache

from gradfix.analysis.facts import ValueKind, Write
from gradfix.rewrite.grounds.dtypes import is_floating
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import mentions
from gradfix.source import Source

_TRIES = (ast.Try, *((ast.TryStar,) if hasattr(ast, "TryStar") else ()))
_LISTING = re.compile(r"\.(?:state_dict|buffers|named_buffers)\(")
_OF_MEMORY = frozenset({"data_ptr", "storage", "untyped_storage", "storage_offset", "as_strided", "stride"})
_OF_TENSORS = frozenset({"grad", "data", "requires_grad", "names", "real", "imag", "shape"})  # that can be assigned


@dataclass(frozen=True, slots=True)
class _Telling:
    """What of a module matters here, found in one walk."""

    tries: tuple[ast.Try, ...]
    methods: frozenset[str]  # those defined that assignments run
    asked: dict[str, list[int]]  # what is asked for its own attributes or its memory, as spelled -> the lines


def tells(source: Source, write: Write, place: ast.expr, *, lenient: bool) -> bool:
    """Whether something in the function around `write` may show that `place` was given a new tensor.

    `lenient`: the form takes values that the write refuses.
    """
    found = _telling(source)
    around = [node for node in found.tries if _is_in([node], write.statement)]
    if lenient and not _never_raises(write) and any(n.handlers and _is_in(n.body, write.statement) for n in around):
        return True
    if any(_is_in(node.finalbody, write.statement) and _returns(node, place) for node in around):
        return True
    if _runs_code(found, place) or (isinstance(place, ast.Attribute) and _is_listed(source.text, place.attr)):
        return True
    lines = found.asked.get(ast.unparse(place), ())
    if not lines:
        return False
    scope = names.scope_of(source, write.statement)
    first, last = getattr(scope, "lineno", 0), getattr(scope, "end_lineno", None)
    return any(first <= line and (last is None or line <= last) for line in lines)


def _telling(source: Source) -> _Telling:
    return _of_text(source.text, names.tree_of(source))


@lru_cache(maxsize=1)
def _of_text(text: str, tree: ast.Module) -> _Telling:
    tries: list[ast.Try] = []
    asked: dict[str, list[int]] = {}
    methods: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, _TRIES):
            tries.append(node)
        elif isinstance(node, ast.Attribute) and _asks(node):
            asked.setdefault(ast.unparse(node.value), []).append(node.lineno)
        elif isinstance(node, ast.FunctionDef) and node.name in ("__setattr__", "__setitem__"):
            methods.add(node.name)
    return _Telling(tuple(tries), frozenset(methods), asked)


def _runs_code(found: _Telling, place: ast.expr) -> bool:
    """Whether a class of the file sees to assignments itself, and `place` may be of one of its objects."""
    kind = {ast.Attribute: "__setattr__", ast.Subscript: "__setitem__"}.get(type(place))
    return kind in found.methods


def _is_listed(text: str, name: str) -> bool:
    """Whether it is a buffer, and something of the file lists those of a module, in their memory."""
    return _LISTING.search(text) is not None and re.search(rf"register_buffer\(\s*[\"']{name}[\"']", text) is not None


def _asks(node: ast.Attribute) -> bool:
    return node.attr in _OF_MEMORY if isinstance(node.ctx, ast.Load) else node.attr not in _OF_TENSORS


def _never_raises(write: Write) -> bool:
    """Numbers fit floating tensors of every shape."""
    return write.written.kind in (ValueKind.NUMBER, ValueKind.NOTHING) and is_floating(write.tensor)


def _is_in(block: list[ast.stmt], statement: ast.stmt) -> bool:
    place = (statement.lineno, statement.col_offset)
    return any(
        (node.lineno, node.col_offset) <= place < (node.end_lineno or 0, node.end_col_offset or 0) for node in block
    )


def _returns(node: ast.Try, place: ast.expr) -> bool:
    """Whether `place` itself, or part of it, is on its way out when `finally` runs."""
    ways = [*node.body, *node.handlers, *node.orelse]
    inner = (found for way in ways for found in ast.walk(way) if isinstance(found, ast.Return))
    return any(found.value is not None and mentions(found.value, place) for found in inner)
