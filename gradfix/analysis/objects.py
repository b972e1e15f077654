"""Attributes, items, bindings and plain Python values: everything about objects that isn't an operation of torch."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from itertools import islice

from gradfix.analysis.facts import IndexKind, Tracked
from gradfix.analysis.graph import Node, leaf
from gradfix.analysis.indexing import index_items, indexed_shape, is_basic, is_key
from gradfix.analysis.machine import Machine
from gradfix.analysis.operations import graph_node, outside, result_tensor, save, tracked, view_of
from gradfix.analysis.state import Items, State, merge
from gradfix.analysis.values import (
    NONE,
    UNKNOWN,
    Choice,
    Class,
    ClassInfo,
    Const,
    Container,
    Function,
    Instance,
    Layer,
    Method,
    Number,
    Origin,
    Storage,
    Symbol,
    Tensor,
    Value,
    options,
)
from gradfix.torch_ops import ViewKind, method, module

# Attributes and methods that tell of a tensor without reading its values: an old object answers the same.
METADATA = frozenset(
    "shape dtype device ndim requires_grad is_leaf layout names is_cuda is_cpu itemsize nbytes is_sparse".split()
)
QUIET_METHODS = frozenset(
    "size dim numel stride ndimension element_size storage_offset is_contiguous is_floating_point is_complex "
    "get_device new_zeros new_ones new_empty new_full new_tensor nelement data_ptr".split()
)
_TRANSPOSED = frozenset({"T", "mT", "H", "mH", "real", "imag"})
_WIDTH = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
_FOLD_LIMIT = 1 << 40
_FOLDED: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}


def attribute(m: Machine, state: State, base: Value, name: str, node: ast.AST) -> Value:
    """`base.name`."""
    if isinstance(base, Tensor):
        return _tensor_attribute(m, state, base, name, node)
    if isinstance(base, Symbol):
        return Symbol(f"{base.name}.{name}")
    if isinstance(base, Instance):
        return _instance_attribute(m, state, base, name)
    if isinstance(base, Layer):
        return _layer_attribute(state, base, name)
    if isinstance(base, Class):
        if name == "apply" and base.info.derives_from("torch.autograd.Function", "torch.autograd.function.Function"):
            return Method(base, name)
        found = base.info.method(name)
        return UNKNOWN if found is None else m.bound(found, None)
    if isinstance(base, Choice):
        result: Value | None = None
        for option in base.options:
            value = attribute(m, state, option, name, node)
            result = value if result is None else merge(result, value)
        return UNKNOWN if result is None else result
    if isinstance(base, Method) and base.name == "super" and m.scope.info is not None:
        return _inherited(m, base, name)
    return Method(base, name)


def _inherited(m: Machine, base: Method, name: str) -> Value:
    """`super().name` in a method of a class of this file."""
    owner = m.scope.info.owner if m.scope.info is not None else None
    for parent in owner.bases if owner is not None else ():
        if isinstance(parent, ClassInfo) and (found := parent.method(name)) is not None:
            return m.bound(found, base.receiver)
    return Method(base.receiver, name)


def _tensor_attribute(m: Machine, state: State, base: Tensor, name: str, node: ast.AST) -> Value:
    if name in ("requires_grad", "is_leaf", "is_cuda"):
        return Number("bool")
    if name == "shape" and (base.known or base.shape is not None):
        return shape_value(state, base)
    if name == "ndim" and base.known:
        return Number("int") if base.shape is None else Const(len(base.shape))
    if name in ("dtype", "device"):
        return Symbol(f"torch.{base.dtype}") if name == "dtype" and base.dtype and "?" not in base.dtype else UNKNOWN
    known_attributes = state.attributes.get(base) or {}
    if name in known_attributes:
        return known_attributes[name]
    if name == "data" and base.known:
        return _twin(base, silent=True)
    if name == "grad" and (base.known or tracked(state, base) is Tracked.YES):
        m.grad_read.update(base.storages)
        grad = result_tensor(state, None, node)
        state.attributes_of(base)["grad"] = grad
        return grad
    if name in _TRANSPOSED and base.known:
        shape = None if base.shape is None else tuple(reversed(base.shape)) if name in ("T", "H") else None
        return view_of(state, base, ViewKind.VIEW, name, node, shape=shape)
    if method(name) is not None or name in _OTHER_METHODS:
        return Method(base, name)
    if base.known:
        return Method(base, name)
    value = state.attributes_of(base)[name] = outside(state, name)
    return value


_OTHER_METHODS = frozenset(
    "append extend insert items keys values get pop update copy size dim numel backward item tolist numpy".split()
)


def _twin(base: Tensor, *, silent: bool) -> Tensor:
    """The same memory without the graph: `.data` (silent) or `.detach()`."""
    return Tensor(
        base.storages,
        known=base.known,
        dtype=base.dtype,
        shape=base.shape,
        view=ViewKind.VIEW,
        path=(*base.path, "data" if silent else "detach"),
        detached=True,
        silent=silent or base.silent,
        made_by=base.made_by,
    )


def detached(base: Tensor) -> Tensor:
    """`base.detach()`."""
    return _twin(base, silent=False)


def shape_value(state: State, base: Tensor) -> Value:
    """`base.shape`."""
    if base.shape is not None and all(size is not None for size in base.shape):
        return Const(base.shape)
    made = Container("tuple")
    if base.shape is None:
        state.items[made] = Items((Number("int"),), False)
    else:
        state.items[made] = Items(tuple(Number("int") if s is None else Const(s) for s in base.shape), True)
    return made


def _instance_attribute(m: Machine, state: State, base: Instance, name: str) -> Value:
    slots = state.attributes.get(base) or {}
    if name in slots:
        return slots[name]
    info = base.info
    if info is not None and (found := info.method(name)) is not None:
        bound = m.bound(found, base)
        decorators = getattr(found.node, "decorator_list", [])
        if any(isinstance(d, ast.Name) and d.id in ("property", "cached_property") for d in decorators):
            return m.call_function(state, bound, [], {}, found.node)
        if any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in decorators):
            return m.bound(found, None)
        return bound
    if name in ("parameters", "modules", "children", "buffers", "named_parameters", "train", "eval", "to", "training"):
        return Number("bool") if name == "training" else Method(base, name)
    if info is not None and name in ("weight", "bias") and _learns(info):
        value = Tensor((parameter(state, f"self.{name}"),))
    else:
        value = outside(state, f"self.{name}")
    state.attributes_of(base)[name] = value
    return value


def _learns(info: ClassInfo) -> bool:
    """True for classes that extend a layer of torch.nn with parameters of its own."""
    for base in info.bases:
        if isinstance(base, ClassInfo):
            if _learns(base):
                return True
        elif base.startswith("torch.nn.") and (known := module(base.rsplit(".", 1)[-1])) and known.learns == "yes":
            return True
    return False


def _layer_attribute(state: State, base: Layer, name: str) -> Value:
    if name in ("weight", "bias", "in_proj_weight", "in_proj_bias") and base.weights:
        storage = base.weights[0] if name != "bias" else base.weights[-1]
        if storage not in state.nodes:
            state.nodes[storage] = leaf(name)
        return Tensor((storage,))
    return Method(base, name)


def parameter(state: State, name: str) -> Storage:
    """Memory of an nn.Parameter."""
    storage = Storage(Origin.PARAMETER, name)
    state.nodes[storage] = leaf(name)
    return storage


def subscript(
    m: Machine, state: State, base: Value, node: ast.Subscript, evaluate: Callable[[ast.expr], Value]
) -> Value:
    """`base[index]`, read."""
    if isinstance(base, (Symbol, Class)):
        return base
    items = index_items(node.slice, evaluate)
    result: Value | None = None
    for option in options(base):
        value = _item_of(m, state, option, items, node)
        result = value if result is None else merge(result, value)
    return UNKNOWN if result is None else result


def _item_of(m: Machine, state: State, base: Value, items: tuple, node: ast.Subscript) -> Value:  # type: ignore[type-arg]
    if isinstance(base, Tensor):
        if not base.known and is_key(items):
            return _memo_item(state, base, node)
        return indexed(m, state, base, items, node)
    if isinstance(base, Container):
        return _container_item(state, base, node, items)
    if isinstance(base, Const) and isinstance(base.value, (tuple, list)):
        index = items[0].value if len(items) == 1 else None
        if index is not None and -len(base.value) <= index < len(base.value):
            return Const(base.value[index])
        return Number("int") if all(isinstance(v, int) for v in base.value) else UNKNOWN
    if isinstance(base, Method) and base.name == "shape":
        return Number("int")
    return UNKNOWN


def indexed(m: Machine, state: State, base: Tensor, items: tuple, node: ast.AST) -> Tensor:  # type: ignore[type-arg]
    """`base[items]` of a tensor: a view for basic indices, else a copy."""
    basic = is_basic(items)
    shape = indexed_shape(base.shape, items)
    if basic is not False:
        return view_of(state, base, ViewKind.VIEW if basic else ViewKind.MAYBE, "getitem", node, shape=shape)
    graph = graph_node(state, "index", (base,), node)
    if graph is not None:
        for item in items:
            if item.kind in (IndexKind.MASK, IndexKind.TENSOR):
                save_index(m, state, graph, item.node, node)
    return result_tensor(state, graph, node, known=base.known, dtype=base.dtype)


def save_index(m: Machine, state: State, graph: Node, index: ast.expr, at: ast.AST) -> None:
    """The tensor of an advanced index is kept for backward too."""
    # The index was evaluated already; only names can be written later, and their tensors are found in the frames.
    if isinstance(index, ast.Name):
        for frame in m.scope.frames:
            value = state.variables.get((frame, index.id))
            if isinstance(value, Tensor) and value.known:
                save(state, graph, value, "index", at, graph.tracked, result=False)
                return


def _memo_item(state: State, base: Tensor, node: ast.Subscript) -> Value:
    """`d[key]` of something unknown: the same key gives the same object; it may be a view of `d`."""
    key = f"[{ast.unparse(node.slice)}]"
    slots = state.attributes_of(base)
    if key not in slots:
        own = outside(state, ast.unparse(node))
        slots[key] = Tensor((own.storage, *base.storages), known=False, view=ViewKind.MAYBE)
    return slots[key]


def _container_item(state: State, base: Container, node: ast.Subscript, items: tuple) -> Value:  # type: ignore[type-arg]
    held = state.items.get(base)
    if held is None:
        return UNKNOWN
    if isinstance(node.slice, ast.Slice):
        made = Container(base.kind)
        state.items[made] = Items(held.values, False)
        return made
    position = item_position(held, node.slice)
    if position is not None:
        return held.values[position]
    element = held.element()
    return UNKNOWN if element is None else element


def item_position(held: Items, index: ast.expr) -> int | None:
    """Which item a constant key or position names."""
    if not held.exact:
        return None
    negative = isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub)
    constant = index.operand if isinstance(index, ast.UnaryOp) and negative else index
    if not isinstance(constant, ast.Constant):
        return None
    key = constant.value
    if held.keys is not None:
        return held.keys.index(key) if key in held.keys and not negative else None
    if isinstance(key, int):
        position = -key if negative else key
        return position if -len(held.values) <= position < len(held.values) else None
    return None


def iterated(m: Machine, state: State, value: Value, node: ast.expr) -> Items:
    """What iterating a value gives."""
    if isinstance(value, Container):
        held = state.items.get(value)
        if held is None:
            return Items((), False)
        return Items(tuple(map(Const, held.keys)), True) if value.kind == "dict" and held.keys else held
    if isinstance(value, Const) and isinstance(value.value, (tuple, list, range)):
        sized = len(value.value) <= 64
        return Items(tuple(Const(v) for v in islice(value.value, 64)), sized)
    if isinstance(value, Tensor) and value.known:
        shape = None if value.shape is None else value.shape[1:]
        return Items((view_of(state, value, ViewKind.MULTI, "unbind", node, shape=shape),), False)
    if isinstance(value, Tensor):
        return Items((outside(state, "item"),), False)
    if isinstance(value, Method):
        return Items((UNKNOWN,), False)
    if isinstance(value, Choice):
        parts = [iterated(m, state, option, node) for option in value.options]
        return Items(tuple(dict.fromkeys(v for part in parts for v in part.values)), False)
    return Items((UNKNOWN,), False)


def bind(m: Machine, state: State, target: ast.expr, value: Value) -> None:
    """Assign a value to a target that isn't a write into a tensor."""
    if isinstance(target, ast.Name):
        for tensor in (value,) if isinstance(value, Tensor) else ():
            if tensor.storage.name is None:
                tensor.storage.name = target.id
        state.variables[_frame_for(m, target.id), target.id] = value
    elif isinstance(target, (ast.Tuple, ast.List)):
        _unpack(m, state, target, value)
    elif isinstance(target, ast.Starred):
        bind(m, state, target.value, value)
    elif isinstance(target, ast.Attribute):
        owner = m.evaluate(state, target.value)
        for option in options(owner):
            if isinstance(option, (Instance, Tensor)):
                state.attributes_of(option)[target.attr] = value
    elif isinstance(target, ast.Subscript):
        m.store(state, target, value)


