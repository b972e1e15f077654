"""Calls: of functions and classes of this file, of containers, builtins and torch; and of what nobody knows."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from gradfix.analysis.domain import grad_modes, learned
from gradfix.analysis.domain.defined import MODULE
from gradfix.analysis.domain.definitions import FunctionInfo
from gradfix.analysis.domain.holders import keep
from gradfix.analysis.domain.joins import join
from gradfix.analysis.domain.machine import DEPTH, Machine, Scope
from gradfix.analysis.domain.operations import all_tensors, graph_node, outside, result_tensor, save
from gradfix.analysis.domain.state import Items, State, merge
from gradfix.analysis.domain.values import (
    UNKNOWN,
    Array,
    Choice,
    Class,
    Const,
    Container,
    Function,
    Instance,
    Layer,
    Method,
    Number,
    Opaque,
    Optimizer,
    Origin,
    Partial,
    Suspended,
    Symbol,
    Tensor,
    Value,
)
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards import cuts, losses
from gradfix.analysis.hazards.reads import read, read_given
from gradfix.analysis.imports import Described
from gradfix.analysis.interpreter import (
    abroad,
    callbacks,
    classes,
    container_methods,
    foreign,
    hands,
    left_behind,
    library_calls,
    module_methods,
    objects_elsewhere,
)
from gradfix.analysis.interpreter import items as item_access
from gradfix.analysis.interpreter.arguments import as_annotated
from gradfix.analysis.interpreter.unknown_calls import unknown_call
from gradfix.analysis.operators import (
    arrays,
    custom_functions,
    hooks,
    networks,
    nn_layers,
    objects,
    optimizers,
    spellings,
    torch_calls,
    transforms,
)
from gradfix.analysis.text.parameters import annotations_of, positional_of

MODULE_CLASSES = ("torch.nn.Module", "torch.nn.modules.module.Module")
CUSTOM_FUNCTIONS = ("torch.autograd.Function", "torch.autograd.function.Function")
_FOLLOWED = (Function, Class, Instance, Layer)  # what these give back was read where they return it
_CACHING = frozenset({"cache", "lru_cache", "cached_property"})
LIGHTNING = ("pytorch_lightning.LightningModule", "lightning.LightningModule", "lightning.pytorch.LightningModule")


def call(m: Machine, state: State, node: ast.Call) -> Value:
    """A call expression."""
    m.steps += 1
    callee, before = m.evaluate(state, node.func), m.written
    args: list[Value] = []
    for part in node.args:
        if isinstance(part, ast.Starred) and isinstance(callee, Symbol) and callee.name.startswith("torch.nn."):
            args.append(m.evaluate(state, part.value))  # `nn.Sequential(*layers)` knows a list when it gets one
        elif isinstance(part, ast.Starred):
            args.extend(item_access.iterated(m, state, m.evaluate(state, part.value), part).values)
        else:
            args.append(m.evaluate(state, part))
    keywords = {k.arg: m.evaluate(state, k.value) for k in node.keywords if k.arg is not None}
    _note_operands(m, callee, args, keywords, node)
    for k in node.keywords:
        spread = m.evaluate(state, k.value) if k.arg is None else UNKNOWN
        if isinstance(spread, Container) and (held := state.items.get(spread)) and held.exact and held.keys:
            keywords.update((str(key), value) for key, value in zip(held.keys, held.values, strict=True))
    if state.log:
        read_given(m, state, callee, args, node, before)
    if not isinstance(callee, (Function, Class, Method)) and not _is_builtin(callee):
        m.notes.lent.update(v for v in (*args, *keywords.values()) if isinstance(v, Container) and v.kind == "dict")
    result = call_value(m, state, callee, args, keywords, node)
    callbacks.handed_over(m, state, callee, (*args, *keywords.values()))
    result = hands.called(m, state, callee, (*args, *keywords.values()), result, node)
    followed = isinstance(callee, _FOLLOWED) and id(node) not in m.notes.unfollowed
    if state.log and not followed and isinstance(result, (Tensor, Array, Opaque)):
        read(m, state, result, node, m.spelling(node))
    if isinstance(node.func, ast.Attribute) and node.func.attr == "enter_context" and args:
        mode = grad_modes.grad_mode(args[0])  # in force until the `with` of the stack ends
        state.grad, state.off_at = (state.grad, state.off_at) if mode is None else (mode, node)
    m.notes.add_operand(node, node, result)
    return result


def _is_builtin(callee: Value) -> bool:
    return isinstance(callee, Symbol) and callee.name.rpartition(".")[0] == "builtins"


def _note_operands(
    m: Machine, callee: Value, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call
) -> None:
    if isinstance(callee, Method) and isinstance(callee.receiver, Tensor) and isinstance(node.func, ast.Attribute):
        m.notes.add_operand(node, node.func.value, callee.receiver)
    if not any(isinstance(part, ast.Starred) for part in node.args):
        for part, value in zip(node.args, args, strict=True):
            m.notes.add_operand(node, part, value)
    for keyword in node.keywords:
        if keyword.arg is not None:
            m.notes.add_operand(node, keyword.value, keywords[keyword.arg])


def call_value(
    m: Machine, state: State, callee: Value, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call
) -> Value:
    """Call any value."""
    if isinstance(callee, Symbol):
        if (made := grad_modes.under(callee, args)) is not None:
            return made
        if (made := spellings.called(m, state, callee.name, args, keywords, at)) is not None:
            return made
        if (made := transforms.called(m, state, callee.name, args, keywords, at)) is not None:
            return made
        if callee.name.startswith("torch."):
            return torch_calls.torch_function(m, state, callee.name, args, keywords, at)
        if m.imports is not None and (made := _imported(m, state, callee.name, args, keywords, at)) is not None:
            return made
        return library_calls.call(m, state, callee.name, args, keywords, at)
    if isinstance(callee, Method):
        return _method(m, state, callee, args, keywords, at)
    if isinstance(callee, Function):
        return call_function(m, state, callee, args, keywords, at)
    if isinstance(callee, Class):
        return classes.instantiate(m, state, callee, args, keywords, at)
    if isinstance(callee, (Layer, Instance)) or (isinstance(callee, Container) and callee.kind == "layers"):
        module = callee
        return hooks.around(
            m, state, module, args, at, lambda given: _call_module(m, state, module, given, keywords, at)
        )
    if isinstance(callee, Partial):
        return call_value(m, state, callee.callee, [*callee.args, *args], {**dict(callee.keywords), **keywords}, at)
    if isinstance(callee, Choice):
        return _call_one_of(m, state, callee, args, keywords, at)
    may_save = isinstance(callee, Tensor) and (
        isinstance(at.func, ast.Attribute) or callee.storage.origin is Origin.ARGUMENT  # `self.net(x)`, or `net(x)`
    )
    owner = (callee,) if isinstance(callee, Tensor) and callee.module_call else ()  # a method of what a call gave
    result = unknown_call(m, state, (*args, *keywords.values()), at, may_save=may_save, weights=owner)
    if m.trains:
        networks.called(m, state, callee, result, args, keywords, at)
    return result


def _call_module(
    m: Machine,
    state: State,
    callee: Layer | Instance | Container,
    args: Sequence[Value],
    keywords: dict[str, Value],
    at: ast.Call,
) -> Value:
    if isinstance(callee, Layer):
        return nn_layers.call_layer(m, state, callee, args, keywords, at)
    if isinstance(callee, Instance):
        return _call_instance(m, state, callee, args, keywords, at)
    return _sequential(m, state, callee, args, at)


def _imported(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call
) -> Value | None:
    """Call what stands in another file of the project; None where that isn't known."""
    found = m.imports.find(name) if m.imports is not None and not name.startswith("builtins.") else None
    if found is None:
        return None
    if not isinstance(found, Described):
        given = (*args, *keywords.values())
        hooks.perhaps_registered(state, found, given)
        made = foreign.call(m, state, found, args, keywords, at)
        foreign.perhaps_asked(state, found, given)
        return made
    if (own := abroad.adopted(m, state, found, name)) is not None:
        return call_value(m, state, own, args, keywords, at)
    if not found.is_module() and not found.is_plain():
        return None
    return objects_elsewhere.object_of(m, state, found, name)


