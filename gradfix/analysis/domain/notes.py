"""What the interpreter writes down while it runs through a file: the records, and what they are found by.

Keys are ids of syntax nodes, or of nodes of a graph; whoever uses the id of something that may go away notes the
owner in `owners`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace

from gradfix.analysis.cut_kinds import Elsewhere
from gradfix.analysis.domain.abroad import Origin
from gradfix.analysis.domain.graph import Node, Passage
from gradfix.analysis.domain.hooked import Hooked, Passing
from gradfix.analysis.domain.indexing import Shape, joined_shape
from gradfix.analysis.domain.records import (
    AgainRecord,
    BackwardRecord,
    BareRecord,
    CutRecord,
    FillRecord,
    GradRecord,
    HazardNote,
    StepRecord,
    SwapRecord,
    WriteRecord,
)
from gradfix.analysis.domain.values import Choice, Layer, Storage, Tensor, Value, tensors
from gradfix.analysis.facts import IndexItem
from gradfix.analysis.graph_ends import Severed
from gradfix.findings import HazardKind

Operands = dict[int, tuple[ast.expr, set[Storage]]]  # by id of an expression: it, and the memory it stands for


@dataclass(slots=True)
class Notes:
    """The records of one file, joined over every passage."""

    writes: dict[int, WriteRecord] = field(default_factory=dict)  # by id of the target
    last_writes: dict[int, WriteRecord] = field(default_factory=dict)  # by id of what writes; of several, the last
    swaps: dict[int, SwapRecord] = field(default_factory=dict)  # by id of the target
    fills: dict[tuple[int, int], FillRecord] = field(default_factory=dict)
    bare: dict[tuple[int, int], BareRecord] = field(default_factory=dict)  # by ids of what decides and of the value
    phis: dict[int, FillRecord | BareRecord] = field(default_factory=dict)  # id of a PHI node -> what it stands for
    optimizer_steps: dict[int, StepRecord] = field(default_factory=dict)  # by id of the call
    backwards: dict[int, BackwardRecord] = field(default_factory=dict)  # by id of the call
    second_backwards: dict[int, AgainRecord] = field(default_factory=dict)  # by id of the call
    non_leaf_grads: dict[int, GradRecord] = field(default_factory=dict)  # by id of the expression
    cuts: dict[int, CutRecord] = field(default_factory=dict)  # by their key
    cuts_elsewhere: dict[tuple[int, Severed], CutRecord] = field(default_factory=dict)  # by id of the call
    zero_gradients: dict[int, CutRecord] = field(default_factory=dict)  # by id of the node in the graph
    fed: set[int] = field(default_factory=set)  # ids of leaves in the graph that some backward gives a gradient
    connected: set[int] = field(default_factory=set)  # ids of backward calls that may have a graph to go back through
    given: dict[tuple[int, str], set[bool]] = field(default_factory=dict)  # by id of a function and parameter: tensors?
    unfollowed: set[int] = field(default_factory=set)  # ids of calls that nothing is known of
    gradients: dict[Storage, Passing] = field(default_factory=dict)  # what hooks are given that isn't theirs alone
    # By id of the node, and of hook and registration.
    gradient_hooks: dict[int, tuple[Node, dict[tuple[int, int], Hooked]]] = field(default_factory=dict)
    hook_calls: dict[tuple[int, str, int], ast.Call] = field(default_factory=dict)  # by that which leads to them
    elsewhere: dict[int, Elsewhere] = field(default_factory=dict)  # what a call starts in another file, by its id
    switches: dict[int, ast.expr] = field(default_factory=dict)  # what turns gradients off, by id of the `def`
    off_elsewhere: set[int] = field(default_factory=set)  # ids of those whose decorator in another file does
    lent: set[Value] = field(default_factory=set)  # dictionaries that a call nobody follows may have changed
    owners: list[object] = field(default_factory=list)  # of ids used as keys
    origins: dict[int, Origin] = field(default_factory=dict)  # of nodes that stand in other files, by their ids
    targets: dict[tuple[int, str], ast.expr] = field(default_factory=dict)  # made for writes there: by call and text
    alarms: int = 0  # hazards, overwritten saves, backward calls and gradients asked for so far

    # Of expressions: what they read, were given, or stand for.
    read_indices: dict[int, tuple[IndexItem, ...]] = field(default_factory=dict)  # by id of the subscript of a tensor
    view_names: dict[int, dict[str, None]] = field(default_factory=dict)  # frame -> names that were given a view
    unpacked: dict[int, ast.expr] = field(default_factory=dict)  # id of `lo, hi` -> `y` of `lo, hi = y`
    branch_names: dict[int, dict[str, ast.Name]] = field(default_factory=dict)  # that an `if` binds, by its id
    cases: dict[int, ast.If] = field(default_factory=dict)  # what stands for a case of a `match`, by the id of that
    layer_modes: dict[int, set[bool]] = field(default_factory=dict)  # of calls of layers: whether those work in place
    operands: dict[int, Operands] = field(default_factory=dict)  # by id of the call or operator
    sizes: dict[int, Shape | None] = field(default_factory=dict)  # of what a call makes or a test asks, by its id
    doubtful: set[int] = field(default_factory=set)  # operands that may be something else than a tensor

    # Of memory.
    retained: set[Storage] = field(default_factory=set)  # what was computed, but keeps its gradient
    grad_read: set[Storage] = field(default_factory=set)  # leaves whose `.grad` is read, or that an optimizer holds
    stepped: set[frozenset[int]] = field(default_factory=set)  # leaves of each optimizer that steps here, by their ids
    open_ended: bool = False  # a backward reaches what nobody here has made: it may give a gradient to any leaf
    distributions: set[Storage] = field(default_factory=set)  # what stands for objects of torch.distributions

    def extent(self) -> tuple[int, ...]:
        """Grows with whatever may become a finding."""
        made = len(self.fills), len(self.bare), len(self.swaps), len(self.backwards)
        return self.alarms, *made, len(self.non_leaf_grads), len(self.optimizer_steps)

    def add_hazard(self, record: WriteRecord, note: HazardNote, passage: Passage, certain: bool) -> None:
        """Remember a hazard of a write."""
        self.alarms += 1
        record.add_hazard(self.of_this_file(note), passage, certain)

    def of_this_file(self, note: HazardNote) -> HazardNote:
        """The same note: what it says was made in another file is told by the call there, or not at all."""
        if not self.origins:
            return note
        save = self.place_of(note.save)
        if save is not note.save and note.kind is HazardKind.EXPANDED_WRITTEN:
            save = None
        split, leaf = (None if id(node) in self.origins else node for node in (note.split, note.leaf))
        return replace(note, save=save, split=split, leaf=leaf)

    def leave_out_others(self) -> None:
        """Forget what only another file could mend: it is told where that is checked."""
        if not self.origins:
            return
        others = self.origins
        self.swaps = {key: r for key, r in self.swaps.items() if id(r.node) not in others and id(r.view) not in others}
        self.non_leaf_grads = {key: r for key, r in self.non_leaf_grads.items() if id(r.node) not in others}
        self.fills = {key: r for key, r in self.fills.items() if id(r.branch) not in others}
        self.bare = {key: r for key, r in self.bare.items() if others.keys().isdisjoint((id(r.branch), id(r.node)))}

    def place_of(self, node: ast.AST | None) -> ast.AST | None:
        """`node`, or the call of this file that leads to it."""
        origin = self.origins.get(id(node))
        return node if origin is None else origin.call

    def add_size(self, node: ast.AST, shape: Shape | None) -> None:
        """Remember the shape of what `node` stands for; sizes that differ between its passages are None."""
        known = self.sizes.get(id(node), shape)
        self.sizes[id(node)] = shape if known == shape else joined_shape(known, shape)

    def add_operand(self, at: ast.AST, expression: ast.expr, value: Value) -> None:
        """Remember which memory `expression`, an operand of `at` or `at` itself, stands for."""
        if value.__class__ is not Tensor and value.__class__ is not Choice:
            self.doubtful.add(id(expression))  # a number in this passage, whatever it is in another one
            return
        held = self.operands.get(id(at))
        for tensor in tensors(value):
            if held is None:
                held = self.operands[id(at)] = {}
            if (known := held.get(id(expression))) is not None:
                known[1].update(tensor.storages)
            else:
                held[id(expression)] = (expression, set(tensor.storages))
            if value is not tensor:
                self.doubtful.add(id(expression))

    def add_maker(self, call: ast.Call, layer: Layer, written: Tensor) -> None:
        """Remember where `layer`, which writes in place, was made, and whether it wrote what only the call sees."""
        seen = self.operands.get(id(call), {}).get(id(call.args[0]))
        inside = seen is not None and seen[1].isdisjoint(written.storages)
        record = self.writes.get(id(call.args[0]))
        if layer.made_by is not None and record is not None and id(layer.made_by) not in self.origins:
            makers = record.makers
            makers[layer.made_by] = makers.get(layer.made_by, True) and inside

    def holders(self, at: ast.AST, storage: Storage) -> tuple[ast.expr, ...]:
        """The expressions by which the operation `at` was handed, or hands on, the memory it saved."""
        held = self.operands.get(id(at), {}).values() if id(at) not in self.origins else ()
        return tuple(e for e, storages in held if storage in storages and id(e) not in self.doubtful)
