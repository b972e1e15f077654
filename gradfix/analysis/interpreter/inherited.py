"""What objects have from classes that stand in other files of the project: their own, or bases of it."""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.domain.definitions import ClassInfo
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import UNKNOWN, Const, Instance, Method, Origin, Storage, Tensor, Value
from gradfix.analysis.imports import Callee, Described, Held
from gradfix.analysis.operators import nn_layers, objects
from gradfix.analysis.text.class_attributes import given_names


def bases(m: Machine, info: ClassInfo | None) -> Iterator[tuple[Described, str]]:
    """The classes of other files that a class derives from, with their qualified names."""
    imports = m.imports
    for base in info.bases if info is not None and imports is not None else ():
        if isinstance(base, ClassInfo):
            yield from bases(m, base)
        elif imports is not None and not base.startswith("torch."):
            found = imports.find(base)
            if isinstance(found, Described):
                yield found, base


def attribute(m: Machine, state: State, owner: Instance, name: str) -> Value | None:
    """A method or attribute that an object of this file has from elsewhere; None for what isn't known."""
    if owner.info is None or name in state.slots(owner) or name in _own_names(owner.info):
        return None
    for base, _ in bases(m, owner.info):
        if base.method(name) is not None:
            return Method(owner, name)
        held = base.holds(name)
        if held is not None:
            value = state.attributes_of(owner)[name] = _made(state, held, name)
            return value
    return None


def method(m: Machine, owner: Instance, name: str) -> Callee | None:
    """A method from elsewhere, where it does there what it does here.

    It doesn't where the object has something of its own in the place of what the method asks for.
    """
    if owner.foreign is not None:
        return owner.foreign.method(name)
    for base, _ in bases(m, owner.info):
        found = base.method(name)
        if found is not None:
            return None if overridden(base, owner, name) else found
    return None


def overridden(base: Described, owner: Instance, name: str) -> frozenset[str]:
    """What a method of `base` asks its object for of which the class of the object has something of its own."""
    return frozenset() if owner.info is None else base.needs(name) & _own_names(owner.info)


def _own_names(info: ClassInfo) -> frozenset[str]:
    """The methods and attributes that classes of this file give their objects."""
    inherited = (_own_names(base) for base in info.bases if isinstance(base, ClassInfo))
    return given_names(info.node).union(info.methods, *inherited)


def _made(state: State, held: Held, name: str) -> Value:
    if held.kind == "parameter":
        return Tensor((objects.parameter(state, f"self.{name}"),))
    if held.kind == "buffer":
        memory = Storage(Origin.FRESH, f"self.{name}")
        state.nodes[memory] = None
        return Tensor((memory,))
    keywords = {key: Const(value) if is_constant else UNKNOWN for key, is_constant, value in held.keywords}
    return nn_layers.layer(state, held.kind, [UNKNOWN] * held.arguments, keywords, None)
