"""What the interpreter writes down while it runs, joined over every passage, and how it becomes facts."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gradfix.analysis.cut_kinds import CutEffect, CutKind, Elsewhere
from gradfix.analysis.domain.graph import Node, Passage
from gradfix.analysis.domain.indexing import joined_shape
from gradfix.analysis.domain.values import Storage
from gradfix.analysis.facts import (
    ConditionKind,
    IndexItem,
    IndexKind,
    Obstacle,
    ObstacleKind,
    TensorFacts,
    Tracked,
    ValueFacts,
    ValueKind,
    WriteForm,
)
from gradfix.analysis.text.nodes import Function
from gradfix.analysis.view_facts import NamedView
from gradfix.analysis.way_facts import Operand
from gradfix.findings import HazardKind


@dataclass(frozen=True, slots=True)
class HazardNote:
    """One hazard of a write: kind, where the value was saved and by what."""

    kind: HazardKind
    op: str
    save: ast.AST | None
    result: bool = False
    holders: tuple[ast.expr, ...] = ()  # the expressions that handed the operation what it saved, or its result
    split: ast.AST | None = None  # what split the base into the views that are written
    leaf: ast.AST | None = None  # the expression that makes the tensor a leaf
    of_base: bool = False  # a view of what is written makes the trouble, not the view written


@dataclass(slots=True)
class Overwriting:
    """What was learned of something that writes in place: the hazards it met, and on which ways."""

    hazards: dict[HazardNote, dict[Passage, bool]] = field(
        default_factory=dict, kw_only=True
    )  # True: on that way always
    passages: dict[Passage, bool] = field(default_factory=dict, kw_only=True)  # True: every run of the entry goes there
    differentiated: set[Passage] = field(default_factory=set, kw_only=True)  # backward went through what it made

    def add_hazard(self, note: HazardNote, passage: Passage, certain: bool) -> None:
        """Remember a hazard; what one round of a loop proves for a passage stays."""
        found = self.hazards.setdefault(note, {})
        found[passage] = found.get(passage, False) or certain

    def is_proven(self) -> bool:
        """True when whoever reaches the write, and backward through it, meets a hazard."""
        proven = {passage for found in self.hazards.values() for passage, certain in found.items() if certain}
        reached = self.differentiated.union(*self.hazards.values())
        entries = {passage.entry for passage in reached}
        unfailing = {passage.entry for passage in reached - proven}
        bound_to_fail = {passage.entry for passage in proven if self.passages.get(passage)}
        return bool(proven) and (entries - unfailing) | bound_to_fail == entries


@dataclass(slots=True)
class StepRecord(Overwriting):
    """A step of an optimizer."""

    node: ast.Call
    statement: ast.stmt
    function: str


@dataclass(slots=True)
class WriteRecord(Overwriting):
    """A write, with all that was learned about it."""

    form: WriteForm
    node: ast.AST
    statement: ast.stmt
    function: str
    target: ast.expr
    index: tuple[IndexItem, ...]
    value: ast.expr | None
    operator: str | None
    method: str | None
    tensor: TensorFacts
    written: ValueFacts
    known: bool  # something proves that the target is a tensor
    recorded: bool  # gradients were on and target or value had a graph in at least one passage
    may_be_number: bool = False  # on some ways a Python number stands there instead
    of_tensor: bool = False  # the target is a view, written on the spot, of a tensor that has a name
    named_view: bool = False  # the target is a name or attribute that holds a view
    part: tuple[int, int] | None = None  # which part of a split tensor is written
    views: dict[str, NamedView] | None = None  # that show what is written, in every passage so far
    is_sure: bool = True  # the target is no copy for certain
    is_inner: bool | None = None  # it stands in another file, and hits what nobody gets at where that is called
    is_followed: bool = False  # another write to the memory comes later
    is_repeated: bool = False  # so does this one
    earlier: dict[int, ast.stmt] = field(default_factory=dict)  # that wrote to the memory before
    storages: set[Storage] = field(default_factory=set)
    makers: dict[ast.AST, bool] = field(default_factory=dict)  # of modules that write; True: only what they alone see
    sources: set[Storage] = field(default_factory=set)  # memory of the values written
    operands: dict[str, ValueFacts] = field(default_factory=dict)  # names in the value of a write under a mask
    obstacles: dict[tuple[ObstacleKind, str], Obstacle] = field(default_factory=dict)

    def add_obstacle(self, obstacle: Obstacle) -> None:
        """Remember an obstacle; a certain one replaces an uncertain one, one that stays one that a replay removes."""
        key = (obstacle.kind, obstacle.name)
        known = self.obstacles.get(key)
        if known is not None and known.replay != obstacle.replay:
            self.obstacles[key] = replace(known, replay=None)
            obstacle = replace(obstacle, replay=None)
        if key not in self.obstacles or (obstacle.certain and not self.obstacles[key].certain):
            self.obstacles[key] = obstacle


class End(NamedTuple):
    """Where a backward starts."""

    statement: ast.stmt
    calls: tuple[ast.AST, ...]  # that led there


@dataclass(slots=True)
class FillRecord:
    """A branch that alone connects a buffer to the leaves."""

    branch: ast.If | ast.While
    statement_owner: str
    storage: Storage
    created: ast.AST | None
    condition: ConditionKind
    keys: list[int]  # of the write records in the branch
    tensor: TensorFacts
    buffer: ast.expr
    sources: tuple[str, ...]
    rebound: bool = False  # the branch binds the name to another tensor, rather than write to the one it has
    reached: bool = False
    only_connection: bool = True
    ends: list[ast.stmt] = field(default_factory=list)  # statements that start a backward through it

    def meet(self, end: End, *, alone: bool) -> None:
        """A backward goes through it; `alone`: it has nothing else to go back through."""
        self.reached = True
        self.ends.append(end.statement)
        self.only_connection = self.only_connection and alone


@dataclass(slots=True)
class BareRecord:
    """A way to a value that alone brings a tensor without a graph."""

    node: ast.expr  # what has none
    statement: ast.stmt
    branch: ast.If | ast.IfExp  # that decides
    function: str
    tensor: TensorFacts
    operands: tuple[Operand, ...]
    records: bool  # whether autograd may record what is computed there
    scope: Function | None  # that it stands in; None: the module
    starved: dict[End, None] = field(default_factory=dict)  # where a backward has nothing else to go back through
    returned: bool = False  # of a loss whose callers aren't known

    def meet(self, end: End, *, alone: bool) -> None:
        """A backward goes through it; `alone`: it has nothing else to go back through."""
        if alone:
            self.starved[end] = None


@dataclass(slots=True)
class SwapRecord:
    """A place is given a view of another place of the tensor, which was overwritten after the view was taken."""

    node: ast.Subscript
    statement: ast.stmt
    function: str
    view: ast.Subscript
    earlier: ast.stmt  # that overwrote it


@dataclass(slots=True)
class AgainRecord:
    """A backward through a graph that another one, or the same in an earlier round, has freed."""

    node: ast.Call
    statement: ast.stmt
    function: str
    first: ast.Call
    certain: bool
    looped: bool = False  # in a later round of a loop
    shared: ast.expr | None = None  # the call of a network from elsewhere that both pass
    stepped: ast.Call | None = None  # the step in between that updates the parameters of that network
    of_gradients: bool = False  # of a loss that is computed from the gradients which `first` gave


@dataclass(slots=True)
class GradRecord:
    """`.grad` of a tensor that was computed is read, or an optimizer is given one."""

    node: ast.expr
    statement: ast.stmt
    function: str
    target: ast.expr
    made: ast.AST | None  # the expression that computed it
    leaf: ast.AST | None  # the only leaf it was computed from
    by_optimizer: bool
    certain: bool


@dataclass(slots=True)
class BackwardRecord:
    """A call that starts backward."""

    node: ast.Call
    statement: ast.stmt
    function: str
    root: ast.expr
    tensor: TensorFacts
    has_gradient: bool
    non_scalar: bool  # certainly more than one element, and no gradient given
    perhaps_non_scalar: bool  # dimensions for certain, of sizes that only the caller knows; or in some passages


@dataclass(frozen=True, slots=True)
class LossNote:
    """A loss that a cut reaches."""

    effect: CutEffect
    at: ast.AST
    root: ast.expr | None  # the tensor differentiated
    function: str
    alone: bool  # no other cut stands between the leaves and this loss
    sure: bool = True  # what is differentiated is a tensor, seen from where it was made
    itself: Node | None = (
        None  # the leaf that the cut made, where it is what is differentiated: `loss.requires_grad_()`
    )


@dataclass(slots=True)
class CutRecord:
    """A place where a value goes on without its graph."""

    kind: CutKind
    op: str
    node: ast.AST
    statement: ast.stmt
    function: str
    argument: ast.expr | None
    value: ValueFacts | None
    parts: tuple[ValueFacts, ...]
    level: Tracked  # of what was cut, the strongest of all passages
    through_numpy: bool = False
    in_numbers: bool = False
    fills: bool = False  # it went where torch takes numbers only: `torch.full(size, v)`
    is_fresh: bool = False  # in every passage nobody else holds what the argument makes
    may_be_number: bool = False  # on some ways a Python number stands there instead
    storages: set[Storage] = field(default_factory=set)  # of what was cut
    behind: set[int] = field(default_factory=set)  # the keys of cuts that lie behind what it cuts
    leaves: set[Storage] = field(default_factory=set)  # what it made, that losses end in
    losses: dict[int, LossNote] = field(default_factory=dict)  # by id of the place
    roots: list[Node] = field(default_factory=list)  # the graphs behind what was cut
    starved: dict[int, Storage] = field(default_factory=dict)  # leaves behind it that a loss reaches on no other way
    kept_off: set[int] = field(default_factory=set)  # the same leaves, where somebody asked for the gradient to end
    origin: Elsewhere | None = None  # where the graph ends, when `node` calls a function of another file

    @property
    def key(self) -> int:
        """What flows call it."""
        return id(self.node if self.origin is None else self.origin)


def join_facts(a: TensorFacts, b: TensorFacts) -> TensorFacts:
    """What holds of a tensor in both passages."""
    return TensorFacts(
        tracked=a.tracked if a.tracked is b.tracked else Tracked.MAYBE,
        leaf=a.leaf and b.leaf,
        dtype=a.dtype if a.dtype == b.dtype else None,
        floating=a.floating and b.floating,
        shape=joined_shape(a.shape, b.shape),
        expanded=a.expanded or b.expanded,
        transposed=a.transposed or b.transposed,
        plain=a.plain and b.plain,
        device=a.device if a.device == b.device else None,
    )


def join_written(a: ValueFacts, b: ValueFacts) -> ValueFacts:
    """What holds of a written value in both passages."""
    if a.kind is not b.kind:
        return ValueFacts(ValueKind.UNKNOWN)
    tensor = join_facts(a.tensor, b.tensor) if a.tensor is not None and b.tensor is not None else None
    number = a.number_type if a.number_type == b.number_type else None
    return ValueFacts(a.kind, tensor, number, a.same_dtype and b.same_dtype)


def join_index(a: tuple[IndexItem, ...], b: tuple[IndexItem, ...]) -> tuple[IndexItem, ...]:
    """What holds of an index in both passages."""
    if len(a) != len(b):
        return a
    return tuple(
        m
        if m == n
        else IndexItem(
            m.kind if m.kind is n.kind else IndexKind.UNKNOWN,
            m.node,
            m.value if m.value == n.value else None,
            m.rank if m.rank == n.rank else None,
            m.ranked and n.ranked,
            m.is_tensor and n.is_tensor,
            m.takes_view and n.takes_view,
            m.transposed or n.transposed,
        )
        for m, n in zip(a, b, strict=True)
    )