def _call_one_of(
    m: Machine, state: State, callee: Choice, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call
) -> Value:
    callable_options = [o for o in callee.options if not isinstance(o, (Const, Number))]
    end: State | None = None
    result: Value = UNKNOWN
    arms = len(m.arms)
    for option in callable_options:
        branch = state.fork()
        m.enter_arm()
        value = call_value(m, branch, option, args, keywords, at)
        m.leave_arms(arms)
        result = value if end is None else merge(result, value, m.statement)
        end = branch if end is None else join(end, branch, m.statement)
    if end is not None:
        state.adopt(end)
    return result


def _call_instance(
    m: Machine, state: State, callee: Instance, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call
) -> Value:
    info = callee.info
    if info is not None:
        for name in ("forward", "__call__"):
            if (found := info.method(name)) is not None:
                return call_function(m, state, m.defined.bound(found, callee), args, keywords, at)
    layer = classes.layer_of(state, callee)
    if layer is not None:
        return call_value(m, state, layer, args, keywords, at)
    for name in ("forward", "__call__"):
        if (made := abroad.called(m, state, callee, name, args, keywords, at, of=callee)) is not None:
            return made
    learnt = objects_elsewhere.learnt(state, callee)
    may_save = not isinstance(callee.foreign, objects_elsewhere.Made)
    return unknown_call(m, state, (*args, *keywords.values()), at, may_save=may_save, weights=learnt)


