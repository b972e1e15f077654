"""Random programs in two files: functions and classes of the top level move to a helper, and are imported from there.

Every line keeps its number, so that what is true of the program in one file is true of the two.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix.analysis.analyse import analyse, summarise
from gradfix.analysis.facts import ModuleFacts
from gradfix.analysis.imports import Imports
from gradfix.source import Source

from .grammar import Program

HELPER = "helper"
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Split:
    """The text of both files, and where in the program something that moved is mentioned."""

    program: str
    helper: str
    callers: dict[int, frozenset[int]]  # line of what moved -> lines of the program that name its definition

    def facts(self) -> tuple[ModuleFacts, ModuleFacts]:
        """What the analysis says of the program, and of the helper alone."""
        helper = Source.from_text("helper.py", self.helper)
        imports = Imports({HELPER: summarise(helper, HELPER, {})})
        return analyse(Source.from_text("program.py", self.program), imports), analyse(helper)


def split(program: Program) -> Split | None:
    """`program` in two files; None where nothing can move: it needs what the program computes."""
    tree = ast.parse(program.text)
    defined = {node.name: node for node in tree.body if isinstance(node, DEFINITIONS)}
    own = {name for node in tree.body if not isinstance(node, DEFINITIONS) for name in _stored(node)}
    flags = {name for name in own if name.isupper()}
    moved = {n: node for n, node in defined.items() if _names(node).isdisjoint(own - flags) and n not in own}
    while True:
        staying = defined.keys() - moved.keys()
        bound = {n for n, node in moved.items() if not _names(node).isdisjoint(staying)}
        if not bound:
            break
        moved = {n: node for n, node in moved.items() if n not in bound}
    if not moved:
        return None
    lines = program.text.splitlines()
    there = {i for node in moved.values() for i in range(_first(node), (node.end_lineno or node.lineno) + 1)}
    shared = {i for node in tree.body if _is_shared(node, flags) for i in range(node.lineno, node.end_lineno + 1)}
    helper = [line if i in there | shared else "" for i, line in enumerate(lines, 1)]
    rest = ["" if i in there else line for i, line in enumerate(lines, 1)]
    rest[min(there) - 1] = f"from {HELPER} import {', '.join(moved)}"
    return Split("\n".join(rest) + "\n", "\n".join(helper) + "\n", _callers(moved, rest))


def _callers(moved: dict[str, ast.FunctionDef | ast.ClassDef], rest: list[str]) -> dict[int, frozenset[int]]:
    """Whatever moved may be led to by whatever else did."""
    mentions = frozenset(i for i, line in enumerate(rest, 1) if any(name in line for name in moved))
    return {i: mentions for node in moved.values() for i in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def _first(node: ast.FunctionDef | ast.ClassDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _stored(node: ast.stmt) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _names(node: ast.stmt) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _is_shared(node: ast.stmt, flags: set[str]) -> bool:
    """Imports, and switches written in capitals."""
    return isinstance(node, (ast.Import, ast.ImportFrom)) or (isinstance(node, ast.Assign) and _stored(node) <= flags)
