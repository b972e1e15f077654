"""The interpreter's registers: where it is, what it has written down, how much it may still spend."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from gradfix.analysis.domain.flow import Flow
from gradfix.analysis.domain.graph import Passage, Visit
from gradfix.analysis.domain.records import (
    AgainRecord,
    BackwardRecord,
    CutRecord,
    FillRecord,
    GradRecord,
    HazardNote,
    StepRecord,
    SwapRecord,
    WriteRecord,
)
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import (
    Choice,
    ClassInfo,
    Function,
    FunctionInfo,
    Instance,
    Layer,
    Storage,
    Suspended,
    Tensor,
    Value,
    tensors,
)
from gradfix.analysis.facts import IndexItem, TensorFacts
from gradfix.analysis.summaries import Imports
from gradfix.analysis.text.names import shown_tensors, tensors_alone
from gradfix.findings import Place
from gradfix.source import Source
from gradfix.torch_ops import method_names

Each = Callable[[State, Value], None]  # what happens to a value that a generator yields

MODULE = 0  # number of the module's frame
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

    def unknown_call(self, m: Machine, state: State, args: Sequence[Value], at: ast.AST) -> Value:
        """A call that can't be followed."""

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
        self._interpreter = interpreter
        self.scope = Scope("<module>", (MODULE,), None)
        self.writes: dict[int, WriteRecord] = {}
        self.updates: dict[int, StepRecord] = {}  # by id of the call
        self.writing: dict[int, WriteRecord] = {}  # the same by id of what writes; of several, the last
        self.fills: dict[tuple[int, int], FillRecord] = {}
        self.backwards: dict[int, BackwardRecord] = {}
        self.picks: dict[int, tuple[IndexItem, ...]] = {}  # id of a subscript read of a tensor -> its index
        self.views: dict[int, dict[str, None]] = {}  # frame -> names that were given a view
        self.unpacked: dict[int, ast.expr] = {}  # id of `lo, hi` -> `y` of `lo, hi = y`
        self.swaps: dict[int, SwapRecord] = {}  # by id of the target
        self.again: dict[int, AgainRecord] = {}  # by id of the call
        self.grads: dict[int, GradRecord] = {}  # by id of the expression
        self.retained: set[Storage] = set()  # what was computed, but keeps its gradient
        self.cuts: dict[int, CutRecord] = {}  # by id of the expression
        self.connected: set[int] = set()  # ids of backward calls that may have a graph to go back through
        self.flat: dict[int, CutRecord] = {}  # by id of the node: operations whose gradient is zero
        self.uses_numpy = "numpy" in source.text or "pandas" in source.text
        self.telling = tensors_alone(method_names(), numpy=self.uses_numpy)  # methods of tensors alone
        self.moves_defaults = "set_default_" in source.text  # dtype or device of factories isn't what it seems
        self.statement: ast.stmt = ast.Pass(lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)
        self.calls: list[FunctionInfo] = []
        self.followed: dict[int, tuple[ast.AST, FunctionInfo]] = {}  # by id of the call: it, and what it calls
        self.entry = 0  # which entry runs: id of its function, 0 for the top level
        self.sites: tuple[int, ...] = ()  # ids of the call expressions that led here
        self.arms: list[int] = []  # branches taken on the way here that not every run takes, numbered afresh each time
        self.outer_arms = 0  # how many of them stand outside of the function being interpreted
        self.yield_to: Each | None = None  # what happens to what the function yields
        self.open_loops = 0  # loops around that have other rounds than the ones played
        self.visits: list[Visit] = []  # of this entry, those of writes with a graph
        self.covered: set[FunctionInfo] = set()  # functions followed from a call whose gradients were asked for
        self.functions: dict[
            FunctionInfo, tuple[tuple[int, ...], ClassInfo | None]
        ] = {}  # frames it closes over, class
        self.closed: dict[FunctionInfo, Function] = {}  # methods as their class body made them
        self.decorated: dict[FunctionInfo, Function] = {}  # what stands in the place of a decorated method
        self.statics: dict[ClassInfo, Instance] = {}  # holds what a class body assigns
        self.instances: dict[ClassInfo, tuple[Instance, State]] = {}  # of each class, and the state they were made in
        self._spelt: dict[int, tuple[ast.AST, str]] = {}  # nodes met, which own the ids, and their text
        self.alarms = 0  # hazards, overwritten saves, backward calls and gradients asked for so far
        self.idle: dict[ClassInfo, frozenset[FunctionInfo]] = {}  # classes made without alarm, what that led through
        self.grad_read: set[Storage] = set()  # leaves whose `.grad` is read, or that an optimizer holds
        self.phis: dict[int, FillRecord] = {}  # id of a PHI node -> the fill it stands for
        self.keep: list[object] = []  # owners of ids used as keys
        self.operands: dict[int, dict[int, tuple[ast.expr, set[Storage]]]] = {}  # of each call or operator, and itself
        self.doubtful: set[int] = set()  # operands that may be something else than a tensor
        self.in_place: dict[int, set[bool]] = {}  # of calls of layers: whether those called work in place
        self.hooked: dict[tuple[int, str, int], ast.Call] = {}  # calls of hooks, by that of their module
        self.distributions: set[Storage] = set()  # what stands for objects of torch.distributions
        self.unfollowed: set[int] = set()  # calls that nothing is known of
        self.steps = 0
        self.later_round = 0  # inside a second or later round of a loop
        self.uncertain_loop = 0  # inside a second round that may not happen
        self.saw_backward = False
        self.covered_by_program: frozenset[FunctionInfo] = frozenset()
        self._frames = MODULE
        self._arms = 0
        self._shown: dict[FunctionInfo, frozenset[str]] = {}

    def new_frame(self) -> int:
        """Number of a fresh, empty frame."""
        self._frames += 1
        return self._frames

    def begin(self, entry: int) -> None:
        """Start interpreting from another entry."""
        self.entry, self.sites, self.arms, self.outer_arms, self.visits = entry, (), [], 0, []

    def enter_arm(self) -> None:
        """What follows isn't reached by every run; `leave_arms` ends it."""
        self._arms += 1
        self.arms.append(self._arms)

    def leave_arms(self, count: int, *, exits: bool = False) -> None:
        """Back to the first `count` branches; `exits`: some run left from inside for good."""
        del self.arms[count:]
        if exits:
            self.enter_arm()

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
        return Whereabouts(self.scope, self.statement, self.sites, self.outer_arms, self.calls, self.yield_to)

    def go_to(self, place: Whereabouts) -> None:
        """Back to a place told by `whereabouts`."""
        self.scope, self.statement, self.sites = place.scope, place.statement, place.sites
        self.outer_arms, self.calls, self.yield_to = place.outer_arms, place.calls, place.yield_to

    @property
    def exhausted(self) -> bool:
        """True when the entry has used its steps."""
        return self.steps > STEPS

    def evaluate(self, state: State, node: ast.expr) -> Value:
        """The value of an expression."""
        return self._interpreter.evaluate(self, state, node)

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

    def unknown_call(self, state: State, args: Sequence[Value], at: ast.AST) -> Value:
        """A call that can't be followed."""
        return self._interpreter.unknown_call(self, state, args, at)

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
            found = self._shown[info] = shown_tensors(info.node, self.telling)
        return found

    def bound(self, info: FunctionInfo, receiver: Value | None) -> Function:
        """A method taken from an instance (or from its class, without receiver)."""
        made = self.decorated.get(info) or self.closed.get(info)
        if made is None:
            return Function(info, (MODULE,), receiver)
        return Function(made.info, made.frames, receiver, made.defaults, made.no_grad)

    def static(self, state: State, info: ClassInfo, name: str) -> Value | None:
        """What the body of a class, or of a base, holds under a name."""
        held = self.statics.get(info)
        found = (state.attributes.get(held) or {}).get(name) if held is not None else None
        bases = (base for base in info.bases if isinstance(base, ClassInfo))
        return found or next((value for base in bases if (value := self.static(state, base, name))), None)

    def settled(self, facts: TensorFacts) -> TensorFacts:
        """`facts` without what a changed default dtype or device of this file would make untrue."""
        return replace(facts, dtype=None, device=None) if self.moves_defaults else facts

    def spelling(self, node: ast.AST) -> str:
        """The text of an expression; the interpreter comes by the same ones again and again."""
        found = self._spelt.get(id(node))
        if found is None:
            found = self._spelt[id(node)] = (node, ast.unparse(node))
        return found[1]

    def note_hazard(self, record: WriteRecord, note: HazardNote, passage: Passage, certain: bool) -> None:
        """Remember a hazard of a write."""
        self.alarms += 1
        record.add_hazard(note, passage, certain)

    def note_operand(self, at: ast.AST, expression: ast.expr, value: Value) -> None:
        """Remember which memory `expression`, an operand of `at` or `at` itself, stands for."""
        if value.__class__ is not Tensor and value.__class__ is not Choice:
            return
        for tensor in tensors(value):
            held = self.operands.setdefault(id(at), {})
            held.setdefault(id(expression), (expression, set()))[1].update(tensor.storages)
            if value is not tensor:
                self.doubtful.add(id(expression))

    def note_maker(self, call: ast.Call, layer: Layer, written: Tensor) -> None:
        """Remember where `layer`, which writes in place, was made, and whether it wrote what only the call sees."""
        seen = self.operands.get(id(call), {}).get(id(call.args[0]))
        inside = seen is not None and seen[1].isdisjoint(written.storages)
        makers = self.writes[id(call.args[0])].makers
        if layer.made_by is not None:
            makers[layer.made_by] = makers.get(layer.made_by, True) and inside

    def holders(self, at: ast.AST, storage: Storage) -> tuple[ast.expr, ...]:
        """The expressions by which the operation `at` was handed, or hands on, the memory it saved."""
        held = self.operands.get(id(at), {}).values()
        return tuple(e for e, storages in held if storage in storages and id(e) not in self.doubtful)

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
