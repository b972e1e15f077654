"""Calls of torch: functions by qualified name, methods of tensors, layers of torch.nn."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain import grad_modes, python_values
from gradfix.analysis.domain.graph import NodeKind
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors, ask_grad, graph_node, result_tensor, save, view_of
from gradfix.analysis.domain.overloads import may_be_method
from gradfix.analysis.domain.reverse import Reverse
from gradfix.analysis.domain.state import Items, State
from gradfix.analysis.domain.values import (
    DEVICE,
    NONE,
    UNKNOWN,
    Const,
    Container,
    Method,
    Number,
    Symbol,
    Tensor,
    Value,
    is_whole,
    tensor_of,
    tensors,
)
from gradfix.analysis.facts import Tracked, WriteForm
from gradfix.analysis.hazards import batches, cuts, gradient_hooks, gradients, sinks
from gradfix.analysis.hazards.write_records import Site
from gradfix.analysis.hazards.writes import write
from gradfix.analysis.operators import (
    arrays,
    autograd_calls,
    factories,
    new_tensors,
    nn_layers,
    objects,
    operators,
    optimizers,
    out_arguments,
    outputs,
)
from gradfix.analysis.operators.write_calls import write_call
from gradfix.torch_ops import Operator, ViewKind, factory, function, inplace_flag, method

Keywords = Mapping[str, Value]
_KEEPS_GRAPH = frozenset({"as_tensor", "asarray", "Tensor", "FloatTensor", "DoubleTensor"})  # given a tensor
# Call a module with the parameters that they are given.
_STATELESS = frozenset({"torch.func.functional_call", "torch.nn.utils.stateless.functional_call"})
_STACKING = frozenset({"torch.func.stack_module_state"})  # gives new parameters and buffers, over those of modules
_OF_LAYOUT = frozenset({"numel", "nelement", "dim", "ndimension", "size", "stride"})
_WRITTEN_OUT = 8  # items of a list that are told apart
_LEAVES_ALONE = frozenset("requires_grad_ share_memory_ retain_grad_ detach_ rename_ coalesce_ names_ apply_".split())
_DROPOUTS = ("dropout", "alpha_dropout", "feature_alpha_dropout")  # hand their input through where they drop nothing
_NEVER = (Const(0), Const(0.0))


def torch_function(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Keywords, node: ast.Call
) -> Value:
    """Call `torch…` by its qualified name."""
    short = name.rsplit(".", 1)[-1]
    known = _mode_or_object(m, state, name, short, args, keywords, node)
    if known is None:
        known = _named_apart(m, state, name, short, args, keywords, node)
    return _listed(m, state, name, short, args, keywords, node) if known is None else known


def _mode_or_object(
    m: Machine, state: State, name: str, short: str, args: Sequence[Value], keywords: Keywords, node: ast.Call
) -> Value | None:
    """What a call makes that is no result of an operator: modes, factories, parameters, optimizers, layers."""
    if short == "autocast":
        return Symbol(f"torch.autocast({keywords.get('enabled', Const(True)) != Const(False)})")
    if name in grad_modes.MODES:
        return Symbol(f"{name}({_mode(name, args, keywords)})")
    if factories.is_factory(short) and name == f"torch.{short}" and not factories.draws(short, args, keywords):
        if short in _KEEPS_GRAPH and args and (source := tensor_of(args[0])) is not None:
            return source
        if (shared := arrays.as_tensor(state, short, args, keywords)) is not None:
            return shared
        return new_tensors.made(m, state, short, args, keywords, node, None)
    if name in ("torch.autograd.Variable", "torch.autograd.variable.Variable"):
        return new_tensors.variable(m, state, args, keywords, node)
    if name in ("torch.nn.Parameter", "torch.nn.parameter.Parameter"):
        return new_tensors.parameter(m, state, args, keywords, node)
    if name in ("torch.nn.ParameterList", "torch.nn.ParameterDict"):
        return new_tensors.parameters(m, state, short, args, node)
    if name.startswith("torch.optim."):
        for value in (*args, *keywords.values()):
            _hold(m, state, value, node)
        given = args[0] if args else keywords.get("params", UNKNOWN)
        return Method(UNKNOWN, short) if "lr_scheduler" in name else optimizers.over(m, state, short, given, node)
    if name.startswith("torch.nn.") and short[:1].isupper():
        return nn_layers.layer(state, short, args, keywords, node)
    if name == "torch.device":
        return DEVICE
    if name.startswith("torch.distributions.") and short[:1].isupper():
        return _distribution(m, state, short, args, keywords, node)
    return None


def _named_apart(
    m: Machine, state: State, name: str, short: str, args: Sequence[Value], keywords: Keywords, node: ast.Call
) -> Value | None:
    """Functions that do something else than the table of operators could tell."""
    if name in ("torch.autograd.backward", "torch.autograd.grad"):
        return autograd_calls.run(m, state, name, args, keywords, node)
    if name.endswith("checkpoint.checkpoint") and args:
        return m.call_value(state, args[0], args[1:], {}, node)
    if name in _STATELESS and len(args) > 1:
        return _stateless(m, state, args, node)
    if name in _STACKING and args:
        learnt = (Tensor((objects.parameter(state, "parameter"),)), result_tensor(state, None, node))
        return state.tuple_of(state.container("dict", Items((tensor,), False)) for tensor in learnt)
    if name.startswith("torch.nn.init.") and short.endswith("_"):
        return _initialise(m, state, args, node)
    if name.startswith("torch.distributed.") and short.startswith(("get_", "is_")):
        return Number("int")
    if name == "torch.is_tensor" and args:
        return python_values.is_one_of(args[0], (Symbol("torch.Tensor"),))
    if name == "torch.detach" and args and (source := tensor_of(args[0])) is not None:
        return objects.detached(m, state, source, node)
    return None


def _listed(
    m: Machine, state: State, name: str, short: str, args: Sequence[Value], keywords: Keywords, node: ast.Call
) -> Value:
    """A function of the table of operators."""
    op = function(name)
    made = factory(name)
    of_tensors = op is not None and any(tensor_of(value) is not None for value in (*args, *keywords.values()))
    if made is not None and made.tracked in ("", "no") and not made.shares and not of_tensors:
        return result_tensor(
            state, None, node, dtype=made.dtype if made.dtype in ("int64", "bool", "float32") else None
        )
    if op is None:
        if name.startswith("torch.utils."):  # of trees, of data: what they give needn't be a tensor
            return m.unknown_call(state, (*args, *keywords.values()), node)
        return _unlisted(state, short, args, keywords, node)
    if short.endswith("_") and not short.startswith("_") and args and (target := tensor_of(args[0])) is not None:
        return write_call(m, state, WriteForm.FUNCTION, op, target, _first(node, args), args, keywords, node)
    if (written := tensor_of(keywords.get("out", UNKNOWN))) is not None:
        return out_arguments.write_out(m, state, op, written, args, keywords, node)
    narrowed, bound = operators.bind(state, op, args, keywords)
    if bound.get("inplace") == Const(True) and args and (target := tensor_of(args[0])) is not None:
        if short in _DROPOUTS and (bound.get("p") in _NEVER or bound.get("training") == Const(False)):
            return target
        flagged = inplace_flag(name) or op
        return write_call(m, state, WriteForm.FLAG, flagged, target, _first(node, args), args, keywords, node)
    return operators.apply(m, state, narrowed, bound, node)


def _first(node: ast.Call, args: Sequence[Value]) -> ast.expr:
    """What was handed over first: an expression of the call, unless it was given to a `partial` before."""
    return node.args[0] if node.args and len(args) <= len(node.args) else node


def _distribution(
    m: Machine, state: State, short: str, args: Sequence[Value], keywords: Keywords, node: ast.AST
) -> Value:
    made = _unlisted(state, short, args, keywords, node)
    if isinstance(made, Tensor):
        m.notes.distributions.update(made.storages)
    return made


def _stateless(m: Machine, state: State, args: Sequence[Value], node: ast.Call) -> Value:
    """`functional_call(module, parameters, given)`: what an unknown module makes of them."""
    weights, given = (operators.members(state, state.tuple_of(values)) for values in (args[1:2], args[2:]))
    made = m.unknown_call(state, given, node, weights=weights)
    batches.carry(m, state, "functional_call", (*given, *weights), tensors(made))
    return made


def _initialise(m: Machine, state: State, args: Sequence[Value], node: ast.Call) -> Value:
    """`nn.init.zeros_(w)`: a write with gradients off."""
    target = tensor_of(args[0]) if args else None
    if target is None:
        return UNKNOWN
    grad, state.grad = state.grad, Tracked.NO
    expression = _first(node, args)
    fresh = write(m, state, Site(WriteForm.FUNCTION, node, expression, method="init"), target, None)
    state.grad = grad
    m.rebind(state, expression, target, fresh)
    return fresh


def _mode(name: str, args: Sequence[Value], keywords: Keywords) -> str:
    given = args[0] if args else keywords.get("mode")
    if name == "torch.set_grad_enabled":
        return str(given.value) if isinstance(given, Const) else "?"
    if name == "torch.inference_mode" and given is not None:
        return str(not given.value) if isinstance(given, Const) else "?"
    return str(name == "torch.enable_grad")


def _unlisted(state: State, short: str, args: Sequence[Value], keywords: Keywords, node: ast.AST) -> Value:
    """A function of torch that isn't in the table: nothing is known of what it saves."""
    operands = all_tensors((*args, *keywords.values()))
    if not operands:
        return UNKNOWN
    graph = graph_node(state, short, operands, node)
    if graph is not None:
        for tensor in operands:
            save(state, graph, tensor, short, node, Tracked.MAYBE, result=False)
    made = result_tensor(state, graph, node)
    made.holders = tuple(operands)
    if any(not isinstance(value, (Tensor, Const, Number)) for value in (*args, *keywords.values())):
        cuts.put(state, (made,), cuts.UNSURE)  # modules, functions and dicts may bring a graph along
    return made


