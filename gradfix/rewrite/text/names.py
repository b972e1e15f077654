"""Names: new ones for temporaries, torch's in the spelling of the module, and who else can see a name."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from gradfix.analysis.facts import Spelling
from gradfix.edits import Edit
from gradfix.rewrite.text.expressions import is_literal_number, same
from gradfix.source import Source, Span

_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_SCOPES = (*_FUNCTIONS, ast.ClassDef)


def fresh(source: Source, *wishes: str, besides: Sequence[str] = ()) -> str:
    """The first of `wishes` that is no name anywhere in the source or in `besides`, else the last with a number."""
    taken = _identifiers(source.text).union(besides)
    for wish in wishes:
        if wish not in taken:
            return wish
    return next(name for number in range(2, len(taken) + 3) if (name := f"{wishes[-1]}_{number}") not in taken)


def list_name(source: Source, name: str, kind: str) -> str:
    """What to call the list of slots of the buffer `name`."""
    wishes = (f"{name}_{kind}", f"{name}_slots")
    return fresh(source, *(wishes[1:] if name.endswith((kind, "list")) else wishes))


def torch_name(spelling: Spelling, function: str) -> str:
    """How to write `torch.<function>` here: "torch.where", "th.where", or "where" where only that was imported."""
    if spelling.torch is None:
        for local, qualified in spelling.names:
            if qualified == f"torch.{function}":
                return local
    return f"{spelling.torch or 'torch'}.{function}"


def can_spell_torch(spelling: Spelling) -> bool:
    """Whether torch is imported as a package, or can be."""
    return spelling.torch is not None or spelling.import_line is not None


def import_torch(source: Source, spelling: Spelling, text: str) -> tuple[Edit, ...]:
    """The edit that adds `import torch`, where `text` names it and the module doesn't import it yet."""
    if spelling.torch is not None or spelling.import_line is None or "torch." not in text:
        return ()
    beside = next((s for s in _tree(source.text).body if _imports_of_torch(s)), None)
    if beside is not None:
        start = source.span_of(beside).start
        separator = "; " if source.text[source.line_span(beside.lineno).start : start].strip() else None
        newline = separator or source.newline_at(beside.lineno) or source.newline
        return (Edit(Span(start, start), f"import torch{newline}"),)
    if spelling.import_line == 0:
        return (_import_on_top(source),)
    end = source.line_span(spelling.import_line).end
    newline = source.newline_at(spelling.import_line)
    offset = end + len(newline)
    added = f"import torch{newline}" if newline else f"{source.newline}import torch"
    return (Edit(Span(offset, offset), added),)


def _imports_of_torch(statement: ast.stmt) -> bool:
    """`import torch.nn as nn`, `from torch import nn`: `import torch` comes before it."""
    if isinstance(statement, ast.Import):
        return any(alias.name.startswith("torch.") for alias in statement.names)
    return (
        isinstance(statement, ast.ImportFrom) and (f"{statement.module}.").startswith("torch.") and not statement.level
    )


def _import_on_top(source: Source) -> Edit:
    """Before the first statement, behind the comments that begin the file (`#!`, the encoding, a licence)."""
    first = _tree(source.text).body[0]
    decorators = getattr(first, "decorator_list", [])
    line = min(node.lineno for node in [first, *decorators])
    newline = source.newline_at(line) or source.newline
    offset = source.line_span(line).start
    return Edit(Span(offset, offset), "import torch" + newline * (3 if isinstance(first, _SCOPES) else 2))


def visible_to_calls(source: Source, statement: ast.stmt, place: ast.expr) -> bool:
    """Whether a function called at `statement` could see or change what `place` stands for.

    A plain local name is out of reach unless a function nested in its scope mentions it.
    """
    if not isinstance(place, ast.Name):
        return True
    scope = _scope_of(_tree(source.text), statement)
    return any(_is_mentioned(inner, place.id) for inner in _functions_in(scope))


def asks_property(source: Source, expression: ast.expr) -> bool:
    """Whether an attribute in `expression` has the name of a decorated function: a property, as far as one can see."""
    asked = {node.attr for node in ast.walk(expression) if isinstance(node, ast.Attribute)}
    defined = (node for node in ast.walk(_tree(source.text)) if isinstance(node, ast.FunctionDef))
    return any(node.name in asked for node in defined if node.decorator_list) if asked else False


def is_local(source: Source, statement: ast.stmt, name: str) -> bool:
    """Whether `name`, assigned at `statement`, is a variable of the function around it that nothing outlives."""
    scope = _scope_of(_tree(source.text), statement)
    if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    for node in ast.walk(scope):
        if isinstance(node, (ast.Global, ast.Nonlocal)) and name in node.names:
            return False
        if isinstance(node, ast.Try) and node.finalbody and _spans(node, statement):
            return False
    return not any(_is_mentioned(inner, name) for inner in _functions_in(scope))


