"""Which programs import a file, so that running them runs its code: told from their texts, nothing is run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping

from gradfix.backward.cases import reaches_backward
from gradfix.project.imports import files_run, folder_of, root_of

MOST = 2  # programs that one file is judged by


class Programs:
    """The files of a project that are programs, with what they import, directly and through others."""

    def __init__(self, texts: Mapping[str, str], cwd: str) -> None:
        """`texts` by absolute path. Files that can't be parsed import nothing."""
        self._texts = texts
        self._trees: dict[str, ast.Module | None] = {}
        roots = {root_of(path) for path in texts}
        self._bases = tuple(dict.fromkeys((cwd, os.path.join(cwd, "src"), *sorted(roots))))

    def importing(self, path: str) -> tuple[str, ...]:
        """Programs that reach a backward pass and import the file `path`, those next to it first; at most `MOST`."""
        likely = [p for p in self._texts if p != path and ("backward" in self._texts[p] or "grad" in self._texts[p])]
        programs = [program for program in likely if self._is_program(program) and path in self._reached(program)]
        near = sorted(programs, key=lambda program: (os.path.dirname(program) != os.path.dirname(path), program))
        return tuple(near[:MOST])

    def _is_program(self, path: str) -> bool:
        tree = self._tree(path)
        return tree is not None and reaches_backward(tree)

    def _reached(self, program: str) -> set[str]:
        reached, todo = {program}, [program]
        while todo:
            for imported in self._imports(todo.pop(), program):
                if imported not in reached:
                    reached.add(imported)
                    todo.append(imported)
        return reached

    def _imports(self, path: str, program: str) -> Iterator[str]:
        tree = self._tree(path)
        bases = (os.path.dirname(program), *self._bases)
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from files_run(bases, alias.name, self._texts.__contains__)
            elif isinstance(node, ast.ImportFrom):
                starts = (folder_of(path, node.level),) if node.level else bases
                for alias in node.names:
                    name = ".".join(part for part in (node.module, alias.name) if part)
                    yield from files_run(starts, name, self._texts.__contains__)

    def _tree(self, path: str) -> ast.Module | None:
        if path not in self._trees:
            try:
                self._trees[path] = ast.parse(self._texts[path])
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                self._trees[path] = None
        return self._trees[path]