def _hold(m: Machine, state: State, value: Value, at: ast.Call) -> None:
    for tensor in tensors(value):
        m.notes.grad_read.update(tensor.storages, tensor.graph_keys)
        gradients.note_grad(m, state, tensor, at, at.args[0] if at.args else at, by_optimizer=True)
    if isinstance(value, Container) and (items := state.items.get(value)):
        for item in items.values:
            _hold(m, state, item, at)


def tensor_method(
    m: Machine, state: State, receiver: Tensor, name: str, args: Sequence[Value], keywords: Keywords, node: ast.Call
) -> Value:
    """Call `receiver.name(…)`."""
    target = node.func.value if isinstance(node.func, ast.Attribute) else node.func
    op = method(name)
    if not receiver.known and not may_be_method(name, len(args)):
        return m.unknown_call(state, (receiver, *args), node)
    if name.endswith("_") and not name.startswith("_") and not name.endswith("__"):
        if name in _LEAVES_ALONE:
            return _flag_method(m, state, receiver, name, args, keywords, node)
        if op is None:
            receiver.known = False  # a tensor has no such method
            return m.unknown_call(state, (receiver, *args), node)
        receiver.known = receiver.known or name in m.telling
        return write_call(m, state, WriteForm.METHOD, op, receiver, target, (receiver, *args), keywords, node)
    if name == "backward" and (receiver.known or isinstance(node.func, ast.Attribute)):
        if (handed := _handed_loss(state, receiver, args)) is not None:  # `accelerator.backward(loss)`
            sinks.backward(m, state, handed, node.args[0], node, Reverse())
            return NONE
        return autograd_calls.method(m, state, receiver, args, keywords, node)
    if (made := _unlike_its_row(m, state, receiver, name, args, keywords, node)) is not None:
        return made
    if op is None and receiver.known and name in outputs.CONVERSIONS:
        return view_of(state, receiver, ViewKind.MAYBE, name, node, shape=receiver.shape)
    if op is None:
        return m.unknown_call(state, (receiver, *args), node)
    receiver.known = receiver.known or name in m.telling
    op, bound = operators.bind(state, op, (receiver, *args), keywords)
    if name in ("view", "reshape", "expand", "repeat", "permute", "transpose"):
        return _reshaped(m, state, op, receiver, name, args, bound, node)
    return operators.apply(m, state, op, bound, node)


