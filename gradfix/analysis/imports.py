"""What the imports of a file lead to, and what is asked there: of functions, classes and variables of other files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gradfix.analysis.effects import Constant, Effects, Given, Parameter, usual


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

    def may_train(self) -> bool:
        """False where it surely starts no backward and steps no optimizer, as far as its text tells."""

    def may_switch(self) -> bool:
        """False where it surely switches no gradients on or off, as far as its text tells."""

    def turns_off(self) -> bool:
        """Whether what runs under it, a decorator or context manager, surely has gradients off, as its text tells."""

    def alters(self) -> bool:
        """Whether a function that it decorates surely gives, or gets, something else, as its text tells."""

    def may_hook(self) -> bool:
        """False where it surely registers no hook, as far as its text tells."""

    def may_ask(self) -> bool:
        """False where it surely asks nothing to require grad, as far as its text tells."""

    def may_build(self) -> bool:
        """False where it surely returns no module that it has made, as far as its text tells."""

    def made(self, given: Given) -> Callee | None:
        """What a call of the module does that it returns for these constants; None where nothing is known."""


@dataclass(frozen=True, slots=True)
class Held:
    """What an object has from its constructor under one name."""

    kind: str  # "parameter", "buffer", or a class of torch.nn by its bare name
    arguments: int = 0  # of the constructor of that class, by position
    keywords: tuple[tuple[str, bool, Constant], ...] = ()  # (name, whether it is a constant, which)


@dataclass(frozen=True, slots=True)
class Definition:
    """The text of a class that can be followed where its objects are used, and what it means by names of its file."""

    file: str  # for the reader
    line: int
    is_whole: bool  # nothing but the text says what its objects do
    text: str
    symbols: tuple[tuple[str, str], ...]  # qualified
    constants: tuple[tuple[str, Constant], ...]
    patched: frozenset[str]  # attributes that the file sets on the class once it is made


class Described(ABC):
    """A class of another file."""

    __slots__ = ()

    @abstractmethod
    def is_module(self) -> bool:
        """Whether it derives from `torch.nn.Module`."""

    @abstractmethod
    def is_plain(self) -> bool:
        """Whether its objects do nothing but what its methods say: no bases, no operators of its own."""

    def definition(self) -> Definition | None:
        """What its objects and those of its heirs are followed by; None where nobody knows it."""
        return None

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

    @property
    def shared(self) -> tuple[str, ...]:
        """Its own names that `import *` takes over."""

    def may_write(self, name: str) -> bool:
        """False where the module itself defines the name, and calling it surely writes to no tensor."""

    def may_train(self, name: str) -> bool:
        """False where the module itself defines the name, and calling it surely starts no backward and no step."""

    def imports(self, modules: Modules) -> Imports:
        """What its own imports lead to, where `modules` are those of the file that asks."""


class Modules(Protocol):
    """The modules of a project that a file can import, by dotted name: a dictionary of summaries is one."""

    def get(self, name: str, /) -> Module | None:
        """The module of that name; None for what isn't of the project."""


# The module, what it has, the first part of its name there.
Traced = tuple[Module, Found | None, str] | None
May = Callable[[Module, str], bool]  # False: by that name the module has nothing that is sought


@dataclass(frozen=True, slots=True)
class Imports:
    """What the imports of one file lead to."""

    modules: Modules
    name: str = "__main__"  # of the file itself
    is_package: bool = False
    follows_all: bool = False  # True: each call is played; False: those alone that its caller is concerned with
    writers: set[str] = field(default_factory=set, compare=False, repr=False)  # names of functions that write
    layers: set[str] = field(default_factory=set, compare=False, repr=False)  # and classes whose objects do
    trainers: set[str] = field(default_factory=set, compare=False, repr=False)  # names of functions that go back
    traces: dict[tuple[str, str], Traced] = field(default_factory=dict, compare=False, repr=False)  # of all files
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
        traced = self._trace(name, "writes", _may_write)
        if traced is None or traced[1] is None:
            return ""
        found = traced[1]
        if isinstance(found, (Export, Variable)):
            return ""
        called = list(map(found.method, ("forward", "__call__", "apply"))) if isinstance(found, Described) else [found]
        effects = (one.effects(usual(one.parameters)) for one in called if one is not None)
        kind = "class" if isinstance(found, Described) else "function"
        return kind if any(e is not None and e.written for e in effects) else ""

    def trains(self, name: str) -> bool:
        """Whether a function by that name may start a backward, or step an optimizer, as far as its text tells."""
        traced = self._trace(name, "trains", _may_train)
        found = None if traced is None else traced[1]
        return found is not None and not isinstance(found, (Described, Export, Variable)) and found.may_train()

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

    def alters(self, name: str) -> bool:
        """Whether a function under a decorator by that name surely gives, or gets, something else."""
        found = self.find(name)
        return found is not None and not isinstance(found, Described) and found.alters()

    def starred(self, star: str) -> dict[str, str]:
        """What `import *` of a module of the project binds: names, and what is imported under them."""
        found: dict[str, str] = {}
        asked, seen = [self.absolute(star).rstrip(".")], set[str]()
        while asked:
            name = asked.pop(0)
            module = None if name in seen else self.modules.get(name)
            seen.add(name)
            if module is None:
                continue
            inner = module.imports(self.modules)
            for own in module.shared:
                known = module.find(own)
                meant = inner.absolute(known.target) if isinstance(known, Export) else f"{name}.{own}"
                found.setdefault(own, meant)
            asked += [inner.absolute(other).rstrip(".") for other in reversed(module.stars)]
        return found

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

    def _trace(self, name: str, why: str = "", may: May = lambda module, name: True) -> Traced:
        """The module that defines a name, what it is there, and under which name; sought once for all files.

        `why` it is sought: where modules `may` not have what is.
        """
        key = self.absolute(name), why
        if key not in self.traces:
            self.traces[key] = self._sought(name, may)
        return self.traces[key]

    def _sought(self, name: str, may: May) -> Traced:
        """The same, from module to module; they may import in circles."""
        asked, seen = [(self, name)], set[str]()
        while asked:
            imports, name = asked.pop()
            absolute = imports.absolute(name)
            split = None if absolute in seen else self._split(absolute)
            seen.add(absolute)
            if split is None or not split[1] or not may(*split):
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


def _may_write(module: Module, name: str) -> bool:
    return module.may_write(name)


def _may_train(module: Module, name: str) -> bool:
    return module.may_train(name)
