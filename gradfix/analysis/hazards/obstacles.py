"""What stands in the way of giving the target of a write a new tensor."""

from __future__ import annotations

import ast

from gradfix.analysis.domain.defined import MODULE
from gradfix.analysis.domain.holders import tensors_within
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import WriteRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Container, Instance, Origin, Tensor, Value, options
from gradfix.analysis.facts import Obstacle, ObstacleKind, Tracked, WriteForm
from gradfix.analysis.hazards.write_records import Site
from gradfix.analysis.text.targets import base_of, root_of


def note(m: Machine, state: State, record: WriteRecord, site: Site, tensor: Tensor) -> None:
    """Note whatever a rewrite of this write could miss, or could not bind."""
    if state.grad is not Tracked.YES and any(state.nodes.get(s) is not None for s in tensor.storages):
        name = m.spelling(site.target)
        record.add_obstacle(Obstacle(ObstacleKind.GRADIENTS_OFF, name, certain=state.grad is Tracked.NO))
    for storage in tensor.storages:
        name = storage.name or m.spelling(site.target)
        if storage.origin is Origin.ARGUMENT:
            record.add_obstacle(Obstacle(ObstacleKind.CALLER_SEES, name, certain=False))
        elif storage.origin is Origin.OUTSIDE or storage.escaped:
            record.add_obstacle(Obstacle(ObstacleKind.ESCAPED, name, certain=False))
        elif storage.origin is Origin.PARAMETER and _is_of_module(m, state, site.target):
            record.add_obstacle(Obstacle(ObstacleKind.PARAMETER, m.spelling(site.target)))
    root = root_of(site.target)
    if _in_tuple(m, state, site.target):
        record.add_obstacle(Obstacle(ObstacleKind.IN_TUPLE, m.spelling(site.target)))
    elif root is not None and _is_fixed(m, state, root):
        record.add_obstacle(Obstacle(ObstacleKind.FROZEN, m.spelling(root)))
    elif _is_computed(m, state, site.target, tensor):
        record.add_obstacle(Obstacle(ObstacleKind.COMPUTED, m.spelling(site.target)))
    elif site.form is WriteForm.FOREIGN and isinstance(m.look(state, site.target), Container):
        record.add_obstacle(Obstacle(ObstacleKind.HOLDS_ITEMS, m.spelling(site.target)))
    elif root is None:
        record.add_obstacle(Obstacle(ObstacleKind.NOT_A_NAME, m.spelling(site.target)))
    elif isinstance(root, ast.Name) and isinstance(site.target, (ast.Name, ast.Subscript)):
        info = m.scope.info
        if info is not None and root.id not in info.local_names and m.scope.frames[0] != MODULE:
            record.add_obstacle(Obstacle(ObstacleKind.CLOSURE, root.id))


def _is_of_module(m: Machine, state: State, target: ast.expr) -> bool:
    """True for `self.weight`, and for an item of a list or dict of parameters."""
    if not isinstance(target, ast.Subscript):
        return isinstance(target, ast.Attribute)
    held = m.look(state, target.value)
    return isinstance(held, Container) and held.kind == "modules"


def _in_tuple(m: Machine, state: State, target: ast.expr) -> bool:
    """True for an item of a tuple, which can't be given another tensor."""
    if not isinstance(target, ast.Subscript) or not isinstance(target.value, (ast.Name, ast.Attribute)):
        return False
    held = m.look(state, target.value)
    return isinstance(held, Container) and held.kind == "tuple"


def _is_fixed(m: Machine, state: State, root: ast.expr) -> bool:
    """True for a field of a named tuple or a frozen dataclass."""
    owner = m.look(state, root.value) if isinstance(root, ast.Attribute) else None
    return isinstance(owner, Instance) and owner.info is not None and owner.info.is_frozen


def _is_computed(m: Machine, state: State, target: ast.expr, tensor: Tensor) -> bool:
    """True for what a property or a `__getitem__` makes: there is no setter, or what it sets isn't what was written."""
    base = base_of(target)
    if base is not target and any(_computes_items(held) for held in options(m.look(state, base))):
        return True
    if not isinstance(base, ast.Attribute):
        return False
    for owner in options(m.look(state, base.value)):
        if isinstance(owner, Instance) and owner.info is not None and owner.info.has_property(base.attr):
            kept = {s for held in tensors_within(state, *state.slots(owner).values()) for s in held.storages}
            return owner.info.method(f"{base.attr}.setter") is None or kept.isdisjoint(tensor.storages)
    return False


def _computes_items(held: Value) -> bool:
    info = held.info if isinstance(held, Instance) else None
    return info is not None and info.method("__getitem__") is not None and info.method("__setitem__") is None
