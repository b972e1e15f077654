"""Where the analysis enters a file: its top level first, then every function nobody in the file led it through."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from gradfix.analysis.domain import grad_modes
from gradfix.analysis.domain.defined import MODULE
from gradfix.analysis.domain.definitions import ClassInfo, FunctionInfo
from gradfix.analysis.domain.graph import in_order
from gradfix.analysis.domain.machine import Machine, Scope
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import (
    NONE,
    UNKNOWN,
    Const,
    Container,
    Instance,
    Origin,
    Storage,
    Tensor,
    Value,
    tensors,
)
from gradfix.analysis.facts import Obstacle, ObstacleKind, Tracked
from gradfix.analysis.hazards import losses, sinks
from gradfix.analysis.interpreter import calls, inherited, left_behind
from gradfix.analysis.interpreter.arguments import Arguments
from gradfix.analysis.interpreter.statements import run_block
from gradfix.analysis.text import names, refusals
from gradfix.analysis.text.builtin_names import mark_others
from gradfix.analysis.text.candidates import Candidates
from gradfix.analysis.text.list_uses import used_as_lists
from gradfix.analysis.text.parameters import annotations_of, defaults_of

_HEIRS = 3  # classes for which an inherited method is run


def run_module(m: Machine, tree: ast.Module, name: str = "__main__") -> State:
    """Run the top level, as `python file.py` would, or importing it under another name."""
    m.tree = mark_others(tree)
    state = State()
    state.variables[MODULE, "__name__"] = Const(name)
    state.variables[MODULE, "__file__"] = UNKNOWN
    flow = run_block(m, state, tree.body)
    end = flow.after if flow.after is not None else state
    m.defined.covered_by_program = frozenset(m.defined.covered if m.saw_backward else m.defined.mapped)
    return end


def run_functions(m: Machine, end: State, worth: Candidates) -> None:
    """Run the functions that the top level didn't lead through; those nobody names first."""
    done = {id(info.node) for info in m.defined.covered_by_program}
    pending = [info for info in m.defined.functions if id(info.node) in worth.functions and id(info.node) not in done]
    pending.sort(key=lambda info: (getattr(info.node, "name", "") in worth.named, _order(info)))
    for info in pending:
        if id(info.node) not in done:
            _run_with_nested(m, end.fork(), info, done, worth.functions)


def _run_with_nested(m: Machine, state: State, info: FunctionInfo, done: set[int], worth: frozenset[int]) -> None:
    """Run a function, then those defined inside that it didn't call: they see the variables it left."""
    known = len(m.defined.functions)
    m.defined.covered = set()
    for owner in _owners(m, info, worth):
        m.steps = 0
        run_function(m, state if owner is m.defined.functions[info][1] else state.fork(), info, owner)
    done.add(id(info.node))
    done.update(id(inner.node) for inner in m.defined.covered if not _is_forward_of_same(inner, info))
    for inner in list(m.defined.functions)[known:]:
        if id(inner.node) not in done and id(inner.node) in worth and len(m.defined.functions[inner][0]) > 1:
            _run_with_nested(m, state.fork(), inner, done, worth)


def _is_forward_of_same(covered: FunctionInfo, entry: FunctionInfo) -> bool:
    """True for the `forward` of the very module whose `predict` was run: that asks for no gradients."""
    return covered.owner is not None and covered.owner is entry.owner and getattr(covered.node, "name", "") == "forward"


def _order(info: FunctionInfo) -> int:
    name = getattr(info.node, "name", "")
    return 0 if name == "forward" else 2 if name == "__init__" else 1


def _owners(m: Machine, info: FunctionInfo, worth: frozenset[int]) -> tuple[ClassInfo | None, ...]:
    """Whose method it is: that of its class and of those heirs in the file that put one worth running in the place of
    another; of heirs alone where the class leaves methods to them."""
    owner = m.defined.functions[info][1]
    if owner is None:
        return (owner,)
    name = getattr(info.node, "name", "")
    heirs = [heir for heir in m.defined.heirs_of(owner) if heir.method(name) is info and not _leaves_open(heir)]
    if any(method.stands_for_others for method in owner.methods.values()):
        return tuple(heirs[:_HEIRS]) or (owner,)
    return (owner, *[heir for heir in heirs if _overrides(heir, owner, worth)][:_HEIRS])


def _overrides(heir: ClassInfo, owner: ClassInfo, worth: frozenset[int]) -> bool:
    """Whether one of the functions `worth` running is a method of `heir` where `owner` has another."""
    pairs = ((heir.method(name), owner.method(name)) for name in _names(owner))
    return any(own is not None and own is not other and id(own.node) in worth for own, other in pairs)


def _leaves_open(owner: ClassInfo) -> bool:
    return any((found := owner.method(name)) is not None and found.stands_for_others for name in _names(owner))


def _names(owner: ClassInfo) -> frozenset[str]:
    """Names of the methods of a class and of its bases in the file."""
    return frozenset(owner.methods).union(*(_names(base) for base in owner.bases if isinstance(base, ClassInfo)))


