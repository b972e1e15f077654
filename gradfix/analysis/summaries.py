"""What other files know of a module: its functions with their effects, its classes, what its names stand for.

Frozen values of numbers, strings and tuples only: they pickle, `dataclasses.asdict` makes JSON of them, and equal ones
have equal digests.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import NamedTuple

from gradfix.analysis.effects import Effects, Given, Parameter, Returned, nameless
from gradfix.analysis.imports import Callee, Definition, Described, Export, Found, Held, Imports, Modules, Variable

INPUT = Parameter("input")  # of a module that a function makes, or whose forward is that of torch.nn


def _severs(returned: Returned) -> bool:
    return bool(returned.behind.severed) or any(map(_severs, returned.items))


class Told(NamedTuple):
    """What the text of a function alone tells."""

    switching: bool = False  # it switches gradients
    turning_off: bool = False  # what runs under it has them off
    altering: bool = False  # what it decorates gives or gets something else
    hooking: bool = False  # it registers hooks
    asking: bool = False  # it asks something to require grad


_NOTHING = Told()


@dataclass(frozen=True, slots=True)
class FunctionSummary:
    """A function, method, or the `apply` of an autograd Function."""

    name: str
    file: str
    parameters: tuple[Parameter, ...]
    variants: tuple[Effects, ...]  # the last one holds for any arguments
    told: Told = _NOTHING
    making: tuple[Effects, ...] = ()  # of a call of the module that it returns, for constants as in `variants`

    def effects(self, given: Given) -> Effects | None:
        """The variant for exactly these constants, else the one for all."""
        known = nameless(given)
        exact = (variant for variant in self.variants if variant.given == known)
        return next(exact, self.variants[-1] if self.variants else None)

    def may_write(self) -> bool:
        """False where no variant writes to an argument."""
        return any(variant.written for variant in self.variants)

    def may_sever(self) -> bool:
        """False where no variant ends a graph."""
        return any(
            any(memory.behind.severed for memory in variant.memories) or _severs(variant.returned)
            for variant in self.variants
        )

    def may_train(self) -> bool:
        """False where no variant starts a backward or steps an optimizer."""
        return any(variant.events for variant in self.variants)

    def may_switch(self) -> bool:
        """Whether something in it switches gradients."""
        return self.told.switching

    def turns_off(self) -> bool:
        """Whether what runs under it surely has gradients off."""
        return self.told.turning_off

    def alters(self) -> bool:
        """Whether a function that it decorates surely gives, or gets, something else."""
        return self.told.altering

    def may_hook(self) -> bool:
        """Whether something in it registers hooks."""
        return self.told.hooking

    def may_ask(self) -> bool:
        """Whether something in it asks something to require grad."""
        return self.told.asking

    def may_build(self) -> bool:
        """False where no variant returns a module."""
        return any(variant.returned.holds_module() for variant in self.variants)

    def made(self, given: Given) -> Callee | None:
        """What a call of the module does that it returns: for exactly these constants, else for all."""
        exact = (variant for variant in self.making if variant.given == given)
        found = next(exact, self.making[-1] if self.making else None)
        return None if found is None else FunctionSummary(self.name, self.file, (INPUT,), (found,))


@dataclass(frozen=True, slots=True)
class ClassSummary(Described):
    """A class: the qualified names of its bases, and its methods, of an autograd Function `apply` alone."""

    name: str
    bases: tuple[str, ...]
    of_modules: bool  # derives from `torch.nn.Module`
    methods: tuple[FunctionSummary, ...]
    plain: bool = False  # no bases, no operators of its own
    needed: tuple[tuple[str, tuple[str, ...]], ...] = ()  # by method: the attributes that it asks its object for
    held: tuple[tuple[str, Held], ...] = ()
    defined: Definition | None = None

    def definition(self) -> Definition | None:
        """What its objects and those of its heirs are followed by."""
        return self.defined

    def holds(self, name: str) -> Held | None:
        """What its objects have under that name."""
        return dict(self.held).get(name)

    def needs(self, name: str) -> frozenset[str]:
        """What a method asks its object for."""
        return frozenset(dict(self.needed).get(name, ()))

    def is_plain(self) -> bool:
        """Whether its objects do nothing but what its methods say."""
        return self.plain

    def is_module(self) -> bool:
        """Whether it derives from `torch.nn.Module`."""
        return self.of_modules

    def method(self, name: str) -> Callee | None:
        """The method of that name, inherited ones included."""
        return next((m for m in self.methods if m.name.rpartition(".")[2] == name), None)


@dataclass(frozen=True, slots=True)
class VariableSummary(Variable):
    """A variable, by what it holds."""

    name: str
    held: Effects

    def read(self) -> Effects | None:
        """What it holds after its file was imported."""
        return self.held


@dataclass(frozen=True, slots=True)
class ModuleSummary:
    """Everything other files can know of a module."""

    name: str
    is_package: bool = False
    functions: tuple[FunctionSummary, ...] = ()
    classes: tuple[ClassSummary, ...] = ()
    exports: tuple[Export, ...] = ()
    variables: tuple[VariableSummary, ...] = ()
    stars: tuple[str, ...] = ()

    def find(self, name: str) -> Found | None:
        """What a name of the module stands for."""
        return next((found for found in self._every() if found.name == name), None)

    def _every(self) -> tuple[FunctionSummary | ClassSummary | Export | VariableSummary, ...]:
        return (*self.functions, *self.classes, *self.exports, *self.variables)

    @property
    def shared(self) -> tuple[str, ...]:
        """Its own names that `import *` takes over."""
        return tuple(found.name for found in self._every())

    def may_write(self, name: str) -> bool:
        """False where the module itself defines the name, and calling it surely writes to no tensor."""
        found = self.find(name.partition(".")[0])
        if isinstance(found, ClassSummary):
            return any(e.written for m in found.methods for e in m.variants)
        return not isinstance(found, FunctionSummary) or any(e.written for e in found.variants)

    def may_train(self, name: str) -> bool:
        """False where the module itself defines the name, and calling it surely starts no backward and no step."""
        found = self.find(name.partition(".")[0])
        return not isinstance(found, FunctionSummary) or found.may_train()

    def imports(self, modules: Modules) -> Imports:
        """What its own imports lead to."""
        return Imports(modules, self.name, self.is_package)

    @property
    def digest(self) -> str:
        """Equal for equal summaries, in any process: what a finding was computed from can be named by it."""
        return digest(self)


def digest(summary: ModuleSummary | FunctionSummary | ClassSummary | Effects) -> str:
    """BLAKE2b of the content, 16 bytes in hexadecimal."""
    text = json.dumps(asdict(summary), sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()
