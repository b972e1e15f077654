"""Modules of torch.nn: building one, and calling it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradfix.analysis.domain import overloads
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors, graph_node, result_tensor, save
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import Choice, Const, Container, Layer, Number, Storage, Tensor, Value, tensor_of
from gradfix.analysis.effects import Built
from gradfix.analysis.facts import Tracked, WriteForm
from gradfix.analysis.hazards import cuts, reads
from gradfix.analysis.hazards.write_records import Site
from gradfix.analysis.hazards.writes import write, written_by
from gradfix.analysis.operators import objects, operators
from gradfix.torch_ops import NnModule, function, module

Keywords = Mapping[str, Value]
_PAIRS = frozenset({"LSTM", "GRU", "RNN", "MultiheadAttention"})
# Where `inplace` stands among the arguments of the constructors that have it; the last of all.
_INPLACE_PLACE = {
    **dict.fromkeys("ReLU ReLU6 SELU SiLU Hardswish Hardsigmoid Mish".split(), 0),
    **dict.fromkeys("ELU CELU LeakyReLU Dropout Dropout1d Dropout2d Dropout3d".split(), 1),
    **dict.fromkeys(("AlphaDropout", "FeatureAlphaDropout"), 1),
    **dict.fromkeys(("Hardtanh", "RReLU", "Threshold"), 2),
}


def layer(state: State, name: str, args: Sequence[Value], keywords: Keywords, node: ast.AST | None) -> Value:
    """Build a module of torch.nn."""
    if name in ("Sequential", "ModuleList", "ModuleDict"):
        parts: list[Value] = []
        exact = True
        names: tuple[object, ...] = ()
        for value in args:
            if isinstance(value, Container) and (items := state.items.get(value)):
                parts.extend(items.values)
                exact = exact and items.exact
                names = items.keys or ()
            else:
                parts.append(value)
        keyed = name == "ModuleDict" and exact and len(names) == len(parts)  # not one made of pairs
        kind = "layers" if name == "Sequential" else "modules"
        return state.container(kind, Items(tuple(parts), exact, names if keyed else None))
    place = _INPLACE_PLACE.get(name, len(args))
    flag = keywords.get("inplace", args[place] if place < len(args) else Const(False))
    known = module(name)
    settings = _settings(state, known, args, keywords)
    weights = _weights(state, name, _learns(name, known, settings))
    chance = keywords.get("p", args[0] if args else Const(0.5)) if "Dropout" in name else Const(1.0)
    out = keywords.get("out_features", args[1] if len(args) > 1 else None) if name == "Linear" else None
    width = out.value if isinstance(out, Const) and type(out.value) is int else None
    made_layer = Layer(name, flag == Const(True), weights, tuple((settings or {}).items()), chance, node, width)
    if isinstance(flag, Number) and flag.type == "bool":  # an argument that says so by its default
        return Choice((made_layer, replace(made_layer, inplace=True, doubtful=True)))
    return made_layer


def has_weight(name: str) -> bool:
    """Whether every module of a class of torch.nn, by its qualified name, has parameters."""
    known = module(name.rsplit(".", 1)[-1]) if name.startswith("torch.nn.") else None
    return known is not None and (known.learns == "yes" or "Norm" in name)


def some_layer(state: State, *, learns: bool = True) -> Layer:
    """A module of which no more is known than that it has parameters; who calls may have switched gradients off."""
    weights = _weights(state, "module", "maybe")
    for storage in weights if not learns else ():
        state.nodes[storage] = None
    return Layer("Module", weights=weights)


def rebuilt(state: State, built: Built, node: ast.AST) -> Layer:
    """A module of torch.nn as a function of another file made it."""
    weights = _weights(state, built.name, built.learns)
    chance = Number("float") if built.chance is None else Const(built.chance)
    return Layer(built.name, False, weights, built.settings, chance, node)


def _settings(
    state: State, known: NnModule | None, args: Sequence[Value], keywords: Keywords
) -> Mapping[str, str] | None:
    """Kinds of the constructor's arguments; None where they can't be told."""
    built = known.call or known.inplace_call if known is not None else None
    if built is None:
        return None
    named = {key: operators.kind_of(state, value) for key, value in keywords.items()}
    binding = overloads.bind_overloads(built.constructor, [operators.kind_of(state, v) for v in args], named)
    return None if binding is None else binding.kinds


def _learns(name: str, known: NnModule | None, settings: Mapping[str, str] | None) -> str:
    """Whether a module has parameters; a normalisation has them unless it is told not to, or never told to."""
    if known is None:
        return "no" if name.endswith("Loss") else "maybe"
    if known.learns != "maybe" or "Norm" not in name or settings is None:
        return known.learns
    affine = settings.get("affine", settings.get("elementwise_affine"))
    if affine is None:
        return "no" if name.startswith("InstanceNorm") else "yes"
    return {"true": "yes", "false": "no"}.get(affine, "maybe")


def _weights(state: State, name: str, learns: str) -> tuple[Storage, ...]:
    if learns == "no":
        return ()
    storage = objects.parameter(state, f"{name}.weight")
    graph = state.nodes.get(storage)
    if learns == "maybe" and graph is not None:
        graph.tracked = Tracked.MAYBE
    return (storage,)


def call_layer(
    m: Machine, state: State, called: Layer, args: Sequence[Value], keywords: Keywords, node: ast.Call
) -> Value:
    """Run a module of torch.nn on its input."""
    m.notes.layer_modes.setdefault(id(node), set()).add(called.inplace)
    reads.read(m, state, called, node.func, m.spelling(node.func))
    known = module(called.name)
    op = None if known is None else known.inplace_call if called.inplace else known.call
    if op is None and "Dropout" in called.name:
        op = function("torch.nn.functional.dropout")  # modules that draw at random can't be measured one by one
    source = tensor_of(args[0]) if args else None
    if op is None or source is None:
        return _unmeasured_layer(m, state, called, args, node)
    source.known = True
    if dict(called.settings).get("batch_first") == "true":  # the layer transposes first, which may copy
        args = [replace(a, path=(*a.path, "transpose")) if isinstance(a, Tensor) else a for a in args]
    shape = None if called.width is None else (called.width, None)
    weights = state.tuple_of(_parameters(state, called, shape))
    settings = dict(called.settings)
    op, arguments = operators.bind(state, op, args, keywords, settings)
    if settings.get("reduction", "").startswith("'"):
        arguments["reduction"] = Const(settings["reduction"].strip("'"))
    arguments["weights"] = weights
    if called.inplace and node.args:
        if called.chance in (Const(0), Const(0.0)):
            return source  # dropout with p=0 hands its input through
        doubtful = called.doubtful or not isinstance(called.chance, Const)
        m.uncertain_loop += doubtful
        fresh = write(m, state, Site(WriteForm.FLAG, node, node.args[0], method=called.name), source, None)
        m.uncertain_loop -= doubtful
        m.notes.add_maker(node, called, source)
        groups = {key: operators.members(state, value) for key, value in arguments.items()}
        if op.outputs and state.grad is not Tracked.NO:
            operators.save_output(state, op, op.outputs[0], written_by(state, fresh), fresh, groups, node)
        m.rebind(state, node.args[0], source, fresh)
        return fresh
    result = operators.apply(m, state, op, arguments, node)
    if called.name in _PAIRS and isinstance(result, Tensor):
        return _pair(state, result, node)
    if called.name == "LSTM" and isinstance(result, Container) and (items := state.items.get(result)) is not None:
        return state.tuple_of((items.values[0], state.tuple_of(items.values[1:])))  # output, (hidden, cell)
    return result


def _parameters(state: State, called: Layer, shape: tuple[int | None, ...] | None = None) -> list[Tensor]:
    """What a layer computes with: parameters of its own, and what they were replaced by."""
    replaced = [value for value in state.slots(called).values() if isinstance(value, Tensor)]
    return [*(Tensor((storage,), shape=shape) for storage in called.weights), *replaced]


def _pair(state: State, result: Tensor, node: ast.AST) -> Container:
    """What recurrent layers and attention return: the output and something beside it."""
    return state.tuple_of((result, result_tensor(state, state.node_of(result), node)))


def _unmeasured_layer(m: Machine, state: State, called: Layer, args: Sequence[Value], node: ast.Call) -> Value:
    operands = [*all_tensors(args), *_parameters(state, called)]
    graph = graph_node(state, called.name, operands, node)
    if graph is not None:
        for tensor in all_tensors(args):
            save(state, graph, tensor, called.name, node, Tracked.MAYBE, result=False)
    made = result_tensor(state, graph, node)
    cuts.put(state, (made,), cuts.through(m, state, called.name, args))
    return _pair(state, made, node) if called.name in _PAIRS else made