def _handed_loss(state: State, receiver: Tensor, args: Sequence[Value]) -> Tensor | None:
    """The loss that something unknown, which nobody has computed, is told to go back from."""
    loss = tensor_of(args[0]) if len(args) == 1 and not receiver.known else None
    node, behind = state.node_of(receiver), None if loss is None else state.node_of(loss)
    computed = node is not None and node.kind is not NodeKind.ASSUMED
    return loss if behind is not None and behind.kind is NodeKind.OP and not computed else None


def _unlike_its_row(
    m: Machine, state: State, receiver: Tensor, name: str, args: Sequence[Value], keywords: Keywords, node: ast.Call
) -> Value | None:
    """Methods that do something else than the table of operators could tell: cuts, numbers, factories, hooks."""
    if name == "detach":
        return objects.detached(m, state, receiver, node)
    if name in ("sample", "sample_n") and m.notes.distributions.issuperset(receiver.storages):
        drawn = result_tensor(state, None, node)  # gradients are off while it draws
        cuts.put(state, (drawn,), cuts.UNSURE)
        return drawn
    if name in ("retain_grad", "register_hook"):
        m.notes.grad_read.update(receiver.storages, receiver.graph_keys)
        gradients.retain(m, [receiver])
        if name == "register_hook" and args:
            gradient_hooks.register(m, state, receiver, args[0], node)
        return UNKNOWN
    if name == "size" and (asked := _size(state, receiver, args)) is not None:
        return asked
    if name == "tolist" and is_whole(receiver.dtype) and receiver.shape:
        return _numbers(state, receiver, receiver.shape)
    if name in ("item", "tolist", "__float__"):
        return Number(None, True, receiver, cuts.number(m, state, name, (receiver,), node))
    if name == "__int__":
        return Number(None, True, receiver)
    if name in _OF_LAYOUT:
        return Number(None if name == "stride" else "int")
    if name == "numpy" and (receiver.known or cuts.flows_of(state, receiver)):
        return arrays.of_tensor(m, state, receiver)
    return new_tensors.made(m, state, name, args, keywords, node, receiver) if factories.is_new(name) else None


