"""Which programs import a file, so that running them runs its code: told from their texts, nothing is run."""

from __future__ import annotations

import ast
import itertools
import os
import re
from collections.abc import Mapping

from gradfix.backward.reaching import reaches_backward
from gradfix.project.imports import files_run, folder_of, root_of

MOST = 2  # programs that one file is judged by

# In every text that spells a backward pass: what `reaches_backward` looks for.
_PASSES = re.compile(r"\.\s*backward\b|\bgrad\s*\(|gradcheck|\bfunc\b")
# In nearly every text that does something when it is run, and hardly any of a library: statements at its left edge.
_DOES = re.compile(r"^(?:if .*__main__|for |while |with |[A-Za-z_][\w.]*\()", re.MULTILINE)


class Programs:
    """The files of a project that are programs, with what they import, directly and through others."""

    def __init__(self, texts: Mapping[str, str], cwd: str) -> None:
        """`texts` by absolute path. Files that can't be parsed import nothing."""
        self._texts = texts
        self._trees: dict[str, ast.Module | None] = {}
        self._programs: dict[str, bool] = {}
        self._reached_from: dict[str, frozenset[str]] = {}
        self._imported: dict[tuple[str, str], Mapping[str, list[str]]] = {}
        self._paths: dict[ast.Module, str] = {}
        roots = {root_of(path) for path in texts}
        self._bases = tuple(dict.fromkeys((cwd, os.path.join(cwd, "src"), *sorted(roots))))

    def importing(self, path: str) -> tuple[str, ...]:
        """Programs that reach a backward pass and import the file `path`, those next to it first; at most `MOST`."""
        programs = [p for p in self._texts if p != path and self.is_program(p) and path in self._reached(p)]
        near = sorted(programs, key=lambda program: (os.path.dirname(program) != os.path.dirname(path), program))
        return tuple(near[:MOST])

    def is_program(self, path: str) -> bool:
        """Whether running the file reaches a backward pass, in its own functions or in those of files it imports."""
        if path not in self._programs:
            self._programs[path] = self._reaches_backward(path)
        return self._programs[path]

    def _reaches_backward(self, path: str) -> bool:
        text = self._texts[path]
        does = _DOES.search(text) is not None
        tree = self._tree(path) if does or _PASSES.search(text) else None
        if tree is None or reaches_backward(tree):
            return tree is not None
        folder = os.path.dirname(path)
        return does and reaches_backward(tree, lambda file, name: self._opened(file, name, folder))

    def _reached(self, program: str) -> frozenset[str]:
        """The files that running this one imports, and itself."""
        if program not in self._reached_from:
            reached, todo = {program}, [program]
            while todo:
                imported = self._imports(todo.pop(), os.path.dirname(program)).values()
                new = set(itertools.chain.from_iterable(imported)) - reached
                reached |= new
                todo += new
            self._reached_from[program] = frozenset(reached)
        return self._reached_from[program]

    def _opened(self, file: ast.Module, name: str, folder: str) -> list[ast.Module]:
        """The files that `name` is imported from in this one."""
        paths = self._imports(self._paths[file], folder).get(name, ())
        return [tree for tree in map(self._tree, paths) if tree is not None]

    def _imports(self, path: str, folder: str) -> Mapping[str, list[str]]:
        """What each name that a file imports runs, where the program that imports the file stands in `folder`."""
        if (path, folder) not in self._imported:
            found: dict[str, list[str]] = {}
            tree, bases = self._tree(path), (folder, *self._bases)
            for node in ast.walk(tree) if tree is not None else ():
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        bound = alias.asname or alias.name.partition(".")[0]
                        found.setdefault(bound, []).extend(files_run(bases, alias.name, self._texts.__contains__))
                elif isinstance(node, ast.ImportFrom):
                    starts = (folder_of(path, node.level),) if node.level else bases
                    for alias in node.names:
                        name = ".".join(part for part in (node.module, alias.name) if part)
                        files = files_run(starts, name, self._texts.__contains__)
                        found.setdefault(alias.asname or alias.name, []).extend(files)
            self._imported[path, folder] = found
        return self._imported[path, folder]

    def _tree(self, path: str) -> ast.Module | None:
        if path not in self._trees:
            try:
                self._trees[path] = tree = ast.parse(self._texts[path])
                self._paths[tree] = path
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                self._trees[path] = None
        return self._trees[path]