def starts_as_number(source: Source, statement: ast.stmt, place: ast.expr) -> bool:
    """Whether `place` is somewhere given a number written out: a name in its scope, an attribute anywhere."""
    tree = _tree(source.text)
    for node in ast.walk(_scope_of(tree, statement) if isinstance(place, ast.Name) else tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(same(target, place) for target in targets) and is_literal_number(node.value):
                return True
    return False


def is_dead_after(source: Source, statement: ast.stmt, name: str) -> bool:
    """Whether nothing reads `name`, a local variable, once `statement` is done."""
    if not is_local(source, statement, name):
        return False
    end = (statement.end_lineno or 0, statement.end_col_offset or 0)
    for node in ast.walk(_scope_of(_tree(source.text), statement)):
        if isinstance(node, _LOOPS) and _spans(node, statement) and _starts_before(node, statement):
            return False  # the next round may read it
        if isinstance(node, ast.Name) and node.id == name and (node.lineno, node.col_offset) >= end:
            return False
    return True


def is_mentioned_after(source: Source, statement: ast.stmt, place: ast.Name) -> bool:
    """Whether `place` is mentioned below `statement`, or in a next round that doesn't bind it anew."""
    scope, end = _scope_of(_tree(source.text), statement), (statement.end_lineno or 0, statement.end_col_offset or 0)
    loops = [node for node in ast.walk(scope) if isinstance(node, _LOOPS)]
    around = [loop for loop in loops if _spans(loop, statement)]
    binding = [loop for loop in loops if not isinstance(loop, ast.While) and _is_mentioned(loop.target, place.id)]
    later = (loop for loop in binding if loop not in around)
    own = {id(node) for loop in later for part in (loop.target, *loop.body) for node in ast.walk(part)}
    named = (node for node in ast.walk(scope) if isinstance(node, ast.Name) and node.id == place.id)
    if any((node.lineno, node.col_offset) >= end for node in named if id(node) not in own):
        return True
    if not around:
        return visible_to_calls(source, statement, place)
    return not any(loop in binding for loop in around)


def outermost_branch(source: Source, branch: ast.If | ast.While) -> ast.If | ast.While:
    """The `if` that the chain begins with in which `branch` is an `elif`; `branch` itself where it is none."""
    for node in ast.walk(_tree(source.text)):
        if isinstance(node, ast.If):
            inner = node
            while len(inner.orelse) == 1 and isinstance(inner.orelse[0], ast.If) and _is_elif(source, inner.orelse[0]):
                inner = inner.orelse[0]
                if (inner.lineno, inner.col_offset) == (branch.lineno, branch.col_offset):
                    return node
    return branch


def statement_after(source: Source, statement: ast.stmt) -> ast.stmt | None:
    """The next statement of the same block."""
    place = (statement.lineno, statement.col_offset)
    pairs = pairwise(block_around(source, statement))
    return next((after for here, after in pairs if (here.lineno, here.col_offset) == place), None)


def block_around(source: Source, statement: ast.stmt) -> list[ast.stmt]:
    """The statements of the block that has one at the place of `statement`."""
    return _blocks_by_place(_tree(source.text)).get((statement.lineno, statement.col_offset), [])


@lru_cache(maxsize=1)
def _blocks_by_place(tree: ast.Module) -> dict[tuple[int, int], list[ast.stmt]]:
    """The block of each statement, by where that begins."""
    return {(here.lineno, here.col_offset): block for block in _blocks(tree) for here in block}


def _blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for part in ("body", "orelse", "finalbody"):
            block = getattr(node, part, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block


def _is_elif(source: Source, branch: ast.If | ast.While) -> bool:
    return source.span_of(branch).text(source.text).startswith("elif")


@lru_cache(maxsize=1)
def _identifiers(text: str) -> frozenset[str]:
    return frozenset(_IDENTIFIER.findall(text))


def scope_of(source: Source, statement: ast.stmt) -> ast.AST:
    """The innermost module, class or function around `statement`, in the tree of `tree_of`."""
    return _scope_of(_tree(source.text), statement)


def tree_of(source: Source) -> ast.Module:
    """The module as a tree, parsed once."""
    return _tree(source.text)


@lru_cache(maxsize=1)
def _tree(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the parser, about the user's escapes
        return ast.parse(text)


def _scope_of(tree: ast.Module, statement: ast.stmt) -> ast.AST:
    """The innermost module, class or function of `tree` around the place of `statement`."""
    scope: ast.AST = tree
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)) and _spans(child, statement):
                if isinstance(child, _SCOPES) and _starts_before(child, statement):
                    scope = child
                waiting.append(child)
    return scope


def _starts_before(node: ast.stmt | ast.Lambda, statement: ast.stmt) -> bool:
    return (node.lineno, node.col_offset) < (statement.lineno, statement.col_offset)


def _spans(node: ast.AST, statement: ast.stmt) -> bool:
    if isinstance(node, ast.match_case):
        return any(_spans(child, statement) for child in node.body)
    assert isinstance(node, (ast.stmt, ast.excepthandler))
    end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
    return (node.lineno, node.col_offset) <= (statement.lineno, statement.col_offset) < end


def _functions_in(scope: ast.AST) -> Iterator[ast.AST]:
    return (node for node in ast.walk(scope) if isinstance(node, _FUNCTIONS) and node is not scope)


def _is_mentioned(node: ast.AST, name: str) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node))
