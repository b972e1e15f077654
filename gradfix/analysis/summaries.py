"""What other files know of a module: its functions with their effects, its classes, what its names stand for.

Frozen values of numbers, strings and tuples only: they pickle, `dataclasses.asdict` makes JSON of them, and equal ones
have equal digests.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Protocol

from gradfix.analysis.effects import Constant, Effects, Given, Parameter, Returned, nameless, usual

INPUT = Parameter("input")  # of a module that a function makes, or whose forward is that of torch.nn


def _severs(returned: Returned) -> bool:
    return bool(returned.behind.severed) or any(map(_severs, returned.items))


class Callee(Protocol):
    """A function of another file."""

    @property
    def name(self) -> str:
        """Its dotted name inside the module."""

    @property
    def file(self) -> str:
        """The name of its file, for the reader."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """In order, a method's without the object."""

    def effects(self, given: Given) -> Effects | None:
        """What a call with these constants does; None where nothing is known."""

    def may_write(self) -> bool:
        """False where it surely writes to no argument, as far as its text tells."""

    def may_sever(self) -> bool:
        """False where it surely ends no graph by copying values, as far as its text tells."""

    def may_switch(self) -> bool:
        """False where it surely switches no gradients on or off, as far as its text tells."""

    def turns_off(self) -> bool:
        """Whether what runs under it, a decorator or context manager, surely has gradients off, as its text tells."""

    def may_build(self) -> bool:
        """False where it surely returns no module that it has made, as far as its text tells."""

    def made(self, given: Given) -> Callee | None:
        """What a call of the module does that it returns for these constants; None where nothing is known."""


@dataclass(frozen=True, slots=True)
class FunctionSummary:
    """A function, method, or the `apply` of an autograd Function."""

    name: str
    file: str
    parameters: tuple[Parameter, ...]
    variants: tuple[Effects, ...]  # the last one holds for any arguments
    switching: bool = False  # of gradients, as far as its text tells
    turning_off: bool = False  # what runs under it
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

    def may_switch(self) -> bool:
        """Whether something in it switches gradients."""
        return self.switching

    def turns_off(self) -> bool:
        """Whether what runs under it surely has gradients off."""
        return self.turning_off

    def may_build(self) -> bool:
        """False where no variant returns a module."""
        return any(variant.returned.holds_module() for variant in self.variants)

    def made(self, given: Given) -> Callee | None:
        """What a call of the module does that it returns: for exactly these constants, else for all."""
        exact = (variant for variant in self.making if variant.given == given)
        found = next(exact, self.making[-1] if self.making else None)
        return None if found is None else FunctionSummary(self.name, self.file, (INPUT,), (found,))


@dataclass(frozen=True, slots=True)
class Held:
    """What an object has from its constructor under one name."""

    kind: str  # "parameter", "buffer", or a class of torch.nn by its bare name
    arguments: int = 0  # of the constructor of that class, by position
    keywords: tuple[tuple[str, bool, Constant], ...] = ()  # (name, whether it is a constant, which)


class Described(ABC):
    """A class of another file."""

    __slots__ = ()

    @abstractmethod
    def is_module(self) -> bool:
        """Whether it derives from `torch.nn.Module`."""

    @abstractmethod
    def is_plain(self) -> bool:
        """Whether its objects do nothing but what its methods say: no bases, no operators of its own."""

    @abstractmethod
    def method(self, name: str) -> Callee | None:
        """A method by name."""

    @abstractmethod
    def needs(self, name: str) -> frozenset[str]:
        """What a method asks its object for, itself or by methods of the class; with others it does something else."""

    @abstractmethod
    def holds(self, name: str) -> Held | None:
        """What its objects have under that name, wherever the class says so."""


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
class Export:
    """A name that stands for something of another module."""

    name: str
    target: str  # qualified; relative ones keep their leading dots


class Variable(ABC):
    """A variable of another file that may hold tensors of its own: parameters, or a dictionary of them."""

    __slots__ = ()

    @abstractmethod
    def read(self) -> Effects | None:
        """What it holds after its file was imported, as a call without arguments would give it; None: not known."""


@dataclass(frozen=True, slots=True)
class VariableSummary(Variable):
    """A variable, by what it holds."""

    name: str
    held: Effects

    def read(self) -> Effects | None:
        """What it holds after its file was imported."""
        return self.held


Found = Callee | Described | Export | Variable


class Module(Protocol):
    """A module of the project, opened or summarised."""

    @property
    def name(self) -> str:
        """Its dotted name."""

    @property
    def is_package(self) -> bool:
        """Whether it is the `__init__` of a package."""

    @property
    def stars(self) -> tuple[str, ...]:
        """The modules whose names it takes over with `import *`."""

    def find(self, name: str) -> Found | None:
        """What a name of the module stands for."""

    def may_write(self, name: str) -> bool:
        """False where the module itself defines the name, and calling it surely writes to no tensor."""

    def imports(self, modules: Modules) -> Imports:
        """What its own imports lead to, where `modules` are those of the file that asks."""


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
        every: list[FunctionSummary | ClassSummary | Export | VariableSummary]
        every = [*self.functions, *self.classes, *self.exports, *self.variables]
        return next((found for found in every if found.name == name), None)

    def may_write(self, name: str) -> bool:
        """False where the module itself defines the name, and calling it surely writes to no tensor."""
        found = self.find(name.partition(".")[0])
        if isinstance(found, ClassSummary):
            return any(e.written for m in found.methods for e in m.variants)
        return not isinstance(found, FunctionSummary) or any(e.written for e in found.variants)

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


