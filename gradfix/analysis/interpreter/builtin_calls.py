"""Calls of Python's builtins, of containers and of module objects."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain import dictionaries, learned, python_values
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import outside
from gradfix.analysis.domain.state import Items, State, at_most_twice, merge
from gradfix.analysis.domain.values import (
    NONE,
    PLAIN,
    UNKNOWN,
    Class,
    Const,
    Container,
    Flows,
    Instance,
    Layer,
    Method,
    Number,
    Partial,
    Suspended,
    Symbol,
    Tensor,
    Value,
    tensor_of,
    tensors,
)
from gradfix.analysis.hazards import cuts
from gradfix.analysis.interpreter import bindings, classes, iterators, itertools_calls
from gradfix.analysis.interpreter import items as item_access
from gradfix.analysis.operators import arrays, objects, operators

_NUMERIC = frozenset({"float", "int", "bool", "round", "abs", "pow", "divmod"})
_RANGE_LIMIT = 1 << 20
_AWAITING = frozenset(f"asyncio.{name}" for name in ("run", "wait_for", "create_task", "ensure_future", "shield"))


def call(m: Machine, state: State, name: str, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call) -> Value:
    """Call something that isn't of torch, by its qualified name."""
    short = name.removeprefix("builtins.")
    if name.startswith("builtins."):
        return _builtin(m, state, short, args, keywords, at)
    if name.startswith("math."):
        of_data = any(tensors(value) or (isinstance(value, Number) and value.of_data) for value in args)
        return Number("float", of_data, flows=_number_from(m, state, name, args, at))
    if name == "collections.deque":
        return iterators.iterator(m, state, "list", args[:1], at)
    if name in ("collections.defaultdict", "collections.OrderedDict"):
        default = args[0] if args and name.endswith("defaultdict") else None
        return _dict(m, state, args[1:] if name.endswith("defaultdict") else args, keywords, at, default)
    if name in ("types.SimpleNamespace", "argparse.Namespace") and all(k.arg is not None for k in at.keywords):
        namespace = Instance(None)
        state.attributes[namespace] = dict(keywords)
        return namespace
    if name == "collections.namedtuple" and (info := classes.named_tuple(args, state)) is not None:
        return Class(info, m.scope.frames)
    if name.startswith("itertools.") and (known := itertools_calls.call(m, state, name[10:], args, keywords, at)):
        return known
    if name == "functools.reduce" and len(args) > 1:
        return iterators.reduced(m, state, args, at)
    if name in _AWAITING and args:
        return args[0]  # a coroutine is played where it is made
    if name == "asyncio.gather":
        return _listed(state, Items(tuple(args), True))
    if name in ("contextlib.nullcontext", "tqdm.tqdm", "tqdm.auto.tqdm") and args:
        return args[0]
    if name == "functools.partial" and args:
        return Partial(args[0], tuple(args[1:]), tuple(keywords.items()))
    if name in ("copy.copy", "copy.deepcopy") and args:
        if isinstance(args[0], Tensor):
            return outside(state, "copy", known=args[0].known)
        return (learned.deep_copy if name == "copy.deepcopy" else learned.shallow_copy)(state, args[0])
    if name.startswith("numpy."):
        short = name.rpartition(".")[2]
        behind = cuts.through(m, state, short, args)
        computed = cuts.array(m, behind)
        return arrays.fresh(state, short, behind, at) or (computed if behind else PLAIN)
    if name.startswith(("random.", "os.", "sys.", "time.", "logging.", "json.", "re.")):
        return PLAIN
    return m.unknown_call(state, (*args, *keywords.values()), at)


