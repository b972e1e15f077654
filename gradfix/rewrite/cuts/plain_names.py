"""Names that would only stand for others once torch computes: `a = x` is read as `x`, `y = c` isn't needed."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from gradfix.analysis.text.scopes import Parents, parents
from gradfix.edits import Edit
from gradfix.rewrite.cuts.named_arrays import Back, Detour
from gradfix.rewrite.cuts.numpy_twins import is_copied, tensor_behind
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.scope_uses import LOOPS, end_of, start_of
from gradfix.source import Source


@dataclass(frozen=True, slots=True)
class PlainNames:
    """The names that go, and the edits that take them away."""

    read_as: Mapping[str, str]  # names of arrays, and the names of the tensors they stand for
    edits: tuple[Edit, ...]
    done: frozenset[int]  # ids of the calls that go with them


def plain_names(source: Source, detour: Detour) -> PlainNames:
    """What is read and assigned without the names that arrays have in `detour`."""
    around = parents(names.tree_of(source))
    every = [name for name, _ in detour.bound]
    once = {name: value for name, value in detour.bound if every.count(name) == 1 and name not in detour.filled}
    edits: list[Edit] = []
    read_as: dict[str, str] = {}
    for name, value in once.items():
        tensor, statement = tensor_behind(value), around.of(value)
        if not isinstance(tensor, ast.Name) or not isinstance(statement, ast.Assign) or is_copied(value):
            continue
        gone = sites.removed(source, statement)
        if gone is not None and _is_lasting(around, tensor, statement) and _precedes(around, statement, name):
            read_as[name] = tensor.id
            edits.append(gone)
    done: set[int] = set()
    for back in detour.back:
        array = back.call.args[0]
        computed = once.get(array.id) if isinstance(array, ast.Name) and array.id not in read_as else None
        if computed is not None and not detour.may_share(array):
            found = _assigned_at_once(source, around, computed, back)
            done |= {id(back.call)} if found else set()
            edits += found
    return PlainNames(read_as, tuple(edits), frozenset(done))


def _is_lasting(around: Parents, tensor: ast.Name, statement: ast.stmt) -> bool:
    """Whether the name is a parameter that nothing binds, or bound once, before `statement` in the same loop."""
    scope = around.scope(statement)
    bindings = around.bindings_in(scope)
    stores = bindings.stores.get(tensor.id, ())
    if not stores:
        return tensor.id in bindings.parameters
    bound = next((node for node in around.up(stores[0]) if isinstance(node, ast.stmt)), None)
    once = len(stores) == 1 and isinstance(bound, ast.Assign) and start_of(bound) < start_of(statement)
    return once and _loop(around, stores[0]) is _loop(around, statement) and around.scope(stores[0]) is scope


def _precedes(around: Parents, statement: ast.stmt, name: str) -> bool:
    """Whether every place that reads `name` comes after `statement`, in the block that it stands in."""
    end = end_of(around.block(statement)[-1])
    nodes = around.bindings_in(around.scope(statement)).names.get(name, ())
    return all(start_of(statement) <= start_of(node) < end for node in nodes)


def _loop(around: Parents, node: ast.AST) -> ast.AST | None:
    return next((outer for outer in around.up(node) if isinstance(outer, LOOPS)), None)


def _assigned_at_once(source: Source, around: Parents, value: ast.expr, back: Back) -> tuple[Edit, ...]:
    """The edits by which `c = value`, `y = torch.tensor(c)` become `y = value`; none where more stands there."""
    made, statement = around.of(value), back.outer
    if back.call.keywords or not isinstance(statement, ast.Assign) or not isinstance(made, ast.Assign):
        return ()
    if len(statement.targets) != 1 or not isinstance(statement.targets[0], ast.Name):
        return ()
    block = around.indexed(made)
    if block.positions.get(id(statement)) != block.positions[id(made)] + 1:
        return ()
    gone = sites.removed(source, statement)
    return () if gone is None else (Edit(source.span_of(made.targets[0]), statement.targets[0].id), gone)
