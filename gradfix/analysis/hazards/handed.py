"""Arguments that a function of the file writes: by which calls they got there, and who reads them afterwards."""

from __future__ import annotations

import ast
from dataclasses import replace

from gradfix.analysis.domain.graph import Visit
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import WriteRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Tensor, Value
from gradfix.analysis.text.parameters import positional_of


def argument_for(call: ast.AST, node: ast.AST, name: str, *, bound: bool) -> ast.expr | None:
    """What `call` hands to the parameter `name` of the function `node`; None where that can't be told.

    `bound`: the function is a method, called on its object.
    """
    if not isinstance(call, ast.Call) or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    if any(isinstance(part, ast.Starred) for part in call.args) or any(k.arg is None for k in call.keywords):
        return None
    named = next((k.value for k in call.keywords if k.arg == name), None)
    positional = [a.arg for a in positional_of(node.args)][bound:]
    at = positional.index(name) if name in positional else len(call.args)
    return call.args[at] if at < len(call.args) else named


def is_argument(m: Machine, visit: Visit, record: WriteRecord, read: ast.AST) -> bool:
    """Whether `read` names, where it was handed over, the argument that came to be written.

    Then the function could return it, and its callers give the name the result.
    """
    depth, way = len(m.sites), visit.passage
    if way.entry != m.entry or len(way.calls) <= depth or way.calls[:depth] != m.sites:
        return False
    given: ast.expr | None = _name_of(record.target)
    for site in reversed(way.calls[depth:]):
        call, info = m.followed[site]
        if not isinstance(given, ast.Name):
            return False
        given = argument_for(call, info.node, given.id, bound=info.owner is not None)
    return given is not None and ast.dump(given) == ast.dump(read)


def renewed(m: Machine, state: State, value: Value, node: ast.expr) -> Value:
    """What `node` holds if the functions that wrote it, handed over under this name, gave it back: nothing it missed.

    `read` has noted that it would have missed those writes, so nobody gives it a new tensor in any other way.
    """
    missed = state.missed(value) if isinstance(value, Tensor) and not state.quiet else frozenset()
    if not missed:
        return value
    own = {
        visit for visit in missed if (record := m.notes.writes.get(visit.key)) and is_argument(m, visit, record, node)
    }
    if not own or not isinstance(value, Tensor):
        return value
    fresh = replace(value)
    if missed - own:
        state.late[fresh] = frozenset(missed - own)
    m.rebind(state, node, value, fresh)
    return fresh


def calls_towards(m: Machine, record: WriteRecord) -> tuple[ast.Call, ...]:
    """All calls, as far as they were followed, of the function that writes and of those that lead to it."""
    led = {site for passage in record.passages for site in passage.calls}
    callees = {m.followed[site][1] for site in led}
    return tuple(at for at, info in m.followed.values() if info in callees and isinstance(at, ast.Call))


def _name_of(target: ast.expr) -> ast.expr:
    while isinstance(target, (ast.Subscript, ast.Attribute, ast.Call)):
        target = target.func if isinstance(target, ast.Call) else target.value
    return target
