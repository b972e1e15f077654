"""Assignments: which are bindings of names, and which are writes into tensors."""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import reduce

from gradfix.analysis.domain.holders import escape, keep
from gradfix.analysis.domain.indexing import constant_bounds, is_key
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import all_tensors
from gradfix.analysis.domain.python_values import number_type
from gradfix.analysis.domain.state import Items, State, at_most_twice, merge
from gradfix.analysis.domain.values import (
    UNKNOWN,
    Array,
    Choice,
    Const,
    Container,
    Instance,
    Method,
    Number,
    Symbol,
    Tensor,
    Unknown,
    Value,
    options,
    tensor_of,
    tensors,
)
from gradfix.analysis.facts import IndexItem, Tracked, WriteForm
from gradfix.analysis.hazards import swaps
from gradfix.analysis.hazards.reads import read, read_late
from gradfix.analysis.hazards.write_records import Site
from gradfix.analysis.hazards.writes import write, written_by
from gradfix.analysis.interpreter import bindings, protocols
from gradfix.analysis.interpreter import items as item_access
from gradfix.analysis.interpreter.arithmetic import binary, symbol_of
from gradfix.analysis.interpreter.expressions import evaluate
from gradfix.analysis.interpreter.one_of import in_one_of
from gradfix.analysis.operators import arrays, operators
from gradfix.analysis.text.nodes import every_node
from gradfix.analysis.text.targets import base_of, root_of
from gradfix.torch_ops import ViewKind, method

_INPLACE = {
    "+": "add_",
    "-": "sub_",
    "*": "mul_",
    "/": "div_",
    "//": "floor_divide_",
    "%": "remainder_",
    "**": "pow_",
    "&": "bitwise_and_",
    "|": "bitwise_or_",
    "^": "bitwise_xor_",
    "<<": "bitwise_left_shift_",
    ">>": "bitwise_right_shift_",
}


def assign(m: Machine, state: State, target: ast.expr, value: Value, expression: ast.expr | None) -> None:
    """`target = value`."""
    if isinstance(target, ast.Subscript):
        _assign_item(m, state, target, value, expression)
    elif isinstance(target, (ast.Tuple, ast.List)) and any(isinstance(t, ast.Subscript) for t in every_node(target)):
        items = item_access.iterated(m, state, value, target)
        exact = items.exact and len(items.values) == len(target.elts)
        for i, part in enumerate(target.elts):
            inner = items.values[i] if exact else items.element()
            if inner is not None and isinstance(part, ast.Subscript):
                read_late(m, state, inner, part)
            assign(m, state, part, UNKNOWN if inner is None else inner, None)
    elif isinstance(target, ast.Attribute) and target.attr == "data" and not _is_object(m, state, target.value):
        _assign_data(m, state, target, value)
    else:
        bindings.bind(m, state, target, value)


def _is_object(m: Machine, state: State, owner: ast.expr) -> bool:
    return isinstance(m.look(state, owner), Instance)


def _assign_data(m: Machine, state: State, target: ast.Attribute, value: Value) -> None:
    """`x.data = v` swaps the memory behind x; nothing that backward saved changes."""
    evaluate(m, state, target.value)


def store(m: Machine, state: State, target: ast.Subscript, value: Value) -> None:
    """Assign to an item from a place that isn't an assignment statement: a loop target, a `with … as`."""
    _assign_item(m, state, target, value, None)


