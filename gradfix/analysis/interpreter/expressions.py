"""Expressions: from syntax to abstract values."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain import dictionaries, python_values
from gradfix.analysis.domain.definitions import FunctionInfo
from gradfix.analysis.domain.holders import keep, perhaps_held_in
from gradfix.analysis.domain.indexing import broadcast
from gradfix.analysis.domain.joins import join
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors, graph_node, outside, result_tensor
from gradfix.analysis.domain.state import Items, State, merge
from gradfix.analysis.domain.values import (
    HOLDING,
    NONE,
    UNKNOWN,
    Array,
    Bounds,
    Const,
    Container,
    Function,
    Instance,
    Layer,
    Number,
    Opaque,
    Suspended,
    Symbol,
    Tensor,
    Text,
    Value,
    options,
    tensor_of,
)
from gradfix.analysis.hazards import batches, cuts, handed
from gradfix.analysis.hazards.reads import misses_nothing, read
from gradfix.analysis.interpreter import bindings, calls, comprehensions, data_tests, hands, inherited, protocols
from gradfix.analysis.interpreter import items as item_access
from gradfix.analysis.interpreter.arithmetic import binary, symbol_of
from gradfix.analysis.interpreter.bare_ways import Way, told_apart
from gradfix.analysis.operators import objects
from gradfix.analysis.tensor_facts import Tracked
from gradfix.analysis.text.builtin_names import BUILTINS, is_other
from gradfix.analysis.text.parameters import defaults_of

_TAKEN = frozenset({Tensor, Array, Opaque})  # what may have missed a write where it was


def evaluate(m: Machine, state: State, node: ast.expr) -> Value:
    """The abstract value of an expression; its effects happen in `state`."""
    handler = _HANDLERS.get(type(node))
    if handler is None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                evaluate(m, state, child)
        return UNKNOWN
    return handler(m, state, node)


def _constant(m: Machine, state: State, node: ast.Constant) -> Value:
    return Const(node.value)


def look_up(m: Machine, state: State, name: str, *, is_other: bool = False) -> Value:
    """The value of a variable, through the enclosing functions, the module and the builtins.

    `is_other`: whether the file takes a name that Python has, too, from where nobody knows, as by `import *`.
    """
    for frame in m.scope.frames:
        value = state.variables.get((frame, name))
        if value is not None:
            return value
    country = m.defined.abroad.get(m.scope.frames[-1])
    if country is not None and name in country.names:
        return country.names[name]
    if name in BUILTINS:
        return outside(state, name) if is_other else Symbol(f"builtins.{name}")
    value = state.variables[m.scope.frames[-1], name] = outside(state, name)
    return value


def _name(m: Machine, state: State, node: ast.Name) -> Value:
    value = look_up(m, state, node.id, is_other=is_other(node))
    return _read(m, state, value, node) if value.__class__ in HOLDING and state.log else value


def _read(m: Machine, state: State, value: Value, node: ast.expr) -> Value:
    """`value`, read where it is spelled, as it is after all writes it may have missed."""
    if isinstance(value, Tensor) and misses_nothing(state, value):
        return value
    read(m, state, value, node, m.spelling(node))
    return handed.renewed(m, state, value, node)


def _waited(m: Machine, state: State, value: Value, node: ast.expr, before: int) -> Value:
    """An operand that is read once those behind it are evaluated, which may have written to it since `before`."""
    return value if m.written == before or value.__class__ not in HOLDING else _read(m, state, value, node)


def _attribute(m: Machine, state: State, node: ast.Attribute) -> Value:
    if isinstance(node.value, ast.Name) and (node.attr in objects.METADATA or node.attr in objects.QUIET_METHODS):
        base = look_up(m, state, node.value.id)  # asking for a shape reads no values
    else:
        base = _owner(m, state, node.value)
    elsewhere = inherited.attribute(m, state, base, node.attr) if isinstance(base, Instance) else None
    value = objects.attribute(m, state, base, node.attr, node) if elsewhere is None else elsewhere
    value = hands.taken_from(state, base, value)
    return _read(m, state, value, node) if value.__class__ in _TAKEN and state.log else value


def _subscript(m: Machine, state: State, node: ast.Subscript) -> Value:
    base = _owner(m, state, node.value)
    value = item_access.subscript(m, state, base, node, lambda part: item_access.index_value(m, state, part))
    value = hands.taken_from(state, base, value)
    is_of_holder = any(
        isinstance(option, (Container, Instance, Opaque)) or (isinstance(option, Tensor) and not option.known)
        for option in options(base)
    )
    return _read(m, state, value, node) if is_of_holder and value.__class__ in _TAKEN and state.log else value


def _owner(m: Machine, state: State, node: ast.expr) -> Value:
    """What an attribute or item is taken of; that of an object or container says nothing of the others it has."""
    known = look_up(m, state, node.id) if isinstance(node, ast.Name) else None
    if not isinstance(known, (Instance, Container, Layer)):
        return evaluate(m, state, node)
    for held in perhaps_held_in(state, known) if state.log else ():
        read(m, state, held, node, m.spelling(node), certain=False)
    return known


def _binop(m: Machine, state: State, node: ast.BinOp) -> Value:
    left, before = evaluate(m, state, node.left), m.written
    right = evaluate(m, state, node.right)
    left = _waited(m, state, left, node.left, before)
    m.notes.add_operand(node, node.left, left)
    m.notes.add_operand(node, node.right, right)
    result = binary(m, state, symbol_of(node.op), left, right, node)
    m.notes.add_operand(node, node, result)
    return result


def _unary(m: Machine, state: State, node: ast.UnaryOp) -> Value:
    value = evaluate(m, state, node.operand)
    if isinstance(node.op, ast.Not):
        truth = python_values.truth(value)
        of_data = (isinstance(value, Number) and value.of_data) or isinstance(value, Tensor)
        return Number("bool", of_data) if truth is None else Const(not truth)
    if isinstance(node.op, ast.UAdd):
        return value
    if (made := protocols.unary(m, state, symbol_of(node.op), value, node)) is not None:
        return made
    tensor = tensor_of(value)
    if tensor is not None:
        graph = graph_node(state, "neg", (tensor,), node) if isinstance(node.op, ast.USub) else None
        made = result_tensor(state, graph, node, known=tensor.known, dtype=tensor.dtype, shape=tensor.shape)
        cuts.put(state, (made,), cuts.through(m, state, "neg", (tensor,)))
        batches.carry(m, state, "neg", (value,), (made,))
        made.floating = tensor.floating
        return made
    if isinstance(value, Const) and isinstance(value.value, (int, float)):
        return Const(-value.value if isinstance(node.op, ast.USub) else ~int(value.value))
    return value if isinstance(value, (Number, Array)) else UNKNOWN


def _compare(m: Machine, state: State, node: ast.Compare) -> Value:
    first, before = evaluate(m, state, node.left), m.written
    others = [evaluate(m, state, part) for part in node.comparators]
    values = [_waited(m, state, first, node.left, before), *others]
    if len(node.ops) == 1 and isinstance(node.ops[0], (ast.Is, ast.IsNot)):
        return python_values.identity(values[0], values[1], negated=isinstance(node.ops[0], ast.IsNot))
    if any(isinstance(op, (ast.In, ast.NotIn, ast.Is, ast.IsNot)) for op in node.ops):
        found = dictionaries.has_key(m, state, values[0], values[1]) if len(node.ops) == 1 else None
        return Number("bool") if found is None else Const(found is isinstance(node.ops[0], ast.In))
    operands = all_tensors(values)
    if operands:
        known = any(t.known for t in operands)
        shape = broadcast([t.shape for t in operands])
        made = result_tensor(state, None, node, known=known, dtype="bool", shape=shape)
        cuts.put(state, (made,), cuts.cut(m, state, CutKind.DISCRETE, "compare", node, operands))
        batches.carry(m, state, "compare", values, (made,))
        return made
    if len(values) == 2 and all(isinstance(value, Const) for value in values):
        return python_values.fold_compare(symbol_of(node.ops[0]), values[0], values[1])
    return Number("bool", any(isinstance(value, Number) and value.of_data for value in values))


def _boolop(m: Machine, state: State, node: ast.BoolOp) -> Value:
    result: Value | None = None
    for part in node.values:
        value = evaluate(m, state, part)
        truth = python_values.truth(value)
        if truth is not None and truth == isinstance(node.op, ast.Or):
            return value if result is None else merge(result, value)
        if truth is None or part is node.values[-1]:
            result = value if result is None else merge(result, value)
    return UNKNOWN if result is None else result


def _ifexp(m: Machine, state: State, node: ast.IfExp) -> Value:
    test = evaluate(m, state, node.test)
    truth = python_values.truth(test)
    if truth is not None:
        return evaluate(m, state, node.body if truth else node.orelse)
    is_of_data = data_tests.depends_on_data(m, state, node.test, data_tests.kind_of(test))
    other = state.fork()
    arms = len(m.arms)
    m.enter_arm()
    first = evaluate(m, state, node.body)
    m.leave_arms(arms)
    m.enter_arm()
    second = evaluate(m, other, node.orelse)
    m.leave_arms(arms)
    end, result = join(state, other, m.statement), merge(first, second, m.statement)
    if is_of_data and isinstance(result, Tensor):
        arms_of = ((state, first, node.body), (other, second, node.orelse))
        records = state.grad is not Tracked.NO
        ways = [Way(ending, value, arm, m.statement, node, records) for ending, value, arm in arms_of]
        names = (name for name in ast.walk(node) if isinstance(name, ast.Name))
        told_apart(m, end, result, ways, names)
    state.adopt(end)
    return result


def _sequence(m: Machine, state: State, node: ast.Tuple | ast.List | ast.Set) -> Value:
    values: list[Value] = []
    exact = True
    for part in node.elts:
        if isinstance(part, ast.Starred):
            inner = item_access.iterated(m, state, evaluate(m, state, part.value), part)
            values.extend(inner.values)
            exact = exact and inner.exact
        else:
            values.append(evaluate(m, state, part))
    if isinstance(node, ast.Tuple) and exact and all(isinstance(value, Const) for value in values):
        return Const(tuple(value.value for value in values if isinstance(value, Const)))
    return state.container(type(node).__name__.lower(), Items(tuple(values), exact))


def _dict(m: Machine, state: State, node: ast.Dict) -> Value:
    entries: list[dictionaries.Entry] = []
    keys: list[Value] = []
    for key, part in zip(node.keys, node.values, strict=True):
        name = None if key is None else evaluate(m, state, key)
        entries.append((name, evaluate(m, state, part)))
        keys += [] if name is None else [name]
    made = dictionaries.displayed(state, entries)
    keep(state, made, keys)
    return made


def _comprehension(
    m: Machine, state: State, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
) -> Value:
    frame = m.new_frame()
    scope = m.scope
    inner = replace(scope, frames=(frame, *scope.frames), comprehensions=scope.comprehensions + 1)
    made = Container("dict" if isinstance(node, ast.DictComp) else "list")
    statement = m.statement
    with m.inside(inner):
        m.statement = statement
        state.items[made] = comprehensions.items(m, state, node)
    if isinstance(node, ast.GeneratorExp):  # it computes later, with what it goes over
        keep(state, made, [m.look(state, node.generators[0].iter)])
    return made


def _lambda(m: Machine, state: State, node: ast.Lambda) -> Value:
    info = FunctionInfo(node, f"{m.scope.qualname}.<lambda>")
    return Function(info, m.scope.frames, None, defaults(m, state, node.args))


def defaults(m: Machine, state: State, arguments: ast.arguments) -> tuple[tuple[str, Value], ...]:
    """What the parameters of a function are where a call leaves them out: evaluated once, where it is defined."""
    return tuple((name, evaluate(m, state, default)) for name, default in defaults_of(arguments).items())


def _named(m: Machine, state: State, node: ast.NamedExpr) -> Value:
    value = evaluate(m, state, node.value)
    around = replace(m.scope, frames=m.scope.frames[m.scope.comprehensions :], comprehensions=0)
    statement = m.statement
    with m.inside(around):
        m.statement = statement
        bindings.bind(m, state, node.target, value)
    return value


def _call(m: Machine, state: State, node: ast.Call) -> Value:
    return calls.call(m, state, node)


def _await(m: Machine, state: State, node: ast.Await | ast.Starred) -> Value:
    return evaluate(m, state, node.value)


def _yield(m: Machine, state: State, node: ast.Yield) -> Value:
    value = NONE if node.value is None else evaluate(m, state, node.value)
    if m.yield_to is not None:
        m.yield_to(state, value)
    return UNKNOWN


def _yield_from(m: Machine, state: State, node: ast.YieldFrom) -> Value:
    value = evaluate(m, state, node.value)
    to = m.yield_to
    if to is None:
        return UNKNOWN
    if isinstance(value, Suspended):
        m.run_generator(state, value, to)
    else:
        for item in item_access.iterated(m, state, value, node.value).values:
            to(state, item)
    return UNKNOWN


def _slice(m: Machine, state: State, node: ast.Slice) -> Value:
    for part in (node.lower, node.upper, node.step):
        if part is not None:
            evaluate(m, state, part)
    return Bounds()


def _text(m: Machine, state: State, node: ast.JoinedStr) -> Value:
    """`f"w{i}"` is a key like any other where `i` is known, and else one of those that look like it."""
    pieces: list[str] = []
    whole = True
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            held = evaluate(m, state, part.value)
            plain = part.format_spec is None and part.conversion == -1
            known = plain and isinstance(held, Const) and type(held.value) in (int, str)
            pieces.append(str(held.value) if known and isinstance(held, Const) else "{}")
            whole = whole and known
        elif isinstance(part, ast.Constant):
            pieces.append(str(part.value))
    if whole:
        return Const("".join(pieces))
    return UNKNOWN if pieces[0] == "{}" else Text(pattern="".join(pieces))


Handler = Callable[[Machine, State, ast.expr], Value]
_HANDLERS: dict[type[ast.AST], Handler] = {
    ast.Constant: _constant,  # type: ignore[dict-item]  # each handler takes the node type of its key
    ast.Name: _name,  # type: ignore[dict-item]
    ast.Attribute: _attribute,  # type: ignore[dict-item]
    ast.Subscript: _subscript,  # type: ignore[dict-item]
    ast.BinOp: _binop,  # type: ignore[dict-item]
    ast.UnaryOp: _unary,  # type: ignore[dict-item]
    ast.Compare: _compare,  # type: ignore[dict-item]
    ast.BoolOp: _boolop,  # type: ignore[dict-item]
    ast.IfExp: _ifexp,  # type: ignore[dict-item]
    ast.Tuple: _sequence,  # type: ignore[dict-item]
    ast.List: _sequence,  # type: ignore[dict-item]
    ast.Set: _sequence,  # type: ignore[dict-item]
    ast.Dict: _dict,  # type: ignore[dict-item]
    ast.ListComp: _comprehension,  # type: ignore[dict-item]
    ast.SetComp: _comprehension,  # type: ignore[dict-item]
    ast.GeneratorExp: _comprehension,  # type: ignore[dict-item]
    ast.DictComp: _comprehension,  # type: ignore[dict-item]
    ast.Lambda: _lambda,  # type: ignore[dict-item]
    ast.NamedExpr: _named,  # type: ignore[dict-item]
    ast.Call: _call,  # type: ignore[dict-item]
    ast.Await: _await,  # type: ignore[dict-item]
    ast.Starred: _await,  # type: ignore[dict-item]
    ast.YieldFrom: _yield_from,  # type: ignore[dict-item]
    ast.Yield: _yield,  # type: ignore[dict-item]
    ast.Slice: _slice,  # type: ignore[dict-item]
    ast.JoinedStr: _text,  # type: ignore[dict-item]
}
