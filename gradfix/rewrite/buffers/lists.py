"""A list in the place of a buffer: whether it is one from the beginning, and what stands at its end."""

from __future__ import annotations

import ast

from gradfix.analysis.facts import FilledBuffer, Spelling
from gradfix.edits import Edit
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import is_effectless
from gradfix.rewrite.text.spans import after_block
from gradfix.source import Source


def made_as_list(buffer: FilledBuffer, spelling: Spelling) -> ast.Assign | None:
    """The statement that makes the buffer, where the buffer can be a list of its slots from there on."""
    made = buffer.created
    if made is None or buffer.reads_metadata or not buffer.has_slots or not is_effectless(made.value, spelling):
        return None
    indices = (item for written in buffer.writes for item in written.access.slots)  # named twice where a slot is fitted
    return made if all(is_effectless(item, spelling) for item in indices) else None


def is_annotated(source: Source, statement: ast.stmt) -> bool:
    """Whether the function around `statement` has type hints: a name that stands for a list is no tensor later."""
    scope = names.scope_of(source, statement)
    if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return scope.returns is not None or any(
        isinstance(node, ast.arg) and node.annotation is not None for node in ast.walk(scope.args)
    )


def sealed(source: Source, loop: ast.stmt, name: str, whole: str) -> Edit | None:
    """The edit that gives `name` the value `whole` behind `loop`, or returns it where `name` is returned there.

    None when another statement stands on the last line of the loop.
    """
    following = names.statement_after(source, loop)
    if isinstance(following, ast.Return) and sites.site_of(source, following).is_alone:
        returned = following.value
        if isinstance(returned, ast.Name) and returned.id == name:
            return Edit(source.span_of(returned), whole)
    return after_block(source, loop, f"{name} = {whole}")