def _assign_item(m: Machine, state: State, target: ast.Subscript, value: Value, expression: ast.expr | None) -> None:
    base = evaluate(m, state, target.value)
    items = item_access.index_of(m, state, target)
    in_one_of(m, state, base, lambda after, held: store_item(m, after, held, target.slice, value))
    for option in options(base):
        if isinstance(option, Instance):
            protocols.special(m, state, option, "__setitem__", [m.look(state, target.slice), value], target)
            keep(state, option, [value])
        elif isinstance(option, Array):
            arrays.store(m, state, option, items, target.value, value, expression)
        elif isinstance(option, (Method, Symbol, Unknown)):
            escape(state, value)
        elif isinstance(option, Tensor):
            if any(item_access.is_name(m, state, item) for item in items):
                option.known = False  # a tensor has no entries with names
            if (option.entries or not option.known) and is_key(items):
                keep(state, option, [value])
                state.attributes_of(option)[f"[{m.spelling(target.slice)}]"] = value  # may be a dict or a list
                continue
            form = WriteForm.DATA if option.silent else WriteForm.INDEX
            site = Site(form, m.statement, target.value, items, expression)
            swaps.note(m, state, target, option, value)
            fresh = write(m, state, site, option, value)
            save_written_index(m, state, items, fresh, target)
            rebind(m, state, target.value, option, fresh)


def save_written_index(m: Machine, state: State, items: tuple[IndexItem, ...], fresh: Tensor, at: ast.AST) -> None:
    """`y[mask] = v` keeps the mask for backward."""
    graph = written_by(state, fresh)
    if graph is not None and state.grad is not Tracked.NO:
        for item in items:
            if item.kind.value in ("mask", "tensor"):
                item_access.save_index(m, state, graph, item.node, at)


def store_item(m: Machine, state: State, container: Container, index: ast.expr, value: Value) -> None:
    """`container[index] = value` of a list or dict."""
    held = state.items.get(container) or Items((), False)
    if isinstance(index, ast.Slice):
        _store_slice(state, container, held, index, value)
        return
    state.hold(container, _with_item(container, held, m.look(state, index), value))


def _with_item(container: Container, held: Items, key: Value, value: Value) -> Items:
    position = held.position(key)
    if position is not None:
        values = list(held.values)
        values[position] = value
        return Items(tuple(values), held.exact, held.keys, held.least, ordered=held.ordered)
    if held.exact and container.kind == "dict" and isinstance(key, Const):
        keys = (*(held.keys or ()), key.value)
        whole = len(keys) == len(held.values) + 1
        return Items((*held.values, value), whole, keys if whole else None)
    return Items(at_most_twice((*held.values, value)), False)


def _store_slice(state: State, container: Container, held: Items, index: ast.Slice, value: Value) -> None:
    """`items[a:b] = others`: the items of another list take the place of some."""
    given = state.items.get(value) if isinstance(value, Container) else None
    bounds = constant_bounds(index)
    if given is None or not (held.exact and given.exact) or bounds is None:
        others = (UNKNOWN,) if given is None else given.values
        state.items[container] = Items(at_most_twice((*held.values, *others)), False)
        return
    values = list(held.values)
    values[bounds] = list(given.values)
    state.items[container] = Items(tuple(values), True)


def rebind(m: Machine, state: State, target: ast.expr, old: Tensor, new: Tensor) -> None:
    """Let whatever `target` names hold `new` where it held `old`."""
    if isinstance(target, ast.Name):
        for frame in m.scope.frames:
            held = state.variables.get((frame, target.id))
            if held is not None:
                state.variables[frame, target.id] = _replaced(held, old, new)
                return
    elif isinstance(target, ast.Attribute) and old.silent:
        _rebind_base(m, state, target, new)
    elif isinstance(target, ast.Attribute):
        if root_of(target) is None:
            return  # `get().h`: no rewrite assigns to it, so who reads it later would miss the write
        owner = m.look(state, target.value)
        for option in options(owner):
            if isinstance(option, Instance) and option.info and option.info.method(f"{target.attr}.setter"):
                bindings.set_attribute(m, state, option, target.attr, new, target)
            elif isinstance(option, (Instance, Tensor)) and target.attr in state.slots(option):
                slots = state.attributes_of(option)
                slots[target.attr] = _replaced(slots[target.attr], old, new)
    elif isinstance(target, ast.Subscript):
        _rebind_item(m, state, target, old, new)
    elif isinstance(target, ast.Call):
        _rebind_base(m, state, target, new)


