"""What a file defines, and how far the interpreter has followed it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradfix.analysis.domain.abroad import Country
from gradfix.analysis.domain.definitions import ClassInfo, FunctionInfo
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Class, Function, Instance, Value
from gradfix.analysis.facts import Tracked

MODULE = 0  # number of the module's frame


@dataclass(slots=True)
class Defined:
    """Functions and classes of one file, as running their definitions left them."""

    # Of each function: the frames it closes over, and the class it is a method of.
    functions: dict[FunctionInfo, tuple[tuple[int, ...], ClassInfo | None]] = field(default_factory=dict)
    closed: dict[FunctionInfo, Function] = field(default_factory=dict)  # as their definition made them
    decorated: dict[FunctionInfo, Function] = field(default_factory=dict)  # what stands in the place of a method
    altered: set[FunctionInfo] = field(default_factory=set)  # give, or get, something else: decorated so elsewhere
    statics: dict[ClassInfo, Instance] = field(default_factory=dict)  # holds what a class body assigns
    instances: dict[ClassInfo, tuple[Instance, State]] = field(default_factory=dict)  # and the state they were made in
    heirs: dict[ClassInfo, list[ClassInfo]] = field(default_factory=dict)  # those that name it as a base
    idle: dict[ClassInfo, frozenset[FunctionInfo]] = field(default_factory=dict)  # made without alarm: what that ran
    plain: dict[object, frozenset[FunctionInfo] | None] = field(default_factory=dict)  # constructors, see `postponed`
    covered: set[FunctionInfo] = field(default_factory=set)  # followed from a call whose gradients were asked for
    covered_by_program: frozenset[FunctionInfo] = frozenset()
    handed: dict[FunctionInfo, Tracked] = field(default_factory=dict)  # to what calls them: with gradients on or off
    abroad: dict[int, Country] = field(default_factory=dict)  # other files, by the number of their frame
    adopted: dict[str, Class | None] = field(default_factory=dict)  # classes of other files, by qualified name
    named: dict[ClassInfo, str] = field(default_factory=dict)  # the same the other way round
    constants: dict[ClassInfo, dict[str, Value]] = field(default_factory=dict)  # that their bodies assign
    brought: dict[tuple[int, FunctionInfo], FunctionInfo] = field(default_factory=dict)  # by id of the call
    mapped: set[FunctionInfo] = field(default_factory=set)  # run on examples of a batch

    def bound(self, info: FunctionInfo, receiver: Value | None) -> Function:
        """A method taken from an instance (or from its class, without receiver)."""
        made = self.decorated.get(info) or self.closed.get(info)
        if made is None:
            return Function(info, (MODULE,), receiver)
        return Function(made.info, made.frames, receiver, made.defaults, made.grad)

    def heirs_of(self, info: ClassInfo) -> list[ClassInfo]:
        """The classes of this file that derive from a class, near or far, nearer ones first."""
        found: dict[ClassInfo, None] = {}
        todo = [info]
        while todo:
            for heir in self.heirs.get(todo.pop(), ()):
                if heir not in found:
                    found[heir] = None
                    todo.append(heir)
        return list(found)

    def static(self, state: State, info: ClassInfo, name: str) -> Value | None:
        """What the body of a class, or of a base, holds under a name."""
        held = self.statics.get(info)
        found = (state.attributes.get(held) or {}).get(name) if held is not None else None
        bases = (base for base in info.bases if isinstance(base, ClassInfo))
        return found or next((value for base in bases if (value := self.static(state, base, name))), None)
