"""The other files of the project that checked ones import, read and summarised when something is asked of them."""

from __future__ import annotations

import os
from collections.abc import Callable

from gradfix import syntax
from gradfix.analysis.analyse import opened
from gradfix.analysis.rounds import Rounds
from gradfix.analysis.summaries import Imports, Module, ModuleSummary
from gradfix.errors import FileProblem
from gradfix.modules import INSTALLED, file_of, name_of, root_of
from gradfix.source import Source


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
        return Imports(self._below(root, only), name, is_package)

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
            tree = syntax.parse(source)
        except FileProblem:
            return ModuleSummary(name, is_package)
        return opened(source, tree, name, is_package=is_package, modules=self, rounds=self._rounds)