class Modules(Protocol):
    """The modules of a project that a file can import, by dotted name: a dictionary of summaries is one."""

    def get(self, name: str, /) -> Module | None:
        """The module of that name; None for what isn't of the project."""


Traced = tuple[Module, Found | None, str] | None  # the module, what it has, the first part of its name there


@dataclass(frozen=True, slots=True)
class Imports:
    """What the imports of one file lead to."""

    modules: Modules
    name: str = "__main__"  # of the file itself
    is_package: bool = False
    follows_all: bool = False  # True: each call is played; False: those alone that its caller is concerned with
    writers: set[str] = field(default_factory=set, compare=False, repr=False)  # names of functions that write
    layers: set[str] = field(default_factory=set, compare=False, repr=False)  # and classes whose objects do
    traces: dict[tuple[str, bool], Traced] = field(default_factory=dict, compare=False, repr=False)  # of all files
    _known: dict[str, Callee | Described | None] = field(default_factory=dict, compare=False, repr=False)

    @property
    def file(self) -> str:
        """The path of the file from where imports start."""
        return self.name.replace(".", "/") + ("/__init__.py" if self.is_package else ".py")

    def find(self, name: str) -> Callee | Described | None:
        """What a qualified name stands for; those that begin with dots are relative to the file."""
        if name not in self._known:
            traced = self._trace(name)
            found = None if traced is None else traced[1]
            self._known[name] = None if isinstance(found, (Export, Variable)) else found
        return self._known[name]

    def held(self, name: str) -> Effects | None:
        """What the variable holds that a qualified name stands for; None for anything else."""
        traced = self._trace(name)
        return traced[1].read() if traced is not None and isinstance(traced[1], Variable) else None

    def writes(self, name: str) -> str:
        """What the name stands for, "function" or "class", where calling it may write to an argument; "" elsewhere."""
        traced = self._trace(name, writers=True)
        if traced is None or traced[1] is None:
            return ""
        found = traced[1]
        if isinstance(found, (Export, Variable)):
            return ""
        called = list(map(found.method, ("forward", "__call__", "apply"))) if isinstance(found, Described) else [found]
        effects = (one.effects(usual(one.parameters)) for one in called if one is not None)
        kind = "class" if isinstance(found, Described) else "function"
        return kind if any(e is not None and e.written for e in effects) else ""

    def severs(self, name: str) -> bool:
        """Whether calling what the name stands for may end a graph, as far as its text tells."""
        found = self.find(name)
        called = list(map(found.method, ("forward", "__call__"))) if isinstance(found, Described) else [found]
        return any(one is not None and one.may_sever() for one in called)

    def switches(self, name: str) -> str:
        """What a context manager or decorator by that name does to gradients, as its text tells: "off", "maybe", ""."""
        found = self.find(name)
        called = list(map(found.method, ("__enter__", "__call__"))) if isinstance(found, Described) else [found]
        known = [one for one in called if one is not None and one.may_switch()]
        if not known:
            return ""
        return "off" if known[0].turns_off() else "maybe"

    def knows(self, names: Sequence[str]) -> bool:
        """Whether one of these names, imported here, is of the project."""
        return any(self._split(self.absolute(name)) is not None for name in names)

    def absolute(self, name: str) -> str:
        """`..pkg.f` as seen from the root of the project."""
        level = len(name) - len(name.lstrip("."))
        if not level:
            return name
        parts = self.name.split(".")
        kept = parts[: len(parts) - level + self.is_package]
        return ".".join([*kept, name[level:]])

    def _split(self, name: str) -> tuple[Module, str] | None:
        """The module a dotted name leads into, and what is left of the name."""
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            module = self.modules.get(".".join(parts[:length]))
            if module is not None:
                return module, ".".join(parts[length:])
        return None

    def _trace(self, name: str, *, writers: bool = False) -> Traced:
        """The module that defines a name, what it is there, and under which name; sought once for all files."""
        key = self.absolute(name), writers
        if key not in self.traces:
            self.traces[key] = self._sought(name, writers=writers)
        return self.traces[key]

    def _sought(self, name: str, *, writers: bool) -> Traced:
        """The same, from module to module; they may import in circles."""
        asked, seen = [(self, name)], set[str]()
        while asked:
            imports, name = asked.pop()
            absolute = imports.absolute(name)
            split = None if absolute in seen else self._split(absolute)
            seen.add(absolute)
            if split is None or not split[1] or (writers and not split[0].may_write(split[1])):
                continue
            module, rest = split
            first, _, more = rest.partition(".")
            found, inner = module.find(first), module.imports(self.modules)
            if isinstance(found, Export):
                asked.append((inner, f"{found.target}.{more}".rstrip(".")))
            elif found is None:
                asked += [(inner, f"{inner.absolute(star)}.{rest}") for star in reversed(module.stars)]
            elif not more:
                return module, found, first
            elif isinstance(found, Described):
                return module, found.method(more), first
        return None