def _numbers(state: State, source: Tensor, shape: tuple[int | None, ...]) -> Value:
    """What `tolist()` of a tensor of integers gives: lists of its shape."""
    if not shape:
        return Number("bool" if source.dtype == "bool" else "int", True, source)
    item = _numbers(state, source, shape[1:])
    size = shape[0]
    written_out = size is not None and size <= _WRITTEN_OUT
    return state.container("list", Items((item,) * size if size is not None and written_out else (item,), written_out))


def _size(state: State, receiver: Tensor, args: Sequence[Value]) -> Value | None:
    """`y.size()` and `y.size(0)`; None where nothing is known but that it is a number."""
    if not args:
        return objects.shape_value(state, receiver) if receiver.known else None
    axis = args[0].value if isinstance(args[0], Const) else None
    if receiver.shape is None or type(axis) is not int or not -len(receiver.shape) <= axis < len(receiver.shape):
        return None
    size = receiver.shape[axis]
    return Number("int") if size is None else Const(size)


def _reshaped(
    m: Machine,
    state: State,
    op: Operator,
    receiver: Tensor,
    name: str,
    args: Sequence[Value],
    bound: Mapping[str, Value],
    node: ast.AST,
) -> Value:
    result = operators.apply(m, state, op, bound, node)
    if isinstance(result, Tensor) and name in ("view", "reshape"):
        shape = factories.sizes(state, args)
        result.shape = shape
    if isinstance(result, Tensor) and name in ("transpose", "permute") and _of_batch(args):
        result.path = (*result.path[:-1], outputs.BATCHED)
    return result


def _of_batch(args: Sequence[Value]) -> bool:
    """True when the dimensions named prove three or more."""
    dims = [a.value for a in args if isinstance(a, Const) and type(a.value) is int]
    return len(dims) >= 3 or any(d >= 2 or d <= -3 for d in dims)


def _flag_method(
    m: Machine, state: State, receiver: Tensor, name: str, args: Sequence[Value], keywords: Keywords, node: ast.Call
) -> Value:
    if name == "requires_grad_":
        ask_grad(state, receiver, args[0] if args else keywords.get("requires_grad", Const(True)), node)
    elif name == "detach_":
        cuts.put(state, (receiver,), cuts.cut(m, state, CutKind.DETACH, "detach_", node, (receiver,)))
        if (behind := state.node_of(receiver)) is not None and behind.op == "item":
            m.networks.detached.update(filter(None, behind.inputs))
        state.reset(receiver)
        for storage in receiver.graph_keys:
            state.nodes[storage] = None
    return receiver
