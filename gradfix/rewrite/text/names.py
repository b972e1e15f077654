"""Names: new ones for temporaries, torch's in the spelling of the module, and who else can see a name."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from gradfix.analysis.facts import Spelling
from gradfix.analysis.text.builtin_names import mark_others
from gradfix.edits import Edit
from gradfix.rewrite.text.scope_uses import LOOPS, Place, Scopes, end_of, scopes_of, start_of
from gradfix.source import Source, Span

_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


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
    return Edit(Span(offset, offset), "import torch" + newline * (3 if isinstance(first, _DEFINITIONS) else 2))


def visible_to_calls(source: Source, statement: ast.stmt, place: ast.expr) -> bool:
    """Whether a function called at `statement` could see or change what `place` stands for.

    A plain local name is out of reach unless a function nested in its scope mentions it.
    """
    if not isinstance(place, ast.Name):
        return True
    return place.id in _scopes(source).uses(statement).inside_functions


def asks_property(source: Source, expression: ast.expr) -> bool:
    """Whether an attribute in `expression` has the name of a decorated function: a property, as far as one can see."""
    asked = {node.attr for node in ast.walk(expression) if isinstance(node, ast.Attribute)}
    return bool(asked) and not asked.isdisjoint(_scopes(source).decorated)


def is_local(source: Source, statement: ast.stmt, name: str) -> bool:
    """Whether `name`, assigned at `statement`, is a variable of the function around it that nothing outlives."""
    scopes = _scopes(source)
    if not isinstance(scopes.around(statement), (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    uses = scopes.uses(statement)
    outlives = name in uses.declared or any(uses.finals.around(start_of(statement)))
    return not outlives and name not in uses.inside_functions


def starts_as_number(source: Source, statement: ast.stmt, place: ast.expr) -> bool:
    """Whether `place` is somewhere given a number written out: a name in its scope, an attribute anywhere."""
    scopes = _scopes(source)
    return scopes.starts_as_number(place, scopes.around(statement) if isinstance(place, ast.Name) else scopes.tree)


def is_dead_after(source: Source, statement: ast.stmt, name: str) -> bool:
    """Whether nothing reads `name`, a local variable, once `statement` is done."""
    if not is_local(source, statement, name):
        return False
    uses, start = _scopes(source).uses(statement), start_of(statement)
    if any(start_of(loop) < start for loop in uses.loops.around(start)):
        return False  # the next round may read it
    return name not in uses.last or uses.last[name] < end_of(statement)


def is_mentioned_after(source: Source, statement: ast.stmt, place: ast.Name) -> bool:
    """Whether `place` is mentioned below `statement`, or in a next round that doesn't bind it anew."""
    scope, end = scope_of(source, statement), end_of(statement)
    loops = [node for node in ast.walk(scope) if isinstance(node, LOOPS)]
    around = list(_scopes(source).uses(statement).loops.around(start_of(statement)))
    binding = [loop for loop in loops if not isinstance(loop, ast.While) and _is_mentioned(loop.target, place.id)]
    later = (loop for loop in binding if loop not in around)
    own = {id(node) for loop in later for part in (loop.target, *loop.body) for node in ast.walk(part)}
    named = (node for node in ast.walk(scope) if isinstance(node, ast.Name) and node.id == place.id)
    if any(start_of(node) >= end for node in named if id(node) not in own):
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
                if start_of(inner) == start_of(branch):
                    return node
    return branch


def statement_after(source: Source, statement: ast.stmt) -> ast.stmt | None:
    """The next statement of the same block."""
    place = start_of(statement)
    pairs = pairwise(block_around(source, statement))
    return next((after for here, after in pairs if start_of(here) == place), None)


def block_around(source: Source, statement: ast.stmt | ast.expr) -> list[ast.stmt]:
    """The statements of the block that has one at the place of `statement`."""
    return _blocks_by_place(_tree(source.text)).get(start_of(statement), [])


@lru_cache(maxsize=1)
def _blocks_by_place(tree: ast.Module) -> dict[Place, list[ast.stmt]]:
    """The block of each statement, by where that begins."""
    return {start_of(here): block for block in _blocks(tree) for here in block}


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
    return _scopes(source).around(statement)


def tree_of(source: Source) -> ast.Module:
    """The module as a tree, parsed once."""
    return _tree(source.text)


@lru_cache(maxsize=1)
def _tree(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the parser, about the user's escapes
        return mark_others(ast.parse(text))


def _scopes(source: Source) -> Scopes:
    return scopes_of(_tree(source.text))


def _is_mentioned(node: ast.AST, name: str) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node))