def _sequential(m: Machine, state: State, callee: Container, args: Sequence[Value], at: ast.Call) -> Value:
    items = state.items.get(callee)
    if items is None or not args:
        return unknown_call(m, state, args, at, may_save=True)
    if not items.exact:  # built in a loop: neither number nor order of the layers is known
        return _layers_in_some_order(m, state, items, args, at)
    value = args[0]
    for part in items.values:
        value = call_value(m, state, part, [value], {}, at)
    return value


def _layers_in_some_order(m: Machine, state: State, items: Items, args: Sequence[Value], at: ast.Call) -> Value:
    weights = [Tensor((w,)) for part in items.values if isinstance(part, Layer) for w in part.weights]
    graph = graph_node(state, "Sequential", [*all_tensors(args), *weights], at)
    if graph is not None:
        for tensor in all_tensors(args):
            save(state, graph, tensor, "Sequential", at, Tracked.MAYBE, result=False)
    made = result_tensor(state, graph, at)
    cuts.put(state, (made,), cuts.UNSURE)
    return made


def _method(
    m: Machine, state: State, callee: Method, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call
) -> Value:
    receiver = callee.receiver
    if isinstance(receiver, Tensor):
        if (made := spellings.bound(m, state, receiver, callee.name, args, keywords, at)) is not None:
            return made
        return torch_calls.tensor_method(m, state, receiver, callee.name, args, keywords, at)
    if isinstance(receiver, Class) and callee.name == "apply":
        return custom_functions.apply(m, state, receiver.info, args, at)
    if callee.name in hooks.NAMES and isinstance(receiver, (Layer, Instance, Container)):
        return hooks.register(m, state, receiver, callee.name, args, keywords)
    if isinstance(receiver, Container) and receiver.kind == hooks.HANDLE and callee.name == "remove":
        return hooks.remove(m, state, receiver)
    if isinstance(receiver, Container):
        return container_methods.call(m, state, receiver, callee.name, args, keywords, at)
    if isinstance(receiver, Instance) and receiver.named == custom_functions.CONTEXT:
        return custom_functions.tell(state, receiver, callee.name, args)
    if isinstance(receiver, Instance) and callee.name == "__init__":
        return classes.begin_layer(state, receiver, args, keywords, at)
    if isinstance(receiver, Instance) and callee.name == "forward" and (layer := classes.layer_of(state, receiver)):
        return call_value(m, state, layer, args, keywords, at)
    if isinstance(receiver, Optimizer):
        return optimizers.method(m, state, receiver, callee.name, args, at)
    if isinstance(receiver, Instance):
        elsewhere = abroad.called(m, state, receiver, callee.name, args, keywords, at)
        if elsewhere is not None:
            return elsewhere
    if isinstance(receiver, Instance) and callee.name in ("_replace", "_asdict"):
        return learned.of_named_tuple(state, receiver, callee.name, keywords)
    if isinstance(receiver, (Instance, Layer)):
        return module_methods.call(m, state, receiver, callee.name, args, at)
    if isinstance(receiver, Array) and (kept := arrays.method(m, state, receiver, callee.name, at)) is not None:
        return kept
    if isinstance(receiver, (Array, Number)) and cuts.flows_of(state, receiver):
        if callee.name == "backward":
            losses.number_differentiated(m, receiver, at)
        return Array(cuts.through(m, state, callee.name, (receiver, *args)))
    container_methods.call_of_one(m, state, receiver, callee.name, args, keywords, at)
    networks.method(m, state, callee.name, args, at)
    return UNKNOWN


