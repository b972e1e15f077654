"""Calls of what stands in other files of the project: their summaries, done to the arguments at hand."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain import learned
from gradfix.analysis.domain.graph import Node, assumed, leaf, operation, phi
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import result_tensor, save, strongest, tracked, view_of
from gradfix.analysis.domain.state import Items, State, merge
from gradfix.analysis.domain.values import (
    NO_FLOWS,
    UNKNOWN,
    Array,
    Const,
    Container,
    Flows,
    Instance,
    Number,
    Optimizer,
    Origin,
    Storage,
    Tensor,
    Value,
    tensor_of,
    tensors,
)
from gradfix.analysis.effects import (
    NETWORK,
    Effects,
    Given,
    Graph,
    Kept,
    Memory,
    Returned,
    Written,
)
from gradfix.analysis.facts import Tracked, WriteForm
from gradfix.analysis.graph_ends import Behind
from gradfix.analysis.hazards import cuts
from gradfix.analysis.hazards.write_records import Site
from gradfix.analysis.hazards.writes import write
from gradfix.analysis.imports import Callee, Described
from gradfix.analysis.interpreter import events_elsewhere
from gradfix.analysis.interpreter.concerned import is_concerned, is_differentiated
from gradfix.analysis.interpreter.given_elsewhere import bound_to, expressions_for, given_of, is_network, listed, tells
from gradfix.analysis.interpreter.objects_elsewhere import Made, learnt, object_of
from gradfix.analysis.operators import nn_layers
from gradfix.analysis.summaries import FunctionSummary
from gradfix.torch_ops import ViewKind


def call(
    m: Machine,
    state: State,
    callee: Callee,
    args: Sequence[Value],
    keywords: Mapping[str, Value],
    at: ast.Call,
    of: Instance | None = None,
) -> Value | None:
    """What the call gives, after its effects; None where nothing is known of it. `of`: the module that is called."""
    bound = bound_to(state, callee.parameters, args, keywords, at)
    if bound is None:
        return None
    is_module = of is not None and bool(learnt(state, of))  # what it gives has the graph of its parameters
    if not is_module and not any(tells(state, value) for value in bound.values()):
        trains = m.trains and is_differentiated(m, callee) and any(is_network(state, v) for v in bound.values())
        steps = any(isinstance(value, Optimizer) for value in bound.values()) and callee.may_train()
        if not trains and not steps:
            return _built(m, state, callee, bound, at)
    acts = callee.may_write() or callee.may_train()
    if not acts and not is_concerned(m, at) and not is_differentiated(m, callee):
        return None  # what it saves is overwritten by nobody here, and nobody asks for a graph
    effects = callee.effects(given_of(m, state, callee.parameters, bound))
    if effects is None:
        return None
    return _Call(m, state, callee, effects, bound, at, of).result()


def perhaps_asked(state: State, callee: Callee, given: Sequence[Value]) -> None:
    """Tensors without a graph that a function is given may require grad then, where its text asks something to."""
    bare = [tensor for value in given for tensor in tensors(value) if state.node_of(tensor) is None]
    for tensor in bare if bare and callee.may_ask() else ():
        for storage in tensor.storages:
            state.nodes[storage] = assumed("call")


def variable(m: Machine, state: State, name: str, at: ast.ImportFrom) -> Value | None:
    """What a variable of another file holds that is imported under this qualified name; None where it isn't known."""
    held = None if m.imports is None or name.startswith("torch.") else m.imports.held(name)
    if held is None or not any(memory.is_leaf for memory in held.memories):
        return None
    short = name.rpartition(".")[2]
    read = ast.copy_location(ast.Call(ast.Name(short, ast.Load()), [], []), at)
    return _Call(m, state, FunctionSummary(short, "", (), (held,)), held, {}, read).result()


def _built(m: Machine, state: State, callee: Callee, bound: dict[int, Value], at: ast.Call) -> Value | None:
    """The module that a call without tensors gives: with its parameters where a step of an optimizer may write them,
    else with what a call of it does."""
    if not callee.may_build():
        return None  # of what isn't known to be a tensor nothing is said anyway
    given = given_of(m, state, callee.parameters, bound)
    effects = callee.effects(given) if m.trains else None
    if effects is not None and effects.returned.holds_module():
        return _Call(m, state, callee, effects, bound, at).result()
    if getattr(m.scope.info and m.scope.info.node, "name", "") != "__init__" and not _is_act(m, callee, given):
        return None
    made = Instance(None, Made(callee, given))
    state.attributes[made] = {}
    return made


