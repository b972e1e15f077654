"""A module of the project as other files see it: what its names stand for, told from its text; effects when asked."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gradfix.analysis.across import effects, events
from gradfix.analysis.across.definitions import (
    dotted,
    holders_made,
)
from gradfix.analysis.across.members import OpenClass, OpenFunction, OpenVariable
from gradfix.analysis.across.rounds import Rounds
from gradfix.analysis.across.signatures import parameters_of
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.effects import Effects, Given
from gradfix.analysis.imports import Definition, Export, Found, Held, Imports, Modules
from gradfix.analysis.summaries import ModuleSummary
from gradfix.analysis.text.names import imports_of, listed_in, stars_of
from gradfix.analysis.text.parameter_writes import ParameterWrites
from gradfix.analysis.text.write_spellings import Spellings
from gradfix.source import Source

Run = Callable[[Imports], "tuple[Machine, State]"]  # the interpreter, after it has run the top level


Indexed = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | str


@dataclass(slots=True)
class OpenModule:
    """A parsed module, with what is known of its names so far."""

    name: str
    is_package: bool
    tree: ast.Module
    source: Source
    spellings: Spellings
    run: Run
    modules: Modules
    rounds: Rounds
    index: dict[str, Indexed] = field(default_factory=dict)  # a qualified name: imported
    star_names: list[str] = field(default_factory=list)
    learning: set[str] = field(default_factory=set)  # variables that may hold parameters
    held: dict[str, dict[str, Held]] = field(default_factory=dict)  # by class
    defined: dict[str, Definition | None] = field(default_factory=dict)  # of classes
    asked: set[str] = field(default_factory=set)  # classes whose bases in other modules are being asked
    _started: tuple[Machine, State] | None = None
    _writing: ParameterWrites | None = None
    _own: Imports | None = None

    def __post_init__(self) -> None:
        self._note(self.tree.body)

    @property
    def file(self) -> str:
        """The path of the file from where imports start."""
        return self.own.file

    @property
    def own(self) -> Imports:
        """What its imports lead to."""
        if self._own is None:
            self._own = Imports(self.modules, self.name, self.is_package, follows_all=True)
        return self._own

    @property
    def stars(self) -> tuple[str, ...]:
        """The modules whose names it takes over with `import *`."""
        return tuple(self.star_names)

    @property
    def shared(self) -> tuple[str, ...]:
        """Its own names that `import *` takes over."""
        known = (*self.index, *self.learning)
        listed = listed_in(self.tree)
        return tuple(name for name in known if (name[0] != "_" if listed is None else name in listed))

    def imports(self, modules: Modules) -> Imports:
        """What its imports lead to, whoever asks."""
        return self.own

    def find(self, name: str) -> Found | None:
        """What a name of the module stands for."""
        known = self.index.get(name)
        if isinstance(known, str):
            return Export(name, known)
        if isinstance(known, ast.ClassDef):
            return OpenClass(self, known)
        if known is None:
            return OpenVariable(self, name) if name in self.learning else None
        return OpenFunction(self, name, parameters_of(known))

    def may_write(self, name: str) -> bool:
        """False where the module itself defines the name, and calling it surely writes to no tensor."""
        if isinstance(self.index.get(name.partition(".")[0], ""), str):
            return True
        if self._writing is None:
            self._writing = ParameterWrites(self.tree)
        return self._writing.may_write(name)

    def may_train(self, name: str) -> bool:
        """False where the module itself defines the name, and calling it surely starts no backward and no step."""
        return self.spellings.may_train(name.partition(".")[0])

    def definition(self, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The text of a function, or of the method `Class.name`, where it stands in the module itself."""
        first, _, method = name.partition(".")
        known = self.index.get(first)
        for one in known.body if isinstance(known, ast.ClassDef) else [known]:
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)) and one.name == (method or first):
                return one
        return None

    def qualified(self, node: ast.expr) -> str:
        """What an expression of the top level names."""
        first, _, rest = dotted(node).partition(".")
        known = self.index.get(first)
        start = known if isinstance(known, str) else first
        return f"{start}.{rest}" if rest else start

    def held_by(self, name: str) -> Effects | None:
        """What a variable holds after the top level has run."""
        m, end = self._end()
        return effects.of_variable(m, end, name)

    def _end(self) -> tuple[Machine, State]:
        if self._started is None:
            self._started = self.run(self.own)
        return self._started

    def computed(self, function: OpenFunction, given: Given) -> Effects | None:
        """The effects of a function, played on tensors; None where it can't be followed."""
        m, end = self._end()
        found = effects.of_function(m, end, function.name, function.parameters, given, function.making)
        if found is None or not found.events or not function.may_ask():
            return found
        return replace(found, events=events.unsure(found.events))

    def closed(self) -> ModuleSummary:
        """Everything that others can know of it, as a value; names with an underscore before them are its own."""
        public = [found for name in self.index if (found := self.find(name)) and not name.startswith("_")]
        return ModuleSummary(
            self.name,
            self.is_package,
            tuple(f.closed() for f in public if isinstance(f, OpenFunction)),
            tuple(f.closed() for f in public if isinstance(f, OpenClass)),
            tuple(f for f in public if isinstance(f, Export)),
            tuple(held for name in sorted(self.learning) if (held := OpenVariable(self, name).closed()) is not None),
            self.stars,
        )

    def _note(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self.index[statement.name] = statement
            elif isinstance(statement, (ast.Import, ast.ImportFrom)):
                self.index.update(imports_of(statement))
                self.star_names += stars_of(statement)
            elif isinstance(statement, ast.Assign) and isinstance(statement.value, (ast.Name, ast.Attribute)):
                for target in statement.targets:
                    if isinstance(target, ast.Name):
                        self._alias(target.id, statement.value)
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and self.spellings.may_learn():
                self.learning.update(holders_made(statement))
            for part in ("body", "orelse", "handlers", "finalbody"):
                if isinstance(statement, (ast.If, ast.Try, ast.ExceptHandler)):
                    self._note(getattr(statement, part, []))

    def _alias(self, name: str, value: ast.expr) -> None:
        known = self.index.get(value.id) if isinstance(value, ast.Name) else self.qualified(value)
        if known is not None:
            self.index[name] = known