def run_function(m: Machine, state: State, info: FunctionInfo, owner: ClassInfo | None) -> None:
    """Run one function with arguments of which only the signature and the use tell; a method as one of `owner`."""
    frames, holder = m.defined.functions[info]
    m.begin(id(info.node if owner is holder or owner is None else owner.node))
    made: Instance | None = None
    if owner is not None and info.parameters and not is_static(info):
        made, state = self_of(m, state, owner)
        if owner in m.defined.idle and info is owner.method("__init__"):
            m.defined.covered |= m.defined.idle[owner]  # making the object has run it, without a hazard
            _leave(m, state, NONE, [made], proven=False)
            return
    is_forward = owner is not None and getattr(info.node, "name", "") == "forward" and _is_module(m, owner)
    frame = m.new_frame()
    closed = m.defined.closed.get(info) or m.defined.bound(info, None)
    receiver: list[Value] = [] if made is None else [made]
    missing = _argument_maker(m, state, info, forward=is_forward)
    calls.bind_parameters(m, state, info, frame, receiver, {}, closed, missing)
    custom = owner is not None and owner.derives_from(*calls.CUSTOM_FUNCTIONS)
    if custom or m.defined.handed.get(info) is Tracked.NO:  # the methods of an autograd Function run with gradients off
        state.grad = Tracked.NO
    state.grad = grad_modes.inside(closed.grad, state.grad)
    before = state.fork()
    m.calls.append(info)
    try:
        with m.inside(Scope(info.qualname, (frame, *frames), info)):
            given: list[Tensor] = []
            m.yield_to = lambda current, value: given.extend(_graphs(current, value))
            result = m.run_body(state, info)
            m.yield_to = None
            sinks.reach(m, state, given, certain=False, total=False)
            _leave(m, state, result, receiver, proven=is_forward)
            left_behind.note(m, before, state)
            if state.grad is not Tracked.NO:
                losses.returned(m, state, _tensors(state, result, 4), info, forward=is_forward)
    finally:
        m.calls.pop()


def _is_module(m: Machine, owner: ClassInfo) -> bool:
    """Whether it derives from `torch.nn.Module`, by classes of other files of the project, too."""
    if owner.derives_from(*calls.MODULE_CLASSES, *calls.LIGHTNING):
        return True
    return any(found.is_module() for found, _ in inherited.bases(m, owner))


def is_static(info: FunctionInfo) -> bool:
    """True for a method that isn't given an object."""
    decorators = getattr(info.node, "decorator_list", [])
    return any(isinstance(d, ast.Name) and d.id in ("staticmethod", "classmethod") for d in decorators)


def self_of(m: Machine, state: State, owner: ClassInfo) -> tuple[Instance, State]:
    """An instance as its constructor leaves it, the arguments unknown, and the state then; made once for a class."""
    if owner in m.defined.instances:
        made, after = m.defined.instances[owner]
        return made, after.fork()
    made = Instance(owner)
    state.attributes[made] = {}
    logged = bool(state.log)
    init = owner.method("__init__")
    if init is not None:
        frame = m.new_frame()
        frames = m.defined.functions[init][0] if init in m.defined.functions else (MODULE,)
        missing = _argument_maker(m, state, init, forward=False)
        calls.bind_parameters(m, state, init, frame, [made], {}, m.defined.bound(init, made), missing)
        covered, m.defined.covered = m.defined.covered, set()
        before = m.notes.extent()
        with m.called(owner.node, init), m.inside(Scope(init.qualname, (frame, *frames), init)):
            m.run_body(state, init)
        if m.notes.extent() == before and not logged:
            m.defined.idle[owner] = frozenset(m.defined.covered)
        m.defined.covered |= covered
    methods = [method for name in _names(owner) if (method := owner.method(name)) is not None]
    if all(m.defined.functions[method][0] == (MODULE,) for method in methods if method in m.defined.functions):
        m.defined.instances[owner] = (made, state.fork())  # a class inside a function sees its variables
    return made, state


def _argument_maker(m: Machine, state: State, info: FunctionInfo, *, forward: bool) -> Callable[[str], Value]:
    """What makes the arguments that nothing but the signature and the use of a function tells of."""
    maker = Arguments(
        state,
        annotations=annotations_of(info.node.args),
        defaults=defaults_of(info.node.args),
        shown=m.shown(info),
        forward=forward,
        lists=used_as_lists(info.node) if forward else frozenset(),
    )
    trains = names.trains_leaves_of_its_own(info.node)
    refused = refusals.refused(info.node)

    def make(name: str) -> Value:
        value = maker.make(name)
        if name in refused or (trains and not names.is_learnt(info.node, name)):
            for tensor in tensors(value):
                state.nodes[tensor.storage] = None  # data
        return value

    return make


def _leave(m: Machine, state: State, result: Value, receiver: list[Value], *, proven: bool) -> None:
    """The function returns: what it returns may be differentiated, what it stored may be read."""
    sinks.reach(m, state, _tensors(state, result, 4), certain=proven, total=False)
    for owner in receiver:
        if isinstance(owner, Instance):
            for name, value in state.slots(owner).items():
                for tensor in _tensors(state, value, 2):
                    if state.may_miss(tensor):
                        _note_stored(m, state, tensor, f"self.{name}")


def _graphs(state: State, value: Value) -> list[Tensor]:
    """Tensors that keep the graph which what is yielded has now: whoever consumes it builds on that."""
    found = []
    for tensor in _tensors(state, value, 4):
        found.append(replace(tensor, storages=(Storage(Origin.OUTSIDE),), detached=False, own=None))
        state.nodes[found[-1].storage] = state.node_of(tensor)
    return found


def _tensors(state: State, value: Value, depth: int) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if depth and isinstance(value, Container) and (items := state.items.get(value)):
        return [t for item in items.values for t in _tensors(state, item, depth - 1)]
    if hasattr(value, "options"):
        return [t for option in value.options for t in _tensors(state, option, depth)]
    return []


def _note_stored(m: Machine, state: State, tensor: Tensor, name: str) -> None:
    for visit in in_order(state.missed(tensor)):
        if (record := m.notes.writes.get(visit.key)) is not None and ast.unparse(record.target) != name:
            record.add_obstacle(Obstacle(ObstacleKind.ESCAPED, name, certain=False))
