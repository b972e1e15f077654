"""Writes in other files that are followed from this one: they are told where they were called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from gradfix.analysis.domain.holders import tensors_within
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Container, Instance, Tensor, Value, options
from gradfix.analysis.facts import Obstacle, ObstacleKind, WriteForm
from gradfix.analysis.hazards.write_records import Site
from gradfix.analysis.text.one_line import one_line
from gradfix.analysis.text.targets import root_of

_DEEP = 3  # objects and lists in each other
_FEW = 12  # tensors that operands hold, of which it is looked whether one is the same


def at_call(m: Machine, state: State, site: Site, tensor: Tensor) -> Site:
    """A write in another file as a write of the call that leads there; asked where the call stands."""
    assert m.home is not None
    call = m.home.call
    origin = m.notes.origins.get(id(site.node))
    where = "" if origin is None else f" in {origin.file}, line {origin.line}"
    there = f"`{one_line(ast.unparse(site.node))}`{where}"
    found = next(targets(m, state, call, tensor), None)
    key = there if found is None else ast.unparse(found)
    target = m.notes.targets.setdefault((id(call), key), found or _unnamed(call))  # one for each passage through it
    return Site(WriteForm.FOREIGN, call, target, method=there)


def note(m: Machine, state: State, site: Site, tensor: Tensor) -> None:
    """What was written is what the caller handed over, who may hand over something else; or the object has it."""
    call = site.node
    given = list(_given(call)) if isinstance(call, ast.Call) else []
    held = m.look(state, site.target) if any(site.target is one for one in given) else None
    if isinstance(held, Tensor) and isinstance(call, ast.Call):
        operands = [m.look(state, one) for one in (*given, call.func) if root_of(one) is not None]
        others = tensors_within(state, *(one for one in operands if not isinstance(one, Tensor)))
        if len(others) < _FEW and not any(_shares(one, tensor) for one in others):
            m.rebind(state, site.target, held, replace(held))
            return
    record = m.notes.writes[id(site.target)]
    record.is_inner = record.is_inner is not False and _is_inner(m, state, tensor, call)
    record.add_obstacle(Obstacle(ObstacleKind.ELSEWHERE, site.method or ""))


def _is_inner(m: Machine, state: State, tensor: Tensor, call: ast.AST) -> bool:
    """Whether this very call has made the memory and nobody gets at it: what happens to it is told in its own file."""
    made = [m.notes.origins.get(id(storage.made_by)) for storage in tensor.storages]
    own = all(origin is not None and origin.call is call for origin in made)
    return own and next(targets(m, state, call, tensor), None) is None


def targets(m: Machine, state: State, call: ast.AST, tensor: Tensor) -> Iterator[ast.expr]:
    """The expressions by which the caller gets at the tensor: what it hands over, or an attribute of that."""
    if not isinstance(call, ast.Call):
        return
    owner = call.func.value if isinstance(call.func, ast.Attribute) else call.func
    for given in (*_given(call), owner):
        if root_of(given) is not None:
            yield from _within(state, given, m.look(state, given), tensor, _DEEP)


def _within(state: State, place: ast.expr, value: Value, tensor: Tensor, depth: int) -> Iterator[ast.expr]:
    for held in options(value):
        if isinstance(held, Tensor) and _shares(held, tensor):
            yield place
        elif isinstance(held, Container) and (items := state.items.get(held)) is not None and depth:
            for item in items.values[:_FEW]:
                yield from (place for _ in _within(state, place, item, tensor, depth - 1))
        elif isinstance(held, Instance) and depth:
            for name, inner in state.slots(held).items():
                attribute = ast.copy_location(ast.Attribute(place, name, ast.Load()), place)
                yield from _within(state, attribute, inner, tensor, depth - 1)


def _unnamed(call: ast.AST) -> ast.expr:
    """Stands for what nobody gets at where the call stands; a name that no variable has, or a look would call again."""
    return ast.copy_location(ast.Name(one_line(ast.unparse(call)), ast.Load()), call)


def _given(call: ast.Call) -> Iterator[ast.expr]:
    yield from call.args
    yield from (keyword.value for keyword in call.keywords)


def _shares(one: Tensor, other: Tensor) -> bool:
    return not set(one.storages).isdisjoint(other.storages)
