"""The interpreter's registers: where it is, what it has written down, how much it may still spend."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from gradfix.analysis.domain.abroad import Home
from gradfix.analysis.domain.defined import MODULE, Defined
from gradfix.analysis.domain.definitions import FunctionInfo
from gradfix.analysis.domain.flow import Flow
from gradfix.analysis.domain.graph import Node, Passage, Visit
from gradfix.analysis.domain.happened import Happened
from gradfix.analysis.domain.networks import Networks
from gradfix.analysis.domain.notes import Notes
from gradfix.analysis.domain.overloads import may_be_method
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import Function, Suspended, Tensor, Value
from gradfix.analysis.facts import TensorFacts
from gradfix.analysis.imports import Imports
from gradfix.analysis.text.guards import handler_of_errors
from gradfix.analysis.text.names import shown_tensors, tensors_alone
from gradfix.analysis.text.repeated_tests import Assumptions, repeated_tests
from gradfix.findings import Place
from gradfix.source import Source
from gradfix.torch_ops import method_names

Each = Callable[[State, Value], None]  # what happens to a value that a generator yields

STEPS = 60_000  # statements and calls of one entry; beyond, loops run once and calls aren't followed
DEPTH = 6  # calls of the file's own functions followed into each other


@dataclass(frozen=True, slots=True)
class Scope:
    """The function being interpreted."""

    qualname: str
    frames: tuple[int, ...]  # innermost first; the module's frame is last
    info: FunctionInfo | None
    comprehensions: int = 0  # of the frames, how many belong to comprehensions


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is set anew where a call is followed, and back again where a generator yields."""

    scope: Scope
    statement: ast.stmt
    sites: tuple[int, ...]
    outer_arms: int
    calls: list[FunctionInfo]
    yield_to: Each | None
    handled: ast.AST | None
    home: Home | None


@dataclass(frozen=True, slots=True)
class Position:
    """All that matters to what is interpreted there."""

    place: Whereabouts
    arms: tuple[int, ...]
    rounds: tuple[int, int, int]  # open loops around, later ones, uncertain ones


class Interpreter(Protocol):
    """The recursive half: what expressions, statements and calls ask of one another."""

    def evaluate(self, m: Machine, state: State, node: ast.expr) -> Value:
        """The value of an expression."""

    def store(self, m: Machine, state: State, target: ast.Subscript, value: Value) -> None:
        """Assign to an item, which may be a write into a tensor."""

    def call_function(
        self, m: Machine, state: State, callee: Function, args: Sequence[Value], keywords: dict[str, Value], at: ast.AST
    ) -> Value:
        """Follow a call of a function of this file."""

    def call_value(
        self, m: Machine, state: State, callee: Value, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call
    ) -> Value:
        """Call any value."""

    def unknown_call(
        self,
        m: Machine,
        state: State,
        args: Sequence[Value],
        at: ast.AST,
        *,
        weights: Sequence[Tensor] = (),
        by_name: bool = True,
    ) -> Value:
        """A call that can't be followed, with what is known of the parameters of a module that is called."""

    def run_body(self, m: Machine, state: State, info: FunctionInfo) -> Value:
        """Run the body of a function in the frame made for it; what it returns."""

    def run_block(self, m: Machine, state: State, body: Sequence[ast.stmt]) -> Flow:
        """Run statements one after the other."""

    def run_generator(self, m: Machine, state: State, suspended: Suspended, each: Each) -> None:
        """Run the body of a generator; `each` is what happens to every value it yields."""

    def collected(self, m: Machine, state: State, suspended: Suspended) -> Items:
        """All that a generator yields."""

    def rebind(self, m: Machine, state: State, target: ast.expr, old: Tensor, new: Tensor) -> None:
        """Let whatever `target` names hold `new` where it held `old`."""