def _is_act(m: Machine, callee: Callee, given: Given) -> bool:
    """Whether what is made gets a name by which it is called, and may work in place."""
    statement = m.statement
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    if not isinstance(target, ast.Name) or f"{target.id}(" not in m.source.text:
        return False
    made = callee.made(given)
    return made is not None and made.may_write()


class _Call:
    """One call, with what it has made so far."""

    def __init__(
        self,
        m: Machine,
        state: State,
        callee: Callee,
        effects: Effects,
        bound: dict[int, Value],
        at: ast.Call,
        of: Instance | None = None,
    ) -> None:
        self.m, self.state, self.callee, self.effects, self.at = m, state, callee, effects, at
        self._learnt = () if of is None else learnt(state, of)
        self.bound = bound
        found = {place: tensor_of(value) or listed(state, value) for place, value in bound.items()}
        self._tensors = {place: tensor for place, tensor in found.items() if tensor is not None}
        self._levels = {
            place: strongest([tracked(state, t) for t in self.tensors_at(place)]) for place in self._tensors
        }
        self.nodes = {place: self._node(place) for place in self._tensors}
        self._weights = self._networks()
        self._kept: dict[int, Node | None] = {}
        self._inner: dict[int, Node | None] = {}
        self._memories: dict[int, Storage] = {}

    def tensors_at(self, place: int) -> list[Tensor]:
        """The tensors of an argument: itself, or its items."""
        value = self.bound.get(place, UNKNOWN)
        items = self.state.items.get(value) if isinstance(value, Container) else None
        return [t for item in (items.values if items else (value,)) for t in tensors(item)]

    def _networks(self) -> dict[int, tuple[Tensor, ...]]:
        """The parameters of the modules that the function was told of; behind each stand their graphs."""
        found = {}
        for place, kind, _ in self.effects.given:
            if kind == NETWORK and place in self.bound:
                found[place] = tuple(Tensor((s,)) for s in learned.parameters(self.state, self.bound[place]))
                self.nodes[place] = operation("parameters", map(self.state.node_of, found[place]), self.at)
        return found

    def _node(self, place: int) -> Node | None:
        if not isinstance(self.bound[place], Container):
            return self.state.node_of(self._tensors[place])
        return operation("list", map(self.state.node_of, self.tensors_at(place)), self.at)

    def result(self) -> Value:
        """Play the effects in their order."""
        self.m.steps += 1
        graphs = dict(self.effects.graphs)
        writes = {written.parameter: written for written in self.effects.written}
        for number, event in enumerate(self.effects.events):
            for place in event.written:
                if (written := writes.pop(place, None)) is not None:
                    self._write(written, graphs.get(place))
            events_elsewhere.happen(self, number, event)
        for written in writes.values():
            self._write(written, graphs.get(written.parameter))
        value = self._returned(self.effects.returned)
        if self.state.grad is not Tracked.NO:
            for number, kept in enumerate(self.effects.kept):
                self._keep(number, kept)
        return value

    def given(self, place: int) -> Sequence[ast.expr]:
        """The expressions handed over for a parameter."""
        return expressions_for(self.at, self.callee.parameters, place)

    def _write(self, written: Written, graph: Graph | None) -> None:
        m, state = self.m, self.state
        grad = state.grad
        if written.gradients_off:
            state.grad = Tracked.NO
        node = None if state.grad is Tracked.NO else self.graph(graph)
        targets = self._targets(written.parameter)
        doubtful = not written.certain or len(targets) > 1
        m.uncertain_loop += doubtful
        for tensor, target in targets:
            fresh = self._write_one(written, tensor, target, node)
            if tensor is self._tensors.get(written.parameter):
                self._tensors[written.parameter] = fresh
                if isinstance(self.bound[written.parameter], Tensor):
                    self.bound[written.parameter] = fresh
        m.uncertain_loop -= doubtful
        state.grad = grad

    def _targets(self, place: int) -> list[tuple[Tensor, ast.expr]]:
        """What is written where a parameter is, by the expressions handed over."""
        tensor = self._tensors.get(place)
        given = self.given(place)
        items = self.tensors_at(place)
        if isinstance(self.bound.get(place), Container) and len(items) == len(given):
            return list(zip(items, given, strict=True))
        return [(tensor, given[0])] if tensor is not None and given else []

    def _write_one(self, written: Written, tensor: Tensor, target: ast.expr, node: Node | None) -> Tensor:
        m, state = self.m, self.state
        place = f"`{written.text}` in {self.callee.file}, line {written.line}"
        site = Site(WriteForm.FOREIGN, self.at, target, method=place)
        hit = view_of(state, tensor, ViewKind.VIEW, "call", self.at) if written.through_view else tensor
        fresh = write(m, state, site, hit, None, node)
        cuts.put(state, (fresh,), self.flows(written.behind))
        fresh = replace(tensor, born=0) if written.through_view else fresh
        m.rebind(state, target, tensor, fresh)
        return fresh

    def graph(self, graph: Graph | None) -> Node | None:
        """The node of what the function computed."""
        if graph is None or self.state.grad is Tracked.NO:
            return None
        inputs = [self._sometimes(self.nodes.get(place), certain) for place, certain in graph.parameters]
        inputs += [self._sometimes(self._kept_node(number), certain) for number, certain in graph.kept]
        inputs += [self._inner_node(number) for number in graph.inner]
        weights = [tensor for place, _ in graph.parameters for tensor in self._weights.get(place, ())]
        if graph.own != Tracked.NO.value:
            own = leaf(self.callee.name, self.at)
            own.tracked = Tracked(graph.own)
            inputs += [own, *map(self.state.node_of, self._learnt)]
            weights += self._learnt
        node = operation(self.callee.name, inputs, self.at)
        if node is None:
            return None
        for tensor in weights:
            save(self.state, node, tensor, self.callee.name, self.at, Tracked.MAYBE, result=False)
        return node

    @staticmethod
    def _sometimes(node: Node | None, certain: bool) -> Node | None:
        return node if certain or node is None else phi((node, None), None)

    def _kept_node(self, number: int) -> Node | None:
        """The node that keeps something, over those that its keeping depends on."""
        if number not in self._kept:
            kept = self.effects.kept[number]
            places = kept.behind if kept.when is None else kept.when
            inputs = [self.nodes.get(place) for place in places]
            node = operation(self.callee.name, inputs, self.at)
            if node is None and kept.when is None:
                node = leaf(self.callee.name, self.at)
            self._kept[number] = node
        return self._kept[number]

    def _inner_node(self, number: int) -> Node | None:
        """The node of what the function computed on the way to several results."""
        if number not in self._inner:
            part = self.effects.inner[number]
            inputs = [self._sometimes(self.nodes.get(place), certain) for place, certain in part.parameters]
            if part.own != Tracked.NO.value:
                own = leaf(self.callee.name, self.at)
                own.tracked = Tracked(part.own)
                inputs.append(own)
            self._inner[number] = node = operation(self.callee.name, inputs, self.at)
            if node is not None:
                node.keeps = Tracked(part.keeps)
        return self._inner[number]

    def _keep(self, number: int, kept: Kept) -> None:
        tensor = self._tensors.get(kept.memory) if kept.memory >= 0 else None
        if kept.memory < 0 and (storage := self._memories.get(~kept.memory)) is not None:
            tensor = Tensor((storage,))
        node = self._kept_node(number)
        if tensor is None or node is None:
            return
        bare = kept.memory < 0 and self.state.node_of(tensor) is None  # a mask: whoever writes it knows better
        levels = [self._levels[place] for place in kept.when or () if place in self._levels]
        level = Tracked.YES if kept.when is None else strongest(levels)
        if level is Tracked.YES and not (kept.certain and self.state.grad is Tracked.YES):
            level = Tracked.MAYBE
        if bare and level is not Tracked.YES:
            return
        must = kept.memory >= 0 or kept.certain  # else some other memory may be the result where this one was kept
        save(self.state, node, tensor, self.callee.name, self.at, level, result=kept.memory < 0, must=must)

    def _memory(self, number: int) -> Storage:
        if number not in self._memories:
            memory = self.effects.memories[number]
            storage = Storage(Origin.OUTSIDE if memory.outside else Origin.FRESH, made_by=self.at)
            self._memories[number] = storage
            own = leaf(self.callee.name, self.at) if memory.is_leaf else None
            self.state.nodes[storage] = own or self.graph(memory.graph)
            cuts.put(self.state, (Tensor((storage,)),), self.flows(memory.behind) | self._without_gradients(memory))
        return self._memories[number]

    def _without_gradients(self, memory: Memory) -> Flows:
        """The cut that the caller makes when it computes with gradients off."""
        if memory.graph is None or self.state.grad is not Tracked.NO:
            return NO_FLOWS
        operands = [t for place in self._tensors for t in self.tensors_at(place)]
        return cuts.cut(self.m, self.state, CutKind.GRADIENTS_OFF, self.callee.name, self.at, operands)

    def flows(self, behind: Behind) -> Flows:
        """The cuts behind what the function hands on: those it makes, and those of its arguments."""
        found = NO_FLOWS if behind.is_sure else cuts.UNSURE
        for place, straight in behind.parameters:
            own = cuts.flows_of(self.state, self.bound[place]) if place in self.bound else NO_FLOWS
            found |= own if straight else cuts.used(own)
        for severed in behind.severed:
            places = [p for p in severed.when or () if p in self._levels]
            level = Tracked.YES if severed.when is None else strongest([self._levels[p] for p in places])
            if level is not Tracked.NO and not self.state.quiet:
                nodes = [self.nodes[p] for p in places]
                found |= cuts.elsewhere(self.m, severed, self.at, level, nodes)
        return found

    def _returned(self, returned: Returned) -> Value:
        if returned.kind == "tensor":
            return self._tensor(returned)
        if returned.kind == "number":
            return Number(returned.type, True, flows=self.flows(returned.behind))
        if returned.kind == "array":
            return Array(self.flows(returned.behind))
        if returned.kind in ("layer", "layers", "object"):
            return self._module(returned)
        if returned.kind == "constant":
            return Const(returned.value)
        if returned.kind in ("tuple", "list"):
            return self.state.container(returned.kind, Items(tuple(map(self._returned, returned.items)), True))
        if returned.kind == "dict":
            values = tuple(map(self._returned, returned.items))
            return self.state.container("dict", Items(values, True, returned.keys))
        if returned.kind == "one of":
            several = [self._returned(item) for item in returned.items]
            value = several[0]
            for other in several[1:]:
                value = merge(value, other, self.m.statement)
            return value
        return self.m.unknown_call(self.state, list(self.bound.values()), self.at, weights=self._learnt)

    def _module(self, returned: Returned) -> Value:
        if returned.kind == "layers":
            return self.state.container("layers", Items(tuple(map(self._returned, returned.items)), True))
        if returned.built is not None:
            return nn_layers.rebuilt(self.state, returned.built, self.at)
        name = returned.type or ""
        found = None if self.m.imports is None else self.m.imports.find(name)
        return object_of(self.m, self.state, found, name) if isinstance(found, Described) else UNKNOWN

    def _tensor(self, returned: Returned) -> Value:
        found = [self._one(place, returned) for place in returned.memories]
        value: Value = found[0] if found else UNKNOWN
        for other in found[1:]:
            value = merge(value, other, self.m.statement)
        return value

    def _one(self, place: int, returned: Returned) -> Value:
        if place < 0:
            made = result_tensor(self.state, None, self.at, dtype=returned.dtype)
            tensor = replace(made, storages=(self._memory(~place),))
            tensor.floating = returned.floating
            tensor = self._seen(tensor, returned) if self.effects.memories[~place].is_leaf else tensor
            return self._detached(tensor, returned) if returned.detached else tensor
        base = self._tensors.get(place)
        if base is None:
            return self.bound.get(place, UNKNOWN)
        if ViewKind(returned.view) is ViewKind.NONE and not returned.detached:
            return base
        made = self._seen(base, returned, also_whole=True)
        return self._detached(made, returned) if returned.detached else made

    def _seen(self, base: Tensor, returned: Returned, *, also_whole: bool = False) -> Tensor:
        """The view of `base` that is handed out; `also_whole`: a new object where it is no view."""
        view = ViewKind(returned.view)
        if view is ViewKind.NONE and not also_whole:
            return base
        kind = ViewKind.MULTI if view is ViewKind.MULTI else ViewKind.VIEW
        return view_of(self.state, base, kind, self.callee.name, self.at, expanded=returned.expanded)

    def _detached(self, tensor: Tensor, returned: Returned) -> Tensor:
        made = replace(tensor, detached=True, own=Storage(Origin.FRESH))
        cuts.put(self.state, (made,), self.flows(returned.behind))
        return made