def _builtin(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call
) -> Value:
    first = args[0] if args else NONE
    if name == "range":
        return _range(state, args)
    if name == "len":
        return _length(state, first)
    if name in _NUMERIC:
        tensor = tensor_of(first)
        if name in ("abs", "round", "pow") and tensor is not None:
            return m.call_value(state, Method(tensor, name), list(args[1:]), {}, at)
        of_data = tensor is not None or (isinstance(first, Number) and first.of_data)
        kind = name if name in ("float", "int", "bool") else python_values.number_type(first)
        return (
            first
            if isinstance(first, Const) and name == kind == type(first.value).__name__
            else Number(kind, of_data, tensor, _number_from(m, state, name, args, at))
        )
    if name in ("enumerate", "zip", "reversed", "sorted", "list", "tuple", "set", "iter", "map", "filter"):
        return iterators.iterator(m, state, name, args, at)
    if name == "super":
        return _super(m, state)
    if name in ("sum", "max", "min"):
        return _reduction(m, state, name, args, keywords, at)
    if name == "dict":
        return _dict(m, state, args, keywords, at, None)
    if name == "dict.fromkeys" and args:
        return dictionaries.of_keys(state, item_access.iterated(m, state, first, at), args[1] if args[1:] else NONE)
    if name in ("staticmethod", "classmethod"):
        return first
    if name == "isinstance" and len(args) == 2 and isinstance(args[1], Symbol):
        return python_values.is_instance(first, args[1])
    if name in ("isinstance", "hasattr", "callable", "any", "all", "issubclass"):
        return Number("bool")
    if name == "getattr" and len(args) >= 2 and isinstance(args[1], Const) and isinstance(args[1].value, str):
        return objects.attribute(m, state, first, args[1].value, at)
    if name == "setattr" and len(args) == 3 and isinstance(args[1], Const) and isinstance(args[1].value, str):
        bindings.set_attribute(m, state, first, args[1].value, args[2], at)
        return NONE
    if name == "next" and isinstance(first, Suspended):
        items = item_access.iterated(m, state, first, at)
        return items.values[0] if items.values else UNKNOWN
    if name == "next" and isinstance(first, Container):
        element = item_access.iterated(m, state, first, at).element()
        return UNKNOWN if element is None else element
    return UNKNOWN


def _number_from(m: Machine, state: State, name: str, args: Sequence[Value], at: ast.Call) -> Flows:
    """`float(t)`, `math.sqrt(t)`, `int(t)`: the cuts behind the number."""
    if any(tensors(value) for value in args):
        kind = CutKind.DISCRETE if name in ("int", "bool") else CutKind.NUMBER
        argument = at.args[0] if len(at.args) == 1 else None
        return cuts.cut(m, state, kind, name, at, args, argument=argument)
    return cuts.among_numbers(m, state, name, args)


def _range(state: State, args: Sequence[Value]) -> Value:
    numbers = [value.value for value in args if isinstance(value, Const) and type(value.value) is int]
    if len(numbers) == len(args) and 1 <= len(numbers) <= 3 and 0 not in numbers[2:]:
        counted = range(*numbers)
        if len(counted) < _RANGE_LIMIT:
            return Const(counted)
    made = Container("list")
    state.items[made] = Items((Number("int"),), False)
    return made


def _length(state: State, value: Value) -> Value:
    if isinstance(value, Const) and isinstance(value.value, (tuple, str, range)):
        return Const(len(value.value))
    if isinstance(value, Container) and (items := state.items.get(value)) and items.exact:
        return Const(len(items.values))
    if isinstance(value, Tensor) and value.shape and value.shape[0] is not None:
        return Const(value.shape[0])
    return Number("int")


def _dict(
    m: Machine, state: State, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call, default: Value | None
) -> Container:
    """`dict(…)` and its relatives: of another one, of pairs, of keywords."""
    if args and isinstance(args[0], Container) and args[0].kind in ("dict", "modules"):
        return dictionaries.copied(state, args[0], keywords, default)
    made = Container("dict", default)
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
    state.items[made] = Items((*values, *keywords.values()), exact, (*keys, *keywords) if exact else None)
    return made


def _super(m: Machine, state: State) -> Value:
    for frame in m.scope.frames:
        receiver = state.variables.get((frame, "self"))
        if receiver is not None:
            return Method(receiver, "super")
    return UNKNOWN


def _reduction(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: dict[str, Value], at: ast.Call
) -> Value:
    values = list(args)
    if len(args) == 1 or name == "sum":
        items = item_access.iterated(m, state, args[0], at)
        values = [*items.values, *args[1:]]
    operands = [value for value in values if tensors(value)]
    if not operands:
        of_data = any(isinstance(v, Number) and v.of_data for v in values)
        return Number(None, of_data, flows=cuts.among_numbers(m, state, name, values))
    result: Value = operands[0]
    for other in operands[1:]:
        result = operators.arithmetic(m, state, "+", result, other, at) if name == "sum" else merge(result, other)
    if name == "sum":
        result = operators.arithmetic(m, state, "+", result, Const(0), at)
    return result