class Machine:
    """Registers of one analysis. Everything that depends on the point of the program is in `State`."""

    def __init__(self, source: Source, interpreter: Interpreter, imports: Imports | None = None) -> None:
        self.source = source
        self.imports = imports  # None: nothing is known of other files
        self.notes = Notes()
        self.defined = Defined()
        self.networks = Networks()
        # What its text tells of the file.
        self.telling = tensors_alone(method_names(), source.text)
        self.trains = ".step(" in source.text  # an optimizer writes parameters
        self.moves_defaults = "set_default_" in source.text  # dtype or device of factories isn't what it seems
        self.tree = ast.Module([], [])  # of the file, once it runs
        # Where the interpreter is.
        self.scope = Scope("<module>", (MODULE,), None)
        self.statement: ast.stmt = ast.Pass(lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)
        self.entry = 0  # which entry runs: id of its function, 0 for the top level
        self.sites: tuple[int, ...] = ()  # ids of the call expressions that led here
        self.calls: list[FunctionInfo] = []
        self.followed: dict[int, tuple[ast.AST, FunctionInfo]] = {}  # by id of the call: it, and what it calls
        self.home: Home | None = None  # where this file was left for another one that is followed
        self.arms: list[int] = []  # branches taken on the way here that not every run takes, numbered afresh each time
        self.outer_arms = 0  # how many of them stand outside of the function being interpreted
        self.handled: ast.AST | None = None  # what lets the program go on after an error of torch here
        self.open_loops = 0  # loops around that have other rounds than the ones played
        self.later_round = 0  # inside a second or later round of a loop
        self.uncertain_loop = 0  # inside a second round that may not happen
        self.yield_to: Each | None = None  # what happens to what the function yields
        self.maps: tuple[int, ...] = ()  # numbers of the calls of `torch.vmap` around
        # What the entry has met.
        self.visits: list[Visit] = []  # of writes with a graph
        self.severed: dict[int, list[Node | None]] | None = None  # what stands before cuts, by key, if asked for
        self.happened: list[Happened] | None = None  # backward passes and steps, if asked for
        self.saw_backward = False
        self.steps = 0
        self.written = 0  # writes so far: who waits while others are evaluated asks for more of them
        self._interpreter = interpreter
        self._evaluate = interpreter.evaluate
        self._frames = MODULE
        self._arms = 0
        self._shown: dict[FunctionInfo, frozenset[str]] = {}
        self._repeated: dict[FunctionInfo, Mapping[int, tuple[Assumptions, Assumptions]]] = {}
        self._spelt: dict[int, tuple[ast.AST, str]] = {}  # nodes met, which own the ids, and their text

    def new_frame(self) -> int:
        """Number of a fresh, empty frame."""
        self._frames += 1
        return self._frames

    def begin(self, entry: int) -> None:
        """Start interpreting from another entry."""
        self.entry, self.sites, self.arms, self.outer_arms, self.visits = entry, (), [], 0, []
        self.handled = None
        self.networks.met = {}

    def enter_arm(self) -> None:
        """What follows isn't reached by every run; `leave_arms` ends it."""
        self._arms += 1
        self.arms.append(self._arms)

    def leave_arms(self, count: int, *, exits: bool = False) -> None:
        """Back to the first `count` branches; `exits`: some run left from inside for good."""
        del self.arms[count:]
        if exits:
            self.enter_arm()

    @contextmanager
    def within(self, block: ast.Try | ast.With | ast.AsyncWith) -> Iterator[None]:
        """Interpret the body of a statement that may handle what torch raises there."""
        before = self.handled
        self.handled = handler_of_errors(block) or before
        try:
            yield
        finally:
            self.handled = before

    def passage(self) -> Passage:
        """How the interpreter got into the function it is in."""
        return Passage(self.entry, self.sites)

    @contextmanager
    def called(self, at: ast.AST, info: FunctionInfo) -> Iterator[None]:
        """Follow a call of a function for a while."""
        before, arms = self.whereabouts(), len(self.arms)
        self.followed[id(at)] = (at, info)
        self.sites, self.outer_arms = (*self.sites, id(at)), arms
        self.calls, self.yield_to = [*self.calls, info], None
        try:
            yield
        finally:
            self.go_to(before)
            self.leave_arms(arms)

    def whereabouts(self) -> Whereabouts:
        """Where the interpreter is."""
        return Whereabouts(
            self.scope,
            self.statement,
            self.sites,
            self.outer_arms,
            self.calls,
            self.yield_to,
            self.handled,
            self.home,
        )

    def go_to(self, place: Whereabouts) -> None:
        """Back to a place told by `whereabouts`."""
        self.scope, self.statement, self.sites = place.scope, place.statement, place.sites
        self.outer_arms, self.calls, self.yield_to = place.outer_arms, place.calls, place.yield_to
        self.handled, self.home = place.handled, place.home

    @property
    def is_abroad(self) -> bool:
        """Whether what is interpreted stands in another file."""
        return self.home is not None and self.scope.frames[-1] != MODULE

    @contextmanager
    def at_home(self) -> Iterator[None]:
        """For a while, where this file was left: what is written down is told there."""
        if self.home is None or not self.is_abroad:
            yield
            return
        here = self.whereabouts()
        self.scope, self.statement = self.home.scope, self.home.statement
        self.sites, self.outer_arms = self.home.sites, self.home.outer_arms
        try:
            yield
        finally:
            self.go_to(here)

    def position(self) -> Position:
        """Where the interpreter is, and in which branches and rounds of loops."""
        rounds = self.open_loops, self.later_round, self.uncertain_loop
        return Position(self.whereabouts(), tuple(self.arms), rounds)

    @contextmanager
    def back_at(self, position: Position) -> Iterator[None]:
        """Interpret for a while as it would have been done there."""
        here = self.position()
        self._set(position)
        try:
            yield
        finally:
            self._set(here)

    def _set(self, position: Position) -> None:
        self.go_to(position.place)
        self.arms = list(position.arms)
        self.open_loops, self.later_round, self.uncertain_loop = position.rounds

    @property
    def exhausted(self) -> bool:
        """True when the entry has used its steps."""
        return self.steps > STEPS

    def evaluate(self, state: State, node: ast.expr) -> Value:
        """The value of an expression."""
        return self._evaluate(self, state, node)

    def look(self, state: State, node: ast.expr) -> Value:
        """The value of an expression, without counting as a read."""
        quiet, state.quiet = state.quiet, True
        try:
            return self.evaluate(state, node)
        finally:
            state.quiet = quiet

    def store(self, state: State, target: ast.Subscript, value: Value) -> None:
        """Assign to an item, which may be a write into a tensor."""
        self._interpreter.store(self, state, target, value)

    def call_function(
        self, state: State, callee: Function, args: Sequence[Value], keywords: dict[str, Value], at: ast.AST
    ) -> Value:
        """Follow a call of a function of this file."""
        return self._interpreter.call_function(self, state, callee, args, keywords, at)

    def call_value(
        self, state: State, callee: Value, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call
    ) -> Value:
        """Call any value."""
        return self._interpreter.call_value(self, state, callee, args, keywords, at)

    def unknown_call(
        self,
        state: State,
        args: Sequence[Value],
        at: ast.AST,
        *,
        weights: Sequence[Tensor] = (),
        by_name: bool = True,
    ) -> Value:
        """A call that can't be followed, with what is known of the parameters of a module that is called."""
        return self._interpreter.unknown_call(self, state, args, at, weights=weights, by_name=by_name)

    def run_body(self, state: State, info: FunctionInfo) -> Value:
        """Run the body of a function in the frame made for it; what it returns."""
        return self._interpreter.run_body(self, state, info)

    def run_block(self, state: State, body: Sequence[ast.stmt]) -> Flow:
        """Run statements one after the other."""
        return self._interpreter.run_block(self, state, body)

    def run_generator(self, state: State, suspended: Suspended, each: Each) -> None:
        """Run the body of a generator; `each` is what happens to every value it yields."""
        self._interpreter.run_generator(self, state, suspended, each)

    def collected(self, state: State, suspended: Suspended) -> Items:
        """All that a generator yields."""
        return self._interpreter.collected(self, state, suspended)

    def rebind(self, state: State, target: ast.expr, old: Tensor, new: Tensor) -> None:
        """Let whatever `target` names hold `new` where it held `old`."""
        self._interpreter.rebind(self, state, target, old, new)

    def shown(self, info: FunctionInfo) -> frozenset[str]:
        """Names that a function uses as only tensors can be used."""
        found = self._shown.get(info)
        if found is None:
            found = self._shown[info] = shown_tensors(info.node, self.telling, may_be_method)
        return found

    def repeated(self, info: FunctionInfo) -> Mapping[int, tuple[Assumptions, Assumptions]]:
        """What holds in the arms of those tests of a function that it makes more than once."""
        found = self._repeated.get(info)
        if found is None:
            found = self._repeated[info] = repeated_tests(info.node, self.tree)
        return found

    def settled(self, facts: TensorFacts) -> TensorFacts:
        """`facts` without what a changed default dtype or device of this file would make untrue."""
        return replace(facts, dtype=None, device=None) if self.moves_defaults else facts

    def spelling(self, node: ast.AST) -> str:
        """The text of an expression; the interpreter comes by the same ones again and again."""
        found = self._spelt.get(id(node))
        if found is None:
            found = self._spelt[id(node)] = (node, ast.unparse(node))
        return found[1]

    def place(self, node: ast.AST, label: str) -> Place:
        """`node` as a labelled place in the source."""
        return Place(self.source.span_of(node), label)

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[None]:
        """Interpret in another scope for a while."""
        scope_before, statement = self.scope, self.statement
        self.scope = scope
        try:
            yield
        finally:
            self.scope, self.statement = scope_before, statement
