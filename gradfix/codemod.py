"""A codemod is a value: `@codemod(...)` turns one function over facts into a frozen `Codemod`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradfix.errors import CodemodError
from gradfix.findings import Applicability, Finding
from gradfix.source import Source

if TYPE_CHECKING:
    from gradfix.analysis.facts import ModuleFacts

Find = Callable[[Source, "ModuleFacts"], Iterator[Finding]]

HEADINGS = ("What it does", "Why does backward fail?", "Example", "Leaves alone", "Fix safety", "References")


@dataclass(frozen=True, slots=True)
class Codemod:
    """One problem pattern: how to find it in the facts and how to rewrite it.

    `page` is the module's docstring, the only documentation of the rule; `needles` are byte strings of which at
    least one stands in every file the codemod can say something about.
    """

    code: str  # "GF102"
    name: str  # "augmented-assignment"
    since: str  # version of gradfix it appeared in
    applicability: Applicability  # of its best fix
    symptom: str  # regular expression of the autograd error it cures
    needles: tuple[bytes, ...]
    find: Find
    page: str

    @property
    def summary(self) -> str:
        """First line of the page."""
        return self.page.strip().splitlines()[0]

    @property
    def is_builtin(self) -> bool:
        """Whether gradfix brings it along: then its findings are as severe as the facts they tell of."""
        return self.find.__module__.startswith("gradfix.codemods.")


def codemod(
    code: str,
    name: str,
    *,
    since: str,
    applicability: Applicability,
    symptom: str,
    needles: tuple[str, ...],
) -> Callable[[Find], Codemod]:
    """Declare a codemod; the page is the docstring of the module it stands in.

    Raises `CodemodError` when that module has no docstring.
    """

    def declare(find: Find) -> Codemod:
        page = inspect.getdoc(inspect.getmodule(find)) or inspect.cleandoc(find.__globals__.get("__doc__") or "")
        if not page:
            raise CodemodError(f"{code} ({name}): the module has no docstring, so the codemod has no page")
        return Codemod(code, name, since, applicability, symptom, tuple(n.encode() for n in needles), find, page)

    return declare
