"""The other files of the project that checked ones import, read and summarised when something is asked of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cached_property
from unicodedata import normalize

from gradfix import syntax
from gradfix.analysis.across.rounds import Rounds
from gradfix.analysis.analyse import opened
from gradfix.analysis.imports import Found, Imports, Module, Modules, Traced
from gradfix.analysis.summaries import ModuleSummary
from gradfix.analysis.text.write_spellings import Spellings
from gradfix.errors import FileProblem
from gradfix.project.imports import INSTALLED, file_of, name_of, root_of, stands_in
from gradfix.source import Source

_STAR = re.compile(r"import[\s\\]*\*")


class Project:
    """What stands around the files of one run. Installed packages are no part of it."""

    def __init__(self, read: Callable[[str], Source], cwd: str) -> None:
        """`read` gives the source at a path, or raises `FileProblem`."""
        self._read = read
        self._cwd = cwd
        self._rooted: dict[tuple[str, str | None], _Rooted] = {}

    def imports(self, path: str) -> Imports:
        """What the imports of the file at `path` lead to."""
        path = os.path.abspath(path)
        root = root_of(path)
        name, is_package = name_of(path, root)
        only = name.partition(".")[0] if os.path.basename(root) in INSTALLED else None
        below = self._below(root, only)
        return Imports(below, name, is_package, traces=below.traces)

    def _below(self, root: str, only: str | None) -> _Rooted:
        if (root, only) not in self._rooted:
            others = [] if only else [f for f in (self._cwd, os.path.join(self._cwd, "src")) if f != root]
            below = [self._below(folder, None) for folder in others] if root not in (self._cwd, *others) else []
            self._rooted[root, only] = _Rooted(self._read, root, only, below)
        return self._rooted[root, only]


class _Rooted:
    """The modules below one folder, then those below others."""

    def __init__(self, read: Callable[[str], Source], root: str, only: str | None, others: list[_Rooted]) -> None:
        self._read, self._root, self._only, self._others = read, root, only, others
        self._opened: dict[str, Module | None] = {}
        self._rounds = Rounds()
        self.traces: dict[tuple[str, str], Traced] = {}  # where names lead that were asked for before

    def get(self, name: str) -> Module | None:
        """The module of that dotted name."""
        if name not in self._opened:
            self._opened[name] = self._found(name)
        return self._opened[name]

    def _found(self, name: str) -> Module | None:
        top, _, more = name.partition(".")
        if top == "torch" or (self._only is not None and top != self._only):
            return None
        if more and not os.path.isdir(os.path.join(self._root, top)):
            return self._elsewhere(name)
        file = file_of(self._root, name, os.path.isfile)
        if file is not None:
            return self._open(file, name)
        return self._elsewhere(name)

    def _elsewhere(self, name: str) -> Module | None:
        return next((found for other in self._others if (found := other.get(name)) is not None), None)

    def _open(self, file: str, name: str) -> Module:
        is_package = os.path.basename(file) == "__init__.py"
        try:
            source = self._read(file)
        except FileProblem:
            return ModuleSummary(name, is_package)
        return _Unopened(source, name, is_package, self, self._rounds)


class _Unopened:
    """A module that is parsed once its text doesn't tell what is asked: mostly that it has no such name."""

    def __init__(self, source: Source, name: str, is_package: bool, around: _Rooted, rounds: Rounds) -> None:
        self.name, self.is_package = name, is_package
        self._source, self._around, self._rounds = source, around, rounds

    @property
    def stars(self) -> tuple[str, ...]:
        """The modules whose names it takes over with `import *`."""
        return self._module.stars if _STAR.search(self._source.text) else ()

    @property
    def shared(self) -> tuple[str, ...]:
        """Its own names that `import *` takes over."""
        return self._module.shared

    def find(self, name: str) -> Found | None:
        """What a name of the module stands for."""
        return self._module.find(name) if self._spells(name) else None

    def may_write(self, name: str) -> bool:
        """False where the module itself defines the name, and calling it surely writes to no tensor."""
        first = name.partition(".")[0]
        return not self._spells(first) or (self._spellings.may_write(first) and self._module.may_write(name))

    def may_train(self, name: str) -> bool:
        """False where the module itself defines the name, and calling it surely starts no backward and no step."""
        first = name.partition(".")[0]
        return not self._spells(first) or self._spellings.may_train(first)

    def imports(self, modules: Modules) -> Imports:
        """What its imports lead to."""
        return self._imports

    def _spells(self, name: str) -> bool:
        """Whether the name stands in the text: what the module defines or imports does."""
        return stands_in(name, self._identifiers)

    @cached_property
    def _imports(self) -> Imports:
        return Imports(self._around, self.name, self.is_package, follows_all=True)

    @cached_property
    def _identifiers(self) -> str:
        """The text, with the identifiers in it spelled as Python knows them."""
        text = self._source.text
        return text if text.isascii() else normalize("NFKC", text)

    @cached_property
    def _spellings(self) -> Spellings:
        return Spellings(self._source.text)

    @cached_property
    def _module(self) -> Module:
        try:
            tree = syntax.parse(self._source)
        except FileProblem:
            return ModuleSummary(self.name, self.is_package)
        return opened(
            self._source, tree, self.name, is_package=self.is_package, modules=self._around, rounds=self._rounds
        )