def container_method(
    m: Machine, state: State, receiver: Container, name: str, args: Sequence[Value], at: ast.Call
) -> Value:
    """A method of a list, tuple, dict or set."""
    items = state.items.get(receiver) or Items((), False)
    if name in ("append", "add") and args:
        grown = items.exact and name == "append"
        values = (*items.values, args[0])
        state.items[receiver] = Items(values if grown else at_most_twice(values), grown)
        return NONE
    if name == "update" and args and items.exact and items.keys is not None and isinstance(args[0], Container):
        other = state.items.get(args[0])
        if other is not None and other.exact and other.keys is not None:
            merged = dict(zip((*items.keys, *other.keys), (*items.values, *other.values), strict=True))
            state.items[receiver] = Items(tuple(merged.values()), True, tuple(merged))
            return NONE
    if name in ("extend", "update") and args:
        more = item_access.iterated(m, state, args[0], at)
        sure = items.exact and more.exact and receiver.kind != "dict"
        state.items[receiver] = Items((*items.values, *more.values), sure)
        return NONE
    if name == "insert" and len(args) > 1:
        place = args[0].value if isinstance(args[0], Const) and type(args[0].value) is int else None
        at_place = 0 if place is None else place
        values = (*items.values[:at_place], args[1], *items.values[at_place:])
        state.items[receiver] = Items(values, items.exact and items.keys is None and place is not None)
        return NONE
    if name == "add_module" and len(args) > 1:
        keys = (*items.keys, args[0].value) if items.keys is not None and isinstance(args[0], Const) else None
        state.items[receiver] = Items((*items.values, args[1]), items.exact, keys)
        return NONE
    if name == "items" and receiver.kind in ("dict", "modules"):
        return _listed(state, _pairs(state, items))
    if name == "keys":
        exact = items.exact and items.keys is not None
        return _listed(state, Items(tuple(map(Const, items.keys or ())) if exact else (UNKNOWN,), exact))
    if name in ("values", "copy"):
        return _listed(state, items, receiver.kind if name == "copy" else "list")
    if name in ("parameters", "named_parameters", "to", "train", "eval", "children", "modules", "requires_grad_"):
        return module_method(m, state, receiver, name, args, at)
    if name in ("pop", "popleft") and items.exact and items.keys is None and items.values:
        index = args[0] if args else Const(0 if name == "popleft" else -1)
        position = items.position(index)
        if position is not None:
            at_place = range(len(items.values))[position]
            state.items[receiver] = Items((*items.values[:at_place], *items.values[at_place + 1 :]), True)
            return items.values[at_place]
    if name in ("get", "setdefault") and args and (position := items.position(args[0])) is not None:
        return items.values[position]
    if name in ("pop", "popleft", "get", "setdefault", "popitem"):
        element = items.element()
        return UNKNOWN if element is None else element
    return UNKNOWN


def _pairs(state: State, items: Items) -> Items:
    """What `items()` of a dict gives."""
    if items.keys is not None:
        rows = zip(map(Const, items.keys), items.values, strict=True)
        return Items(tuple(iterators.pair(state, row) for row in rows), items.exact)
    element = items.element()
    pair = iterators.pair(state, (UNKNOWN, UNKNOWN if element is None else element))
    return Items((pair,) if items.values else (), items.exact and not items.values)


def _listed(state: State, items: Items, kind: str = "list") -> Container:
    made = Container(kind)
    state.items[made] = items
    return made


def module_method(
    m: Machine, state: State, receiver: Instance | Layer | Container, name: str, args: Sequence[Value], at: ast.AST
) -> Value:
    """A method every nn.Module has."""
    if name == "requires_grad_" and isinstance(at, ast.Call):
        given = [*at.args, *(k.value for k in at.keywords)]
        learned.ask(state, receiver, m.look(state, given[0]) if given else Const(True), at)
    if name in ("to", "cuda", "cpu", "train", "eval", "double", "float", "half", "requires_grad_", "apply"):
        return receiver
    if name in objects.COUNTING:
        return Number("int") if args or name != "size" else UNKNOWN
    if name in ("parameters", "named_parameters"):
        found = learned.iterated(state, receiver)
        if not found.values:
            found = Items((Tensor((objects.parameter(state, "parameter"),)),), False)
        if name == "named_parameters":
            pairs = tuple(iterators.pair(state, (UNKNOWN, each)) for each in found.values)
            found = Items(pairs, False, least=found.least, ordered=found.ordered)
        return _listed(state, found)
    if name == "register_buffer" and len(args) > 1 and isinstance(args[0], Const) and isinstance(receiver, Instance):
        state.attributes_of(receiver)[str(args[0].value)] = args[1]
        return NONE
    if name in ("add_module", "register_module") and len(args) > 1 and isinstance(receiver, Instance):
        if isinstance(args[0], Const):
            classes.add_layer(state, receiver, str(args[0].value), args[1])
            state.attributes_of(receiver)[str(args[0].value)] = args[1]
        return NONE
    if name == "register_parameter" and len(args) > 1 and isinstance(args[0], Const) and isinstance(receiver, Instance):
        state.attributes_of(receiver)[str(args[0].value)] = args[1]
        return NONE
    return UNKNOWN
