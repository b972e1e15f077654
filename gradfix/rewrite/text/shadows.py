"""Whether the names that a rewrite uses mean what it takes them for: `torch` may be a local variable, `range` too."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from gradfix.analysis.text.builtin_names import BUILTINS, bound_by
from gradfix.analysis.text.names import imports_of
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.text import names
from gradfix.source import Source

_NAME = re.compile(r"(?<![.\w])([^\W\d]\w*)(\s*\()?")  # and whether it is called
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_Lines = tuple[int, float]  # the first and the last in which a name has another meaning


def shadowed(source: Source, edits: Sequence[Edit]) -> Refusal | None:
    """Why `edits` can't be made where a name they put there stands for something else than what is imported."""
    others = _other_meanings(source.text, names.tree_of(source))
    if not others:
        return None
    for edit in edits:
        line = source.position(edit.span.start).line
        put = _spelled(edit.text) - _spelled(edit.span.text(source.text))
        for name in sorted(put.keys() & others.keys()):
            if any(first <= line <= last for first, last in others[name]):
                return Refusal(
                    RefusalKind.SCOPE,
                    f"`{name}`, which the new form needs, stands for something else in this place",
                    f"give the other one another name than `{name}`",
                )
    return None


def _spelled(text: str) -> Counter[str]:
    """How often each name stands in a text: those of Python's where they are called, as a rewrite has them.

    `input` is a tensor in many a file, and no rewrite calls it.
    """
    return Counter(name for name, call in _NAME.findall(text) if call or name not in BUILTINS)


@lru_cache(maxsize=1)
def _other_meanings(text: str, tree: ast.Module) -> dict[str, list[_Lines]]:
    """The names of imports at the top, and of Python's own, that are bound to something else, with the lines."""
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    known = BUILTINS.union(local for node in imports for local, _ in imports_of(node))
    found: dict[str, list[_Lines]] = {}
    waiting: list[tuple[ast.AST, _Lines]] = [(tree, (0, float("inf")))]
    while waiting:
        node, lines = waiting.pop()
        inner = (node.lineno, node.end_lineno or node.lineno) if isinstance(node, _FUNCTIONS) else lines
        for name in _bound(node):
            if name in known:
                found.setdefault(name, []).append(inner)
        waiting += [(child, inner) for child in ast.iter_child_nodes(node)]
    return found


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a node binds by itself, those of functions where they are defined; of imports only Python's."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from BUILTINS.intersection(bound_by(node))
    elif isinstance(node, _FUNCTIONS):
        arguments = node.args
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        yield from (argument.arg for argument in every if argument is not None)
    elif not isinstance(node, ast.ClassDef):
        yield from bound_by(node)
    if not isinstance(node, ast.ClassDef):  # its methods have no names but as its attributes
        yield from (child.name for child in ast.iter_child_nodes(node) if isinstance(child, _DEFINITIONS))