def _frame_for(m: Machine, name: str) -> int:
    info = m.scope.info
    if info is None or name in info.local_names or len(m.scope.frames) == 1:
        return m.scope.frames[0]
    for function in reversed(m.calls):
        if name in function.local_names and function is not info:
            break
    return m.scope.frames[-1] if name in m.globals_declared(info) else m.scope.frames[0]


def _unpack(m: Machine, state: State, target: ast.Tuple | ast.List, value: Value) -> None:
    items = iterated(m, state, value, target)
    starred = any(isinstance(part, ast.Starred) for part in target.elts)
    if items.exact and len(items.values) == len(target.elts) and not starred:
        for part, item in zip(target.elts, items.values, strict=True):
            bind(m, state, part, item)
        return
    for part in target.elts:
        element = items.element()
        if isinstance(element, Tensor) and len(target.elts) > 1 and element.view is not ViewKind.NONE:
            element = Tensor(
                element.storages,
                known=element.known,
                dtype=element.dtype,
                shape=element.shape,
                view=element.view,
                path=element.path,
                detached=element.detached,
                made_by=element.made_by,
            )
        elif isinstance(value, Tensor) and not value.known:
            element = outside(state, ast.unparse(part))
        bind(m, state, part, UNKNOWN if element is None else element)


def concatenated(state: State, left: Container, right: Container) -> Container:
    """`left + right` of two sequences."""
    made = Container(left.kind)
    a, b = state.items.get(left), state.items.get(right)
    values = (*(a.values if a else ()), *(b.values if b else ()))
    state.items[made] = Items(values, bool(a and b and a.exact and b.exact))
    return made


