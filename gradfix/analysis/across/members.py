"""The functions, classes and variables of an open module; what a function does is computed when it is asked for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradfix.analysis.across.definitions import (
    asked_of_object,
    is_read,
    methods_of,
    parameters_called,
    parameters_stepping,
)
from gradfix.analysis.across.followed import definition_of
from gradfix.analysis.across.held import held_by
from gradfix.analysis.across.signatures import parameters_of
from gradfix.analysis.effects import Effects, Given, Parameter, told_apart
from gradfix.analysis.imports import Callee, Definition, Described, Held, Variable
from gradfix.analysis.summaries import INPUT, ClassSummary, FunctionSummary, Told, VariableSummary
from gradfix.analysis.text.class_attributes import given_names
from gradfix.analysis.text.switches import turns_off
from gradfix.analysis.text.wrappers import alters

if TYPE_CHECKING:
    from gradfix.analysis.across.opened import OpenModule

MODULE_CLASSES = ("torch.nn.Module", "torch.nn.modules.module.Module")
_CALLED = frozenset({"__call__", "__enter__"})
_PLAIN = frozenset({"__init__", "__call__", "__repr__", "__str__"})


@dataclass(frozen=True, slots=True)
class OpenFunction:
    """A function of an open module, whose effects are computed when they are asked for."""

    module: OpenModule
    name: str
    parameters: tuple[Parameter, ...]
    making: Given | None = None  # a call of the module that `name` returns for these constants, not of `name` itself

    @property
    def file(self) -> str:
        """The name of its file, for the reader."""
        return self.module.file

    def effects(self, given: Given) -> Effects | None:
        """What a call with these constants does; None where nothing is known."""
        module = self.module
        key = self.name if self.making is None else f"{self.name}{self.making}"
        return module.rounds.value((module.file, key, given), lambda: module.computed(self, given))

    def made(self, given: Given) -> Callee | None:
        """What a call of the module does that it returns for these constants."""
        return OpenFunction(self.module, self.name, (INPUT,), given) if self.may_build() else None

    def may_write(self) -> bool:
        """False where it surely writes to no argument, as far as its text tells."""
        if self.making is not None:
            return self.module.spellings.may_make_writers(self.name)
        return self.module.may_write(self.name)

    def may_sever(self) -> bool:
        """False where its text ends no graph."""
        return self.module.spellings.may_sever(self.name.partition(".")[0])

    def may_train(self) -> bool:
        """False where its text starts no backward and steps no optimizer."""
        return self.module.spellings.may_train(self.name.partition(".")[0])

    def may_switch(self) -> bool:
        """False where its text switches no gradients on or off."""
        return self.module.spellings.may_switch(self.name.partition(".")[0])

    def turns_off(self) -> bool:
        """Whether its text turns gradients off for what runs under it."""
        node = self.module.definition(self.name)
        return node is not None and turns_off(node)

    def alters(self) -> bool:
        """Whether a function that it decorates surely gives, or gets, something else."""
        node = self.module.definition(self.name)
        return node is not None and alters(node)

    def may_hook(self) -> bool:
        """False where its text registers no hook."""
        return self.module.spellings.may_hook(self.name.partition(".")[0])

    def may_ask(self) -> bool:
        """False where its text asks nothing to require grad."""
        return self.module.spellings.may_ask(self.name.partition(".")[0])

    def may_build(self) -> bool:
        """False where its text makes no object."""
        return self.module.spellings.may_build(self.name.partition(".")[0])

    def closed(self) -> FunctionSummary:
        """The same as a value."""
        definition = self.module.definition(self.name)
        called, stepping = (named(definition, self.parameters) for named in (parameters_called, parameters_stepping))
        every = told_apart(self.parameters, called, stepping)
        variants = tuple(e for given in every if (e := self.effects(given)) is not None)
        calls = ((given, made.effects(())) for given in every if (made := self.made(given)) is not None)
        making = tuple(replace(e, given=given) for given, e in calls if e is not None)
        told = Told(self.may_switch(), self.turns_off(), self.alters(), self.may_hook(), self.may_ask())
        return FunctionSummary(self.name, self.file, self.parameters, variants, told, making)


@dataclass(frozen=True, slots=True)
class OpenClass(Described):
    """A class of an open module."""

    module: OpenModule
    node: ast.ClassDef

    @property
    def name(self) -> str:
        """Its name inside the module."""
        return self.node.name

    @property
    def bases(self) -> tuple[str, ...]:
        """Qualified names, of classes of the same module their plain ones."""
        return tuple(self.module.qualified(base) for base in self.node.bases)

    def is_module(self) -> bool:
        """Whether it derives from `torch.nn.Module`."""
        return self._derives(MODULE_CLASSES, set()) or self._is_layer(set())

    def is_plain(self) -> bool:
        """Whether its objects do nothing but what its methods say: no bases, no operators of its own."""
        defined = {s.name for s in self.node.body if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef))}
        own = {name for name in defined if name.startswith("__") and name.endswith("__")}
        return not (self.node.bases or self.node.keywords or self.node.decorator_list) and own <= _PLAIN

    def definition(self) -> Definition | None:
        """What its objects and those of its heirs are followed by."""
        module = self.module
        if self.name not in module.defined:
            module.defined[self.name] = None if self.node.col_offset else definition_of(self.node, module)
        return module.defined[self.name]

    def method(self, name: str) -> Callee | None:
        """The method of that name, inherited ones included."""
        if name == "apply" and any(base.endswith("autograd.Function") for base in self.bases):
            forward = self._own("forward", set())
            return None if forward is None else self._opened(forward, name)
        found = self._own(name, set())
        if found is None:
            other = next((m for base in self._elsewhere() if (m := base.method(name)) is not None), None)
            is_layer = other is None and name == "forward" and self._is_layer(set())
            return OpenFunction(self.module, f"{self.name}.{name}", (INPUT,)) if is_layer else other
        return None if is_read(found) else self._opened(found, name)

    def needs(self, name: str) -> frozenset[str]:
        """What a method asks its object for, itself or by methods of the class."""
        found: set[str] = set()
        todo = [name]
        while todo:
            asked_for = todo.pop()
            method = self._own(asked_for, set())
            if method is None and asked_for == "forward" and self._is_layer(set()):
                asked = frozenset({"__init__"})  # which makes the layers that its base calls
            elif method is None:
                asked = frozenset[str]().union(*(base.needs(asked_for) for base in self._elsewhere()))
            else:
                asked = asked_of_object(method)
            todo += asked - found
            found |= asked
        return frozenset(found)

    def _is_layer(self, seen: set[str]) -> bool:
        """Whether it leaves its `forward` to a class of torch.nn."""
        layers = (b for b in self.bases if b.startswith("torch.nn.") and b not in MODULE_CLASSES)
        return any(layers) or any(parent._is_layer(seen) for parent in self._parents(seen))

    def holds(self, name: str) -> Held | None:
        """What its objects have under that name, wherever the class says so."""
        own = self._held().get(name)
        if own is not None or name in given_names(self.node):
            return own
        return next((held for base in self._elsewhere() if (held := base.holds(name)) is not None), None)

    def _elsewhere(self) -> Iterator[Described]:
        """The classes of other modules that it derives from; none while they are asked, or bases may go in a circle."""
        if self.name in self.module.asked:
            return
        self.module.asked.add(self.name)
        try:
            for base in self.bases:
                found = self.module.own.find(base) if "." in base and not base.startswith("torch.") else None
                if isinstance(found, Described):
                    yield found
            for parent in self._parents({self.name}):
                yield from parent._elsewhere()
        finally:
            self.module.asked.discard(self.name)

    def _held(self) -> dict[str, Held]:
        if self.name not in self.module.held:
            found: dict[str, Held] = {}
            for base in self._parents({self.name}):
                found.update(base._held())
            self.module.held[self.name] = {**found, **held_by(self.node, self.module.qualified)}
        return self.module.held[self.name]

    def closed(self) -> ClassSummary:
        """The same as a value."""
        own = [s.name for s in self.node.body if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef))]
        names = dict.fromkeys(["apply", "forward", *own])
        methods = (self.method(name) for name in names if not name.startswith("__") or name in _CALLED)
        known = {m.name.rpartition(".")[2]: m.closed() for m in methods if isinstance(m, OpenFunction)}
        held = self._held()
        for base in self._elsewhere():
            other = base.closed() if isinstance(base, OpenClass) else base
            if isinstance(other, ClassSummary):
                known = {**{m.name.rpartition(".")[2]: m for m in other.methods}, **known}
                held = {**{name: one for name, one in other.held if name not in given_names(self.node)}, **held}
        needed = tuple((name, tuple(sorted(self.needs(name)))) for name in known)
        every = tuple(known.values())
        return ClassSummary(
            self.name,
            self.bases,
            self.is_module(),
            every,
            self.is_plain(),
            needed,
            tuple(sorted(held.items())),
            self.definition(),
        )

    def _opened(self, node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> OpenFunction:
        marks = {ast.unparse(decorator) for decorator in node.decorator_list}
        bare = name != "apply" and "staticmethod" in marks
        return OpenFunction(self.module, f"{self.name}.{name}", parameters_of(node)[0 if bare else 1 :])

    def _own(self, name: str, seen: set[str]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        own = methods_of(self.node).get(name)
        if own is not None:
            return own
        for base in self._parents(seen):
            if (found := base._own(name, seen)) is not None:
                return found
        return None

    def _parents(self, seen: set[str]) -> Iterator[OpenClass]:
        for base in self.bases:
            known = self.module.index.get(base)
            if isinstance(known, ast.ClassDef) and base not in seen:
                seen.add(base)
                yield OpenClass(self.module, known)

    def _derives(self, names: tuple[str, ...], seen: set[str]) -> bool:
        if any(base in names for base in self.bases) or any(p._derives(names, seen) for p in self._parents(seen)):
            return True
        others = (self.module.own.find(base) for base in self.bases if "." in base and not base.startswith("torch."))
        return any(isinstance(other, Described) and other.is_module() for other in others)


@dataclass(frozen=True, slots=True)
class OpenVariable(Variable):
    """A variable of an open module."""

    module: OpenModule
    name: str

    def read(self) -> Effects | None:
        """What it holds after its file was imported."""
        module = self.module
        return module.rounds.value((module.file, f"{self.name} =", ()), lambda: module.held_by(self.name))

    def closed(self) -> VariableSummary | None:
        """The same as a value."""
        held = self.read()
        return None if held is None else VariableSummary(self.name, held)
