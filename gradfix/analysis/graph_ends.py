"""Where graphs end behind what a function hands on, as a summary tells it."""

from __future__ import annotations

from dataclasses import dataclass

from gradfix.analysis.cut_kinds import Elsewhere


@dataclass(frozen=True, slots=True)
class Severed:
    """A place where what a function hands on lost its graph."""

    kind: str  # a value of `CutKind`
    op: str
    place: Elsewhere
    straight: bool  # what was left has only been added and scaled since
    when: tuple[int, ...] | None = None  # parameters of which one has to have a graph; None: always
    through_numpy: bool = False
    in_numbers: bool = False


@dataclass(frozen=True, slots=True)
class Behind:
    """Where graphs end behind what a function hands on."""

    severed: tuple[Severed, ...] = ()
    parameters: tuple[tuple[int, bool], ...] = ()  # whose own cuts count for it; True: only added and scaled
    is_sure: bool = True  # False: it may have a graph nobody sees


NOTHING = Behind()
