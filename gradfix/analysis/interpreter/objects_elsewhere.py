"""Objects whose classes stand in other files of the project, or that functions there make."""

from __future__ import annotations

from dataclasses import dataclass

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import UNKNOWN, Instance, Tensor, tensors
from gradfix.analysis.effects import Given
from gradfix.analysis.facts import Tracked
from gradfix.analysis.imports import Callee, Described, Held
from gradfix.analysis.operators import objects

_LEARNT = "<parameters>"  # the attribute that stands for all parameters of an object of another file


@dataclass(frozen=True, slots=True)
class Made(Described):
    """What a function of another file returns to a constructor, mostly a module; it is asked once it is called."""

    maker: Callee
    given: Given

    def is_module(self) -> bool:
        """False: that isn't known."""
        return False

    def is_plain(self) -> bool:
        """False: that isn't known."""
        return False

    def method(self, name: str) -> Callee | None:
        """What calling it does."""
        return self.maker.made(self.given) if name == "forward" else None

    def needs(self, name: str) -> frozenset[str]:
        """Nothing that another class could have in its place."""
        return frozenset()

    def holds(self, name: str) -> Held | None:
        """Nothing that is known."""
        return None


@dataclass(frozen=True, slots=True)
class SomeNetwork(Described):
    """The class of a module of which nothing is known but that it may have parameters."""

    def is_module(self) -> bool:
        """True."""
        return True

    def is_plain(self) -> bool:
        """False."""
        return False

    def method(self, name: str) -> Callee | None:
        """Nothing that is known."""
        return None

    def needs(self, name: str) -> frozenset[str]:
        """Nothing that another class could have in its place."""
        return frozenset()

    def holds(self, name: str) -> Held | None:
        """Nothing that is known."""
        return None


def network_of(m: Machine, state: State, name: str) -> Instance:
    """A module that somebody made, by the qualified name of its class; "" for one of which nothing is known."""
    found = m.imports.find(name) if m.imports is not None and name else None
    return object_of(m, state, found if isinstance(found, Described) else SomeNetwork(), name)


def class_name(m: Machine, made: Instance) -> str:
    """The qualified name of the class of an object; "" where others can't find it by one."""
    if made.info is None or m.imports is None:
        return made.named
    if made.info in m.defined.named:
        return m.defined.named[made.info]
    return "" if "." in made.info.qualname else f"{m.imports.name}.{made.info.qualname}"


def object_of(m: Machine, state: State, described: Described, name: str) -> Instance:
    """A new object of a class of another file, with the parameters of a module."""
    made = Instance(None, described, name if m.imports is None else m.imports.absolute(name))
    state.attributes[made] = {}
    if described.is_module():
        memory = objects.parameter(state, f"{name}.parameters")
        if (node := state.nodes.get(memory)) is not None:
            node.tracked = Tracked.MAYBE  # of how many parameters nothing is known: there may be none
        state.attributes_of(made)[_LEARNT] = Tensor((memory,))
    return made


def learnt(state: State, module: Instance) -> tuple[Tensor, ...]:
    """What stands for the parameters of an object of another file."""
    return tensors(state.slots(module).get(_LEARNT, UNKNOWN))