def call_function(
    m: Machine, state: State, callee: Function, args: Sequence[Value], keywords: dict[str, Value], at: ast.AST
) -> Value:
    """Follow a call of a function of this file; one that remembers its results holds them from then on."""
    result = _follow(m, state, callee, args, keywords, at)
    if getattr(callee.info.node, "decorator_list", None) and not _CACHING.isdisjoint(objects.decorators(callee.info)):
        keep(state, callee if callee.receiver is None else callee.receiver, [result])
    return result


def _follow(
    m: Machine, state: State, callee: Function, args: Sequence[Value], keywords: dict[str, Value], at: ast.AST
) -> Value:
    callee, home = abroad.brought(m, callee, at)
    info = callee.info
    if info.is_generator:
        return Suspended(callee, tuple(args), tuple(keywords.items()), at)
    again = m.calls.count(info)
    altered = info in m.defined.altered
    ends = len(m.calls) >= DEPTH or m.exhausted or info.stands_for_others
    if ends or altered or (again and again > info.goes_by_kind):
        return unknown_call(m, state, (*args, *keywords.values()), at, by_name=not altered)
    m.defined.covered.add(info)
    m.steps += 1
    frame = m.new_frame()
    receiver = [callee.receiver] if callee.receiver is not None and not isinstance(info.node, ast.Lambda) else []
    bind_parameters(m, state, info, frame, [*receiver, *args], keywords, callee)
    for name in info.parameters:
        is_tensor = isinstance(state.variables.get((frame, name)), Tensor)
        m.notes.given.setdefault((id(info.node), name), set()).add(is_tensor)
    grad, off_at = state.grad, state.off_at
    if callee.grad is not None:
        state.grad = grad_modes.inside(callee.grad, grad)
        state.off_at = state.off_at if id(info.node) in m.notes.off_elsewhere else info.node
    scope = Scope(info.qualname, (frame, *callee.frames), info)
    before = state.fork() if callee.frames == (MODULE,) else None  # other files may call it, too
    with m.called(at, info), m.inside(scope):
        m.home = home
        result = m.run_body(state, info)
        if before is not None:
            left_behind.note(m, before, state)
    if callee.grad is not None:  # else what the function has switched stays switched
        state.grad, state.off_at = grad, off_at
    return result


def bind_parameters(
    m: Machine,
    state: State,
    info: FunctionInfo,
    frame: int,
    args: Sequence[Value],
    keywords: Mapping[str, Value],
    callee: Function,
    missing: Callable[[str], Value] | None = None,
) -> None:
    """Put arguments into the frame of a call; `missing` gives what neither the call nor a default does."""
    arguments = info.node.args
    slots: dict[str, Value] = {}
    positional = [a.arg for a in positional_of(arguments)]
    slots.update(zip(positional, args, strict=False))
    if arguments.vararg is not None:
        rest = state.tuple_of(args[len(positional) :])
        if missing is not None:  # nobody here calls it: any number of anything
            rest = state.container("tuple", Items((UNKNOWN,), False))
        slots[arguments.vararg.arg] = rest
    names = set(info.parameters)
    slots.update({k: v for k, v in keywords.items() if k in names})
    if arguments.kwarg is not None and missing is None:
        named = {k: v for k, v in keywords.items() if k not in names}
        gathered = state.container("dict", Items(tuple(named.values()), True, tuple(named)))
        slots[arguments.kwarg.arg] = gathered
    elif arguments.kwarg is not None:
        slots[arguments.kwarg.arg] = outside(state, arguments.kwarg.arg)
    defaults = dict(callee.defaults)
    for name in info.parameters:
        if name not in slots:
            slots[name] = (
                defaults[name]
                if name in defaults and missing is None
                else (missing(name) if missing is not None else outside(state, name))
            )
    annotations = annotations_of(arguments)
    for name, value in slots.items():
        state.variables[frame, name] = as_annotated(state, name, value, annotations.get(name))
