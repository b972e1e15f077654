"""A list in the place of a buffer: whether it is one from the beginning, and what stands at its end."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix.analysis.facts import FilledBuffer, Spelling, Write
from gradfix.edits import Edit
from gradfix.findings import Applicability
from gradfix.rewrite.buffers.fitting import OWN_MEMORY, fit_of
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import is_effectless
from gradfix.rewrite.text.spans import after_block
from gradfix.rewrite.writes import obstacles
from gradfix.source import Source

_SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.JoinedStr)  # read late, or often


def may_be_list(buffer: FilledBuffer, spelling: Spelling) -> bool:
    """Whether nothing in the loop needs the tensor besides the list of its slots."""
    slots = (item for written in buffer.writes for item in written.access.slots)  # named twice where one is fitted
    return buffer.has_slots and not buffer.reads_metadata and all(is_effectless(item, spelling) for item in slots)


def made_as_list(buffer: FilledBuffer, spelling: Spelling) -> ast.Assign | None:
    """The statement that makes the buffer, where the buffer can be a list of its slots from there on."""
    made = buffer.created
    if made is None or not is_effectless(made.value, spelling) or not may_be_list(buffer, spelling):
        return None
    for written in buffer.initial.writes:
        named = all(is_effectless(item, spelling) for item in written.access.slots)
        if not named or fit_of(buffer, written) == OWN_MEMORY or not _is_only_one(written.write):
            return None
    return made


def _is_only_one(write: Write) -> bool:
    """Whether nobody but the buffer's name holds what is written."""
    return obstacles.applicability(write) is Applicability.SAFE


def is_annotated(source: Source, statement: ast.stmt) -> bool:
    """Whether the function around `statement` has type hints: a name that stands for a list is no tensor later."""
    scope = names.scope_of(source, statement)
    if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return scope.returns is not None or any(
        isinstance(node, ast.arg) and node.annotation is not None for node in ast.walk(scope.args)
    )


def sealed(source: Source, loop: ast.stmt, name: str, whole: str, spelling: Spelling) -> tuple[Edit, ...] | None:
    """The edits that give `name` the value `whole` behind `loop`, or put `whole` where the statement there returns it.

    None when another statement stands on the last line of the loop; no edits where nobody reads `name` any more.
    """
    if names.is_dead_after(source, loop, name):
        return ()
    returned = place_returned(source, loop, name, spelling)
    if returned is not None and (" if " not in whole or returned.is_all):
        return (Edit(source.span_of(returned.name), whole),)
    behind = after_block(source, loop, f"{name} = {whole}")
    return None if behind is None else (behind,)


@dataclass(frozen=True, slots=True)
class Returned:
    """The one mention of a name in what is returned, and whether that is all there is."""

    name: ast.Name
    is_all: bool


def place_returned(source: Source, statement: ast.stmt, name: str, spelling: Spelling) -> Returned | None:
    """Where the statement behind `statement` returns what `name` stands for; None where it does more than that."""
    following = names.statement_after(source, statement)
    if not isinstance(following, ast.Return) or not sites.site_of(source, following).is_alone:
        return None
    mention = _only_mention(following, name, spelling)
    return None if mention is None else Returned(mention, mention is following.value)


def _only_mention(statement: ast.Return, name: str, spelling: Spelling) -> ast.Name | None:
    """Where `name` is read, once, in what is returned, while nothing else there changes what it is made of."""
    if statement.value is None or not is_effectless(statement.value, spelling):
        return None
    if any(isinstance(node, _SCOPES) for node in ast.walk(statement.value)):
        return None
    found = [node for node in ast.walk(statement.value) if isinstance(node, ast.Name) and node.id == name]
    return found[0] if len(found) == 1 else None