def truth(value: Value) -> bool | None:
    """The truth of a value where it is certain."""
    if isinstance(value, Const):
        return bool(value.value)
    if isinstance(value, (Function, Class, Layer, Symbol, Instance)):
        return True if not isinstance(value, Symbol) else None
    return None


def identity(left: Value, right: Value, *, negated: bool) -> Value:
    """`left is right`."""
    if isinstance(left, Const) and isinstance(right, Const):
        return Const((left.value is right.value) != negated)
    other = left if right == NONE else right if left == NONE else None
    if isinstance(other, (Tensor, Layer, Container, Instance, Function)) and not (
        isinstance(other, Tensor) and not other.known
    ):
        return Const(negated)
    return Number("bool")


def number_type(value: Value) -> str | None:
    """The type of a Python number: "int", "float", "bool", "number" when unknown; None for anything else."""
    if isinstance(value, Number):
        return value.type or "number"
    if isinstance(value, Const) and isinstance(value.value, (bool, int, float)):
        return type(value.value).__name__
    return None


def fold(symbol: str, left: object, right: object) -> Value:
    """Arithmetic of small constants."""
    if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
        if isinstance(left, tuple) and isinstance(right, tuple) and symbol == "+":
            return Const(left + right)
        return UNKNOWN
    function = _FOLDED.get(symbol)
    if function is None or (symbol == "**" and (abs(right) >= 64 or abs(left) >= 1 << 20)):
        return Number()
    try:
        result = function(left, right)
    except ArithmeticError:
        return Number()
    if isinstance(result, (int, float)) and abs(result) < _FOLD_LIMIT:
        return Const(result)
    return Number(type(result).__name__ if isinstance(result, (int, float)) else None)


