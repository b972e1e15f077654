"""What LibCST survives: sizes of a statement, measured on its `ast` before LibCST reads it.

LibCST's native parser dies on boolean chains of some 10,000 terms, is quadratic in operator and call chains, and its
visitors reach Python's recursion limit at some 150 levels; none of that can be caught in time.
"""

from __future__ import annotations

import ast

from gradfix.findings import Refusal, RefusalKind

MAX_DEPTH = 90  # levels of `ast`; a call in a chain of methods is two
MAX_TERMS = 300  # of one boolean or comparison chain
MAX_NODES = 20_000
MAX_QUOTES = 600  # quote characters in the text: adjacent string literals are one node of `ast`


def too_big(node: ast.AST, text: str) -> Refusal | None:
    """Why LibCST shouldn't read `node`, whose text is `text`; None when it may."""
    waiting = [(node, 1)]
    seen = 0
    while waiting:
        current, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH:
            return Refusal(
                RefusalKind.SPELLING,
                "the statement is nested too deeply to be rewritten",
                "split it into several statements",
            )
        if seen > MAX_NODES or _terms(current) > MAX_TERMS:
            return Refusal(
                RefusalKind.SPELLING, "the statement is too long to be rewritten", "split it into several statements"
            )
        waiting += [(child, depth + 1) for child in ast.iter_child_nodes(current)]
    if text.count("'") + text.count('"') > MAX_QUOTES:
        return Refusal(
            RefusalKind.SPELLING,
            "the statement holds too many strings to be rewritten",
            "split it into several statements",
        )
    return None


def _terms(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values)
    return len(node.comparators) if isinstance(node, ast.Compare) else 0
