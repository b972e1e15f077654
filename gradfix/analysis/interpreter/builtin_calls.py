"""Calls of Python's builtins."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain import dictionaries, python_values
from gradfix.analysis.domain.holders import derived, tensors_within
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import Items, State, merge
from gradfix.analysis.domain.values import (
    NONE,
    UNKNOWN,
    Bounds,
    Const,
    Container,
    Flows,
    Instance,
    Method,
    Number,
    Suspended,
    Tensor,
    Text,
    Value,
    tensor_of,
    tensors,
)
from gradfix.analysis.hazards import cuts
from gradfix.analysis.interpreter import bindings, iterators
from gradfix.analysis.interpreter import items as item_access
from gradfix.analysis.operators import objects, operators
from gradfix.analysis.text.builtin_names import builtin

_RANGE_LIMIT = 1 << 20
_ASKED = 6  # items a key is computed for


@dataclass(frozen=True, slots=True)
class NamedCall:
    """One call of something by its name."""

    m: Machine
    state: State
    name: str
    args: Sequence[Value]
    keywords: Mapping[str, Value]
    at: ast.Call

    @property
    def first(self) -> Value:
        """The first argument."""
        return self.args[0] if self.args else NONE

    def iterated(self, value: Value) -> Items:
        """What iterating over `value` gives."""
        return item_access.iterated(self.m, self.state, value, self.at)


def call(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Mapping[str, Value], at: ast.Call
) -> Value:
    """Call a builtin by its name; the result is unknown where nothing is known of it."""
    function = _BUILTINS.get(name)
    return UNKNOWN if function is None else function(NamedCall(m, state, name, args, keywords, at))


def number_from(m: Machine, state: State, name: str, args: Sequence[Value], at: ast.Call) -> Flows:
    """`float(t)`, `math.sqrt(t)`, `int(t)`: the cuts behind the number."""
    if any(tensors(value) for value in args):
        kind = CutKind.DISCRETE if name in ("int", "bool") else CutKind.NUMBER
        argument = at.args[0] if len(at.args) == 1 else None
        return cuts.cut(m, state, kind, name, at, args, argument=argument)
    return cuts.among_numbers(m, state, name, args)


def dictionary(
    m: Machine, state: State, args: Sequence[Value], keywords: Mapping[str, Value], at: ast.Call, default: Value | None
) -> Container:
    """`dict(…)` and its relatives: of another one, of pairs, of keywords."""
    if args and isinstance(args[0], Container) and args[0].kind in ("dict", "modules"):
        return dictionaries.copied(state, args[0], keywords, default)
    keys: list[object] = []
    values: list[Value] = []
    exact = True
    source = state.items.get(args[0]) if args and isinstance(args[0], Container) else None
    if args:
        for pair in item_access.iterated(m, state, args[0], at).values:
            items = item_access.iterated(m, state, pair, at)
            key = items.values[0] if items.exact and len(items.values) == 2 else UNKNOWN
            exact = exact and isinstance(key, Const)
            keys.append(key.value if isinstance(key, Const) else None)
            values += items.values[1:]
        exact = exact and source is not None and source.exact
    entries = Items((*values, *keywords.values()), exact, (*keys, *keywords) if exact else None)
    return state.container("dict", entries, default)


def _range(call: NamedCall) -> Value:
    args = call.args
    numbers = [value.value for value in args if isinstance(value, Const) and type(value.value) is int]
    if len(numbers) == len(args) and 1 <= len(numbers) <= 3 and 0 not in numbers[2:]:
        counted = range(*numbers)
        if len(counted) < _RANGE_LIMIT:
            return Const(counted)
    return call.state.container("list", Items((Number("int"),), False))


def _length(call: NamedCall) -> Value:
    value = call.first
    if isinstance(value, Const) and isinstance(value.value, (tuple, str, range)):
        return Const(len(value.value))
    if isinstance(value, Container) and (items := call.state.items.get(value)) and items.exact:
        return Const(len(items.values))
    if isinstance(value, Tensor) and value.shape and value.shape[0] is not None:
        return Const(value.shape[0])
    return Number("int")


def _string(call: NamedCall) -> Value:
    """`str(3)`, as keys are made of."""
    value = call.first
    plain = isinstance(value, Const) and type(value.value) in (int, str, bool) and len(call.args) == 1
    return Const(str(value.value)) if plain and isinstance(value, Const) else UNKNOWN


def _number(call: NamedCall) -> Value:
    """`float(…)`, `abs(…)` and the others that make a number of one, or of a tensor."""
    name, first = call.name, call.first
    tensor = tensor_of(first)
    if name in ("abs", "round", "pow") and tensor is not None:
        return call.m.call_value(call.state, Method(tensor, name), list(call.args[1:]), {}, call.at)
    kind = name if name in ("float", "int", "bool") else python_values.number_type(first)
    if isinstance(first, Const) and name == kind == type(first.value).__name__:
        return first
    of_data = tensor is not None or (isinstance(first, Number) and first.of_data)
    return Number(kind, of_data, tensor, number_from(call.m, call.state, name, call.args, call.at))


def _iterator(call: NamedCall) -> Value:
    key, parts = call.keywords.get("key", NONE), call.args[:1]
    if call.name == "filter" and len(call.args) == 2:
        key, parts = call.args[0], call.args[1:]
    if key != NONE and parts and not isinstance(parts[0], Suspended):
        _call_for_each(call, key, call.iterated(parts[0]).values)
    return iterators.iterator(call.m, call.state, call.name, call.args, call.at)


def _call_for_each(call: NamedCall, function: Value, values: Sequence[Value]) -> None:
    """A function that is asked about items: it may write to them."""
    for value in values[:_ASKED]:
        call.m.call_value(call.state, function, [value], {}, call.at)


def _super(call: NamedCall) -> Value:
    for frame in call.m.scope.frames:
        receiver = call.state.variables.get((frame, "self"))
        if receiver is not None:
            return Method(receiver, "super")
    return UNKNOWN


def _reduction(call: NamedCall) -> Value:
    """`sum`, `max` and `min`."""
    m, state, name, args = call.m, call.state, call.name, call.args
    values = [*args, *([call.keywords["start"]] if "start" in call.keywords else [])]
    if args and (len(args) == 1 or name == "sum"):
        values = [*call.iterated(args[0]).values, *args[1:]]
    if call.keywords.get("key", NONE) != NONE:
        _call_for_each(call, call.keywords["key"], values)
    operands = [value for value in values if tensors(value)]
    holding = [value for value in values if isinstance(value, (Container, Instance))]
    if not operands and holding:
        return _one_of_holders(call, holding)
    if not operands:
        of_data = any(isinstance(v, Number) and v.of_data for v in values)
        return Number(None, of_data, flows=cuts.among_numbers(m, state, name, values))
    result: Value = operands[0]
    for other in operands[1:]:
        result = operators.arithmetic(m, state, "+", result, other, call.at) if name == "sum" else merge(result, other)
    if name == "sum":
        result = operators.arithmetic(m, state, "+", result, Const(0), call.at)
    return derived(state, result, tensors_within(state, *values)) if holding else result


def _one_of_holders(call: NamedCall, holding: Sequence[Value]) -> Value:
    """`max(d.items(), key=…)` is one of them, `sum(lists, [])` has all that they hold."""
    if call.name == "sum":
        items = tuple(item for value in holding for item in call.iterated(value).values)
        return call.state.container("list", Items(items, False))
    result = holding[0]
    for other in holding[1:]:
        result = merge(result, other)
    return result


def _dict(call: NamedCall) -> Value:
    return dictionary(call.m, call.state, call.args, call.keywords, call.at, None)


def _dict_of_keys(call: NamedCall) -> Value:
    if not call.args:
        return UNKNOWN
    value = call.args[1] if call.args[1:] else NONE
    return dictionaries.of_keys(call.state, call.iterated(call.first), value)


def _as_given(call: NamedCall) -> Value:
    return call.first


def _isinstance(call: NamedCall) -> Value:
    if len(call.at.args) != 2:
        return Number("bool")
    kinds = call.at.args[1].elts if isinstance(call.at.args[1], ast.Tuple) else call.at.args[1:]
    return python_values.is_one_of(call.first, [builtin(kind) or call.m.look(call.state, kind) for kind in kinds])


def _truth(call: NamedCall) -> Value:
    return Number("bool")


def _getattr(call: NamedCall) -> Value:
    name = call.args[1] if len(call.args) >= 2 else UNKNOWN
    if isinstance(name, Const) and isinstance(name.value, str):
        found = objects.attribute(call.m, call.state, call.first, name.value, call.at)
        others = [v for v in call.args[2:] if isinstance(v, (Tensor, Container))]
        return (
            merge(found, others[0])
            if others and isinstance(found, Method)
            else derived(call.state, found, tensors_within(call.state, *others))
        )
    return objects.named_like(call.state, call.first, name) if isinstance(name, Text) else UNKNOWN


def _setattr(call: NamedCall) -> Value:
    name = call.args[1] if len(call.args) == 3 else UNKNOWN
    if isinstance(name, Const) and isinstance(name.value, str):
        bindings.set_attribute(call.m, call.state, call.first, name.value, call.args[2], call.at)
        return NONE
    if isinstance(name, Text) and isinstance(call.first, Instance):
        objects.set_like(call.state, call.first, name, call.args[2])
        return NONE
    return UNKNOWN


def _next(call: NamedCall) -> Value:
    if isinstance(call.first, Suspended):
        items = call.iterated(call.first)
        return items.values[0] if items.values else UNKNOWN
    element = call.iterated(call.first).element() if isinstance(call.first, Container) else None
    return UNKNOWN if element is None else element


def _slice(call: NamedCall) -> Value:
    return Bounds()


def _vars(call: NamedCall) -> Value:
    if not call.args:
        return UNKNOWN  # the names that there are
    return objects.attribute(call.m, call.state, call.first, "__dict__", call.at)


_BUILTINS: Mapping[str, Callable[[NamedCall], Value]] = {
    "range": _range,
    "slice": _slice,
    "len": _length,
    "str": _string,
    **dict.fromkeys(("float", "int", "bool", "round", "abs", "pow", "divmod"), _number),
    **dict.fromkeys("enumerate zip reversed sorted list tuple set iter map filter".split(), _iterator),
    "super": _super,
    **dict.fromkeys(("sum", "max", "min"), _reduction),
    "dict": _dict,
    "dict.fromkeys": _dict_of_keys,
    **dict.fromkeys(("staticmethod", "classmethod"), _as_given),
    "isinstance": _isinstance,
    **dict.fromkeys(("hasattr", "callable", "any", "all", "issubclass"), _truth),
    "getattr": _getattr,
    "setattr": _setattr,
    "vars": _vars,
    "next": _next,
}