def _rebind_item(m: Machine, state: State, target: ast.Subscript, old: Tensor, new: Tensor) -> None:
    base = base_of(target)
    assigned = base is target.value and root_of(target) is not None
    owner = m.look(state, target.value) if assigned else UNKNOWN
    if not isinstance(owner, (Container, Choice)):
        _rebind_base(m, state, target, new)
    for option in options(owner):
        if isinstance(option, Container):
            held = state.items.get(option)
            if held is not None:
                place = held.position(m.look(state, target.slice)) if base is target.value else None
                told_apart = place is not None and held.exact
                if not told_apart and sum(value is old for value in held.values) > 1:
                    continue  # the other places keep the old tensor: who reads them would miss the write
                values = list(held.values)
                for at in range(len(values)) if place is None else (place,):
                    values[at] = _replaced(values[at], old, new)
                state.items[option] = Items(tuple(values), held.exact, held.keys, held.least, ordered=held.ordered)


def _rebind_base(m: Machine, state: State, target: ast.expr, new: Tensor) -> None:
    """The write went through a view; the base itself is what a rewrite binds anew."""
    name = base_of(target)
    if name is target or not isinstance(name, (ast.Name, ast.Attribute)) or new.view is ViewKind.MULTI:
        return  # one of several views is put back nowhere
    base = tensor_of(m.look(state, name))
    if base is None or set(base.storages).isdisjoint(new.storages):
        return
    fresh = replace(base)
    inherited = state.late.get(new)
    if inherited:
        state.late[fresh] = inherited
        state.given[fresh] = state.given.get(new) or {}
    rebind(m, state, name, base, fresh)


def _replaced(held: Value, old: Tensor, new: Tensor) -> Value:
    if held is old:
        return new
    if isinstance(held, Choice):
        return Choice(tuple(new if option is old else option for option in held.options))
    if isinstance(held, Tensor) and not set(held.storages).isdisjoint(old.storages) and held.view is old.view:
        return new
    return held


def augmented(m: Machine, state: State, node: ast.AugAssign) -> None:
    """`target op= value`."""
    symbol = symbol_of(node.op)
    if isinstance(node.target, ast.Subscript):
        _augmented_item(m, state, node, node.target, symbol)
        return
    current = evaluate(m, state, node.target)
    value = evaluate(m, state, node.value)
    m.notes.add_operand(node, node.value, value)
    target = tensor_of(current)
    if isinstance(current, Instance) and (own := protocols.augmented(m, state, symbol, current, value, node)):
        bindings.bind(m, state, node.target, own)
        return
    if isinstance(current, Array) and current.memory is not None:
        arrays.store(m, state, current, (), node.target, value, node.value)
        return
    if target is None or symbol == "@":
        bindings.bind(m, state, node.target, _extended(m, state, symbol, current, value, node))
        return
    form = WriteForm.DATA if target.silent else WriteForm.AUGMENTED
    if not target.known and not any(t.known for t in tensors(value)):
        doubtful = Number() if isinstance(value, (Const, Number)) else None
        if doubtful is not None and not target.module_call:
            return  # may as well be a counter
    site = Site(form, node, node.target, (), node.value, f"{symbol}=", None)
    fresh = _write_arithmetic(m, state, site, target, value, symbol)
    rebind(m, state, node.target, target, fresh)
    others = [option for option in options(current) if not isinstance(option, Tensor)]
    record = m.notes.writes.get(id(node.target))
    if record is not None and any(number_type(option) is not None for option in others):
        record.may_be_number = True
    if others:
        out_of_place = _extended(m, state, symbol, others[0], value, node)
        bindings.bind(m, state, node.target, merge(fresh, out_of_place, m.statement))


def _extended(m: Machine, state: State, symbol: str, current: Value, value: Value, node: ast.AugAssign) -> Value:
    if isinstance(current, Container) and symbol == "+" and current.kind != "tuple":
        more = item_access.iterated(m, state, value, node.value)
        held = state.items.get(current) or Items((), False)
        exact = held.exact and more.exact
        state.items[current] = Items((*held.values, *more.values), exact, ordered=held.exact and more.ordered)
        return current
    return binary(m, state, symbol, current, value, node)


