"""What is looked for, in which file, and the fixes that come of it: all there is before anything has run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradfix.codemod import Codemod
from gradfix.engine.policy import Policy
from gradfix.project.files import Stamp
from gradfix.results import FixResult
from gradfix.source import Source

if TYPE_CHECKING:
    from gradfix.analysis.imports import Imports
    from gradfix.backward.cases import Case

MODULE = "<module>"  # where a finding outside of functions stands


@dataclass(frozen=True, slots=True)
class Rules:
    """What is looked for, and what is done about it."""

    codemods: tuple[Codemod, ...]
    policy: Policy
    imports_of: Callable[[str], Imports] | None = None  # None: each file is looked at alone

    def imports(self, path: str) -> Imports | None:
        """What the imports of the file at `path` lead to."""
        return None if self.imports_of is None else self.imports_of(path)


@dataclass(frozen=True, slots=True)
class Loaded:
    """One file as it was read. Without a stamp it came from stdin and is never written."""

    path: str
    source: Source
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One file with its fixes, before anything of it has run."""

    loaded: Loaded
    fixed: FixResult
    cases: tuple[Case, ...]

    @property
    def sought(self) -> tuple[str, ...]:
        """The functions of which calls are going to be sought: nothing else runs them for sure."""
        from gradfix.backward.cases import Command

        if not all(isinstance(case, Command) for case in self.cases):
            return ()
        names = (result.finding.identity.qualname for result in self.fixed.applied)
        return tuple(dict.fromkeys(name for name in names if name != MODULE))
