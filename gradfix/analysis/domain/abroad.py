"""Code of other files that is followed from this one: what names mean there, and where it was called from here."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradfix.analysis.domain.values import Value

if TYPE_CHECKING:
    from gradfix.analysis.domain.machine import Scope


@dataclass(frozen=True, slots=True)
class Country:
    """The top level of another file, as far as a class in it asks for it."""

    file: str  # its path, for the reader
    names: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a piece of syntax stands that is followed as if it stood where it is called."""

    file: str
    line: int
    call: ast.AST  # of this file


@dataclass(frozen=True, slots=True)
class Home:
    """Where this file was left for another one."""

    call: ast.AST
    statement: ast.stmt
    scope: Scope
    sites: tuple[int, ...]
    outer_arms: int
    arms: int  # branches around