def fold_compare(symbol: str, left: Value, right: Value) -> Value:
    """Comparison of two constants."""
    a = left.value if isinstance(left, Const) else None
    b = right.value if isinstance(right, Const) else None
    if symbol == "==":
        return Const(a == b)
    if symbol == "!=":
        return Const(a != b)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return Const({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[symbol])
    return Number("bool")


def promoted(symbol: str, left: Value, right: Value) -> str | None:
    """The dtype of an arithmetic operation; None when it can't be told (always for `@`: autocast)."""
    if symbol == "@":
        return None
    kinds: list[str] = []
    for value in (left, right):
        if isinstance(value, Tensor):
            if value.dtype is None:
                return None
            kinds.append(value.dtype)
        elif (kind := number_type(value)) is None or kind == "number":
            return None
    if len(set(kinds)) != 1:
        ranks = [t.shape for t in (left, right) if isinstance(t, Tensor)]
        if any(k not in _WIDTH for k in kinds) or any(shape is None or not shape for shape in ranks):
            return None
        return max(kinds, key=_WIDTH.index) if set(kinds) != {"float16", "bfloat16"} else "float32"
    dtype = kinds[0]
    floating = dtype.startswith(("float", "bfloat", "?"))
    if floating:
        return dtype
    other = number_type(left) or number_type(right)
    return dtype if other in (None, "int", "bool") and symbol not in ("/", "**") and dtype != "bool" else None
