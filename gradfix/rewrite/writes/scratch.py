"""A tensor that is made only to be written as a whole: where the result gets its name, nobody needs it any more."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix.analysis.facts import Spelling, Write
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_effectless, is_place
from gradfix.rewrite.text.pieces import text_of
from gradfix.source import Source

_MAKES = frozenset({"empty", "zeros", "ones"})


@dataclass(frozen=True, slots=True)
class Scratch:
    """The statement that makes it, and how its dtype is spelled without it; None where no text says so."""

    made: ast.Assign
    dtype: str | None


def scratch_of(source: Source, write: Write, spelling: Spelling) -> Scratch | None:
    """What makes the target of `write`, where that stands before it in its block and nothing between mentions it."""
    name = write.target
    if not isinstance(name, ast.Name) or names.visible_to_calls(source, write.statement, name):
        return None
    block = names.block_around(source, write.statement)
    place = (write.statement.lineno, write.statement.col_offset)
    before = [statement for statement in block if (statement.lineno, statement.col_offset) < place]
    made = next((statement for statement in reversed(before) if _mentions(statement, name.id)), None)
    if not isinstance(made, ast.Assign) or len(made.targets) != 1 or not isinstance(made.targets[0], ast.Name):
        return None
    call = made.value
    if made.targets[0].id != name.id or not isinstance(call, ast.Call) or not is_effectless(call, spelling):
        return None
    if sum(node.id == name.id for node in ast.walk(made) if isinstance(node, ast.Name)) != 1 or not _makes_new(call):
        return None
    like = _like(call)
    between = before[before.index(made) + 1 :]
    stays = like is not None and not any(_binds(statement, like) for statement in between)
    return Scratch(made, f"{text_of(source, like)}.dtype" if stays and like is not None else None)


def _makes_new(call: ast.Call) -> bool:
    function = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    requires = any(keyword.arg in (None, "requires_grad", "out") for keyword in call.keywords)
    return not requires and function.removeprefix("new_").removesuffix("_like") in _MAKES


def _like(call: ast.Call) -> ast.expr | None:
    """The tensor whose dtype it has: `x` of `torch.empty_like(x)` and `x.new_zeros(3)`."""
    assert isinstance(call.func, ast.Attribute)
    if any(keyword.arg == "dtype" for keyword in call.keywords):
        return None
    if call.func.attr.startswith("new_"):
        like: ast.expr | None = call.func.value
    else:
        like = call.args[0] if call.func.attr.endswith("_like") and call.args else None
    return like if isinstance(like, ast.Name) and is_place(like) else None


def _mentions(statement: ast.stmt, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement))


def _binds(statement: ast.stmt, name: ast.expr) -> bool:
    assert isinstance(name, ast.Name)
    bound = (node for node in ast.walk(statement) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load))
    return any(node.id == name.id for node in bound)
