"""Cuts: where a value goes on without the graph behind it, and what it becomes on its way to a loss."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from gradfix.analysis.cut_kinds import CutKind, Elsewhere
from gradfix.analysis.domain.graph import Node
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import strongest, tracked, value_facts
from gradfix.analysis.domain.python_values import number_type
from gradfix.analysis.domain.records import CutRecord, join_written
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import (
    NO_FLOWS,
    PLAIN,
    Array,
    Choice,
    Const,
    Container,
    Flows,
    Number,
    Tensor,
    Unknown,
    Value,
    tensors,
)
from gradfix.analysis.facts import Tracked, ValueFacts
from gradfix.analysis.graph_ends import Severed
from gradfix.analysis.text.grad_modes import switch_among
from gradfix.analysis.text.one_line import one_line
from gradfix.torch_ops import Gradient, Operator

# Made for another reason than to stop gradients; whoever writes the others may mean it.
CARELESS = frozenset({CutKind.TENSOR, CutKind.NUMBER, CutKind.DATA, CutKind.PARAMETER})
WITHOUT_GRADIENT = frozenset({CutKind.DISCRETE, CutKind.FLAT})
UNSURE: Flows = frozenset({(0, False)})  # of what may be a tensor with a graph, though nothing shows it
WRITTEN_PAST = "write"  # the operation of a cut that a write through `.data` makes
_DEPTH = 3  # containers in containers
_MOST = 24  # cuts followed at once
# Sums, means, copies and rearrangements: nothing that goes in is multiplied with anything that has a graph.
_LINEAR = frozenset(
    "+ - neg add sub subtract rsub sum mean nansum stack cat concat concatenate hstack vstack dstack clone contiguous "
    "to float double half bfloat16 cpu cuda view reshape squeeze unsqueeze flatten expand expand_as repeat permute "
    "transpose t getitem index select narrow index_select unbind split chunk view_as reshape_as type type_as "
    "new_tensor tensor as_tensor asarray from_numpy Tensor FloatTensor DoubleTensor numpy item tolist float "
    "detach detach_ data Variable Parameter".split()
)
_SCALING = {"*": (0, 1), "mul": (0, 1), "multiply": (0, 1), "/": (0,), "div": (0,), "divide": (0,), "true_divide": (0,)}
_GRAPHLESS = {"detach": CutKind.DETACH, "data": CutKind.DATA}
# Operators whose results tell of a tensor rather than being computed from its values.
_ABOUT = frozenset(
    "zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_empty_strided new_full "
    "new_ones new_zeros new_empty resize_ resize_as_".split()
)
_NOT_FLAT = frozenset({"angle", "sgn"})  # of complex numbers they have a gradient
_OPERANDS = frozenset({"left", "right", "other"})
# Parameters that choose among values without being one.
_CHOOSING = frozenset("index indices mask condition dim dims size shape input_lengths target_lengths offsets".split())


def flows_of(state: State, value: Value, depth: int = _DEPTH) -> Flows:
    """The cuts behind a value."""
    if isinstance(value, Tensor):
        found = value.flows
        for storage in value.graph_keys:
            here = state.cuts.get(storage)
            if here:
                found = found | here if found else here
        return found
    if isinstance(value, Array) and value.memory is not None:
        held = (state.cuts.get(storage) or NO_FLOWS for storage in value.memory.storages)
        return value.flows.union(*held)
    if isinstance(value, (Number, Array)):
        return value.flows
    if isinstance(value, Const) or (isinstance(value, Unknown) and value == PLAIN):
        return NO_FLOWS
    if isinstance(value, Container) and depth and (items := state.items.get(value)):
        if not items.values and not items.exact:
            return UNSURE
        return NO_FLOWS.union(*(flows_of(state, item, depth - 1) for item in items.values))
    if isinstance(value, Choice):
        return NO_FLOWS.union(*(flows_of(state, option, depth) for option in value.options))
    return UNSURE


def through(m: Machine, state: State, op: str, operands: Sequence[Value]) -> Flows:
    """The cuts behind the result of `op`, and whether what they left is still only added and scaled."""
    parts = [flows_of(state, value) for value in operands]
    present = [i for i, part in enumerate(parts) if part]
    if not present:
        return NO_FLOWS
    if op in _LINEAR or not _has_graph(state, operands, None):  # without one, whatever is computed stays a constant
        found = NO_FLOWS.union(*parts)
    else:
        linear = [i for i in _SCALING.get(op, ()) if present == [i] and not _has_graph(state, operands, i)]
        found = NO_FLOWS.union(*(part if i in linear else used(part) for i, part in enumerate(parts)))
    return found if len(found) <= _MOST else frozenset(sorted(found)[:_MOST])


def _has_graph(state: State, operands: Sequence[Value], but: int | None) -> bool:
    others = [t for i, value in enumerate(operands) if i != but for t in tensors(value)]
    return any(tracked(state, t) is not Tracked.NO for t in others)


@lru_cache(maxsize=4096)  # what follows from one cut is asked for at each operation behind it
def used(flows: Flows) -> Flows:
    """The same cuts, of what has been more than added and scaled since."""
    return frozenset((key, False) for key, _ in flows)


def of_graphless(flows: Flows) -> Flows:
    """The cuts behind a result that has no graph, whatever was handed to what made it."""
    return (flows - UNSURE) or flows


def carry(
    m: Machine, state: State, name: str, op: Operator, arguments: Mapping[str, Value], results: Iterable[Tensor]
) -> None:
    """Let the results of an operator remember the cuts behind its arguments."""
    operands = [
        value
        for key, value in arguments.items()
        if key in op.tracked or key in _OPERANDS or (key not in _CHOOSING and _is_known(value))
    ]
    put(state, results, through(m, state, name, operands))


def _is_known(value: Value) -> bool:
    return isinstance(value, (Tensor, Number, Array, Const, Container, Choice))


def follow(
    m: Machine,
    state: State,
    name: str,
    op: Operator,
    arguments: Mapping[str, Value],
    groups: Mapping[str, Sequence[Tensor]],
    node: Node | None,
    results: Sequence[Tensor],
    at: ast.AST,
) -> None:
    """What an operator does to the graph besides extending it: it cuts, flattens, or hands on what others cut."""
    carry(m, state, name, op, arguments, results)
    operands = [t for key, group in groups.items() if key not in _CHOOSING for t in group]
    for output, result in zip(op.outputs, results, strict=True):
        if output.gradient is Gradient.NO or result.detached:
            if name not in _ABOUT:
                put(state, (result,), cut(m, state, _GRAPHLESS.get(name, CutKind.DISCRETE), name, at, operands))
        elif node is None and state.grad is Tracked.NO:
            made = flows_of(state, result) | cut(m, state, CutKind.GRADIENTS_OFF, name, at, operands)
            _set(state, result, made - UNSURE)  # whatever the operands have: the result has no graph
        elif node is None or name in _NOT_FLAT:
            continue
        elif output.gradient is Gradient.ZERO and (graph := state.node_of(result)) is not None:
            cut(m, state, CutKind.FLAT, name, at, operands)
            if (record := m.notes.cuts.get(id(at))) is not None:
                m.notes.zero_gradients[id(graph)] = record
                m.notes.owners.append(graph)


def number(m: Machine, state: State, op: str, tensors: Sequence[Tensor], at: ast.AST) -> Flows:
    """`t.item()`: the cuts behind the number."""
    argument = at.func.value if isinstance(at, ast.Call) and isinstance(at.func, ast.Attribute) else None
    return cut(m, state, CutKind.NUMBER, op, at, tensors, argument=argument)


def array(m: Machine, behind: Flows) -> Array:
    """`t.detach().numpy()`, `np.mean(numbers)`: the cut in front of it was made for the sake of the array."""
    for key in {key for key, _ in behind if key > 0}:
        m.notes.cuts[key].through_numpy = True
    return Array(behind)


def into_array(m: Machine, state: State, memory: Tensor, value: Value) -> None:
    """`a[i] = t.item()`: what reads the memory of the array meets the cuts behind the value."""
    flows = flows_of(state, value)
    if flows and flows != UNSURE:
        array(m, flows)
        for storage in memory.storages:
            state.cuts[storage] = flows | (state.cuts.get(storage) or NO_FLOWS)


def among_numbers(m: Machine, state: State, op: str, operands: Sequence[Value]) -> Flows:
    """`through` for arithmetic of Python numbers, which rounds otherwise than that of tensors."""
    found = through(m, state, op, operands)
    for key, _ in found:
        if key > 0:
            m.notes.cuts[key].in_numbers = True
    return found


def into_numbers(m: Machine, state: State, values: Iterable[Value]) -> None:
    """A factory fills a tensor with `values`, for which it takes no tensors that require grad."""
    for value in values:
        for key, _ in flows_of(state, value) if isinstance(value, Number) else ():
            if key > 0:
                m.notes.cuts[key].fills = True


def with_flows(value: Value, flows: Flows) -> Value:
    """`value`, computed from numbers or arrays, with the cuts behind it."""
    if not flows or flows == UNSURE or not isinstance(value, (Number, Unknown)):
        return value
    return replace(value, flows=flows) if isinstance(value, Number) else Array(flows)


def put(state: State, results: Iterable[Tensor], flows: Flows) -> None:
    """Let tensors over memory of their own remember cuts."""
    if flows:
        for tensor in results:
            for storage in tensor.graph_keys:
                state.cuts[storage] = flows | (state.cuts.get(storage) or NO_FLOWS)


def _set(state: State, result: Tensor, flows: Flows) -> None:
    for storage in result.graph_keys:
        state.cuts[storage] = flows


def cut(
    m: Machine,
    state: State,
    kind: CutKind,
    op: str,
    at: ast.AST,
    values: Sequence[Value],
    *,
    argument: ast.expr | None = None,
    parts: tuple[ValueFacts, ...] = (),
) -> Flows:
    """`at`, which computes `op`, hands on `values` without their graph: the cuts behind what it gives, old and new."""
    behind = through(m, state, op, values)
    operands = [t for value in values for t in _members(state, value)]
    level = strongest([tracked(state, t) for t in operands])
    if level is Tracked.NO or state.quiet:
        return behind
    if state.grad is Tracked.NO:
        if state.off_at is None:
            return behind
        kind, at, argument, parts = CutKind.GRADIENTS_OFF, state.off_at, None, ()
    if (origin := m.notes.origins.get(id(at))) is not None:
        place = Elsewhere(origin.file, origin.line, one_line(ast.unparse(_head(at))))
        with m.at_home():
            severed = Severed(kind.value, op, place, True, None)
            return behind | elsewhere(m, severed, origin.call, level, map(state.node_of, operands))
    if m.severed is not None:
        m.severed.setdefault(id(at), []).extend(map(state.node_of, operands))
    facts = next((value_facts(state, v) for v in values if tensors(v)), None)
    is_fresh = bool(operands) and all(argument is not None and _is_made_by(t, argument) for t in operands)
    made = CutRecord(kind, op, at, m.statement, m.scope.qualname, argument, facts, parts, level, is_fresh=is_fresh)
    record = _joined(m, made)
    record.may_be_number = record.may_be_number or any(map(_is_either, values))
    record.storages.update(storage for t in operands for storage in t.storages)
    record.behind.update(key for key, _ in behind if key != id(at))
    if kind is not CutKind.NO_LEAF and len(record.roots) < _MOST:
        graphs = (state.node_of(t) for value in values for t in _members(state, value))
        record.roots.extend(node for node in graphs if node is not None)
    return behind | {(id(at), True)}


def _head(node: ast.AST) -> ast.AST:
    """What of a `with` or a decorated function turns gradients off."""
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return switch_among([item.context_expr for item in node.items])
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.decorator_list:
        return switch_among(node.decorator_list)
    return node


def _joined(m: Machine, made: CutRecord) -> CutRecord:
    """The record of a cut, with what this passage shows of it."""
    record = m.notes.cuts.get(made.key)
    if record is None:
        m.notes.owners.append(made.node)
        m.notes.cuts[made.key] = made
        return made
    record.is_fresh = record.is_fresh and made.is_fresh
    record.level = strongest((record.level, made.level))
    old, new = record.value, made.value
    record.value = join_written(old, new) if old is not None and new is not None else new
    same = len(record.parts) == len(made.parts)
    record.parts = tuple(map(join_written, record.parts, made.parts)) if same else ()
    return record


def _is_made_by(tensor: Tensor, expression: ast.expr) -> bool:
    """Whether the memory of a tensor was allocated by an expression, which so gives it to nobody else."""
    return len(tensor.storages) == 1 and not tensor.is_view and tensor.storage.made_by is expression


def _is_either(value: Value) -> bool:
    """A number or a tensor, and nothing else."""
    return isinstance(value, Choice) and all(
        (isinstance(o, Tensor) and o.known) or number_type(o) is not None for o in value.options
    )


def elsewhere(m: Machine, severed: Severed, at: ast.AST, level: Tracked, behind: Iterable[Node | None]) -> Flows:
    """`at` calls a function of another file, in which a graph ends: the cut behind what it gives."""
    record = m.notes.cuts_elsewhere.get((id(at), severed))
    if record is None:
        kind, place = CutKind(severed.kind), replace(severed.place)  # a place of its own for each call
        record = CutRecord(kind, severed.op, at, m.statement, m.scope.qualname, None, None, (), level, origin=place)
        record.through_numpy, record.in_numbers = severed.through_numpy, severed.in_numbers
        m.notes.cuts_elsewhere[id(at), severed] = m.notes.cuts[record.key] = record
        m.notes.owners.append(at)
    record.level = strongest((record.level, level))
    if m.severed is not None:
        m.severed.setdefault(record.key, []).extend(behind)
    return frozenset({(record.key, severed.straight)})


def _members(state: State, value: Value, depth: int = _DEPTH) -> list[Tensor]:
    if isinstance(value, Container) and depth:
        items = state.items.get(value)
        return [t for item in (items.values if items else ()) for t in _members(state, item, depth - 1)]
    return list(tensors(value))


def without_graph(m: Machine, state: State, kind: CutKind, tensor: Tensor, twin: Tensor, at: ast.AST) -> Tensor:
    """`twin`, the same memory as `tensor` without its graph: `.detach()`, `.data`."""
    argument = at.value if isinstance(at, ast.Attribute) else None
    if isinstance(at, ast.Call) and isinstance(at.func, ast.Attribute):
        argument = at.args[0] if at.args else at.func.value
    elif isinstance(at, ast.Call) and at.args:
        argument = at.args[0]
    name = "Variable" if kind is CutKind.TENSOR else kind.value
    flows = twin.flows | cut(m, state, kind, name, at, (tensor,), argument=argument)
    put(state, (twin,), flows)
    return replace(twin, flows=flows)


def written_past(m: Machine, state: State, data: ast.Attribute, target: Tensor, values: Sequence[Tensor]) -> Flows:
    """`values` are written through `data`, the `.data` of `target`: what reads its memory gets them without a graph."""
    flows = cut(m, state, CutKind.DATA, WRITTEN_PAST, data, values, argument=data.value)
    for storage in target.storages:
        state.cuts[storage] = flows | (state.cuts.get(storage) or NO_FLOWS)
    return flows


def parts_of(state: State, nodes: Sequence[ast.expr], value: Value) -> tuple[ValueFacts, ...]:
    """What is known of each item written out in `nodes`; of any item where `value` is a list made elsewhere."""
    items = state.items.get(value) if isinstance(value, Container) else None
    if items is None or not items.values:
        return ()
    if nodes and items.exact and len(nodes) == len(items.values):
        found: list[ValueFacts] = []
        for node, item in zip(nodes, items.values, strict=True):
            inner = node.elts if isinstance(node, (ast.List, ast.Tuple)) else ()
            found.extend(parts_of(state, inner, item) if inner else (value_facts(state, item),))
        return tuple(found)
    joined: ValueFacts | None = None
    for item in items.values:
        facts = value_facts(state, item)
        joined = facts if joined is None else join_written(joined, facts)
    return () if joined is None else (joined,)