def _write_arithmetic(m: Machine, state: State, site: Site, target: Tensor, value: Value, symbol: str) -> Tensor:
    op = method(_INPLACE[symbol])
    graph = None
    groups: dict[str, list[Tensor]] = {}
    if op is not None:
        op, bound = operators.bind(state, op, (target, value), {})
        groups = {name: operators.members(state, v) for name, v in bound.items()}
        graph = operators.operator_node(state, op, groups, site.node)
        if graph is not None:
            operators.save_others(state, op, graph, groups, site.node)
    fresh = write(m, state, site, target, value, graph)
    if op is not None and op.outputs and graph is not None:
        operators.save_output(state, op, op.outputs[0], written_by(state, fresh), fresh, groups, site.node)
    return fresh


def _augmented_item(m: Machine, state: State, node: ast.AugAssign, target: ast.Subscript, symbol: str) -> None:
    base = evaluate(m, state, target.value)
    items = item_access.index_of(m, state, target)
    value = evaluate(m, state, node.value)
    m.notes.add_operand(node, node.value, value)
    _augmented_held(m, state, node, base, target, value)
    for option in options(base):
        if isinstance(option, Instance):
            _augmented_own_item(m, state, node, option, target, symbol, value)
        elif isinstance(option, Array):
            arrays.store(m, state, option, items, target.value, value, node.value)
        elif isinstance(option, Tensor):
            if not option.known and is_key(items) and not any(t.known for t in all_tensors((value,))):
                keep(state, option, (value,))  # its item may be a list, or a counter in a dict
                continue
            form = WriteForm.DATA if option.silent else WriteForm.AUGMENTED_INDEX
            site = Site(form, node, target.value, items, node.value, f"{symbol}=", None)
            item_access.indexed(m, state, option, items, target)  # reading the part keeps a mask or an index
            fresh = _write_arithmetic(m, state, site, option, value, symbol)
            rebind(m, state, target.value, option, fresh)


def _augmented_held(
    m: Machine, state: State, node: ast.AugAssign, base: Value, target: ast.Subscript, value: Value
) -> None:
    """`base[i] op= value` of a list or dict, or of one of several."""
    symbol = symbol_of(node.op)

    def item(owner: Container) -> Value:
        return item_access.subscript(m, state, owner, target, lambda part: evaluate(m, state, part))

    def put_back(after: State, owner: Container) -> None:
        held = item_access.subscript(m, after, owner, target, lambda part: m.look(after, part))
        store_item(m, after, owner, target.slice, _extended(m, after, symbol, held, value, node))

    rows = [option for option in options(base) if isinstance(option, Container)]
    element = tensor_of(reduce(merge, map(item, rows))) if rows else None
    if element is None:
        in_one_of(m, state, base, put_back)
        return
    site = Site(WriteForm.AUGMENTED, node, target, (), node.value, f"{symbol}=", None)
    rebind(m, state, target, element, _write_arithmetic(m, state, site, element, value, symbol))


def _augmented_own_item(
    m: Machine, state: State, node: ast.AugAssign, owner: Instance, target: ast.Subscript, symbol: str, value: Value
) -> None:
    """`owner[i] op= value`: read by the object's `__getitem__`, written if that gave a tensor, put back."""
    key = m.look(state, target.slice)
    current = protocols.special(m, state, owner, "__getitem__", [key], target)
    if current is None:
        return
    element = tensor_of(current)
    if element is None:
        made = _extended(m, state, symbol, current, value, node)
    else:
        site = Site(WriteForm.AUGMENTED, node, target, (), node.value, f"{symbol}=", None)
        made = _write_arithmetic(m, state, site, element, value, symbol)
    protocols.special(m, state, owner, "__setitem__", [key, made], target)


def note_read(m: Machine, state: State, value: Value, node: ast.expr) -> None:
    """A container is handed out: its tensors are read."""
    read(m, state, value, node, m.spelling(node))
