"""Attributes, items, bindings and plain Python values: everything about objects that isn't an operation of torch."""

from __future__ import annotations

import ast
import re

from gradfix.analysis.cut_kinds import CutKind
from gradfix.analysis.domain.definitions import ClassInfo, FunctionInfo
from gradfix.analysis.domain.graph import leaf
from gradfix.analysis.domain.holders import tensors_within, weight
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import outside, part_of, result_tensor, tracked, view_of
from gradfix.analysis.domain.shapes import attribute_shape
from gradfix.analysis.domain.state import Items, State, merge
from gradfix.analysis.domain.values import (
    DEVICE,
    NONE,
    UNKNOWN,
    Choice,
    Class,
    Const,
    Container,
    Instance,
    Layer,
    Method,
    Number,
    Origin,
    Storage,
    Symbol,
    Tensor,
    Text,
    Value,
    is_unknown,
)
from gradfix.analysis.facts import Tracked
from gradfix.analysis.hazards import cuts, gradients
from gradfix.analysis.operators import hooks
from gradfix.analysis.text.class_attributes import REGISTERING
from gradfix.analysis.text.targets import VIEW_ATTRIBUTES
from gradfix.torch_ops import ViewKind, method, module

# Attributes and methods that tell of a tensor without reading its values: an old object answers the same.
METADATA = frozenset(
    "shape dtype device ndim requires_grad is_leaf layout names is_cuda is_cpu itemsize nbytes is_sparse".split()
)
QUIET_METHODS = frozenset(
    "size dim numel stride ndimension element_size storage_offset is_contiguous is_floating_point is_complex "
    "get_device new_zeros new_ones new_empty new_full new_tensor nelement data_ptr".split()
)
ATTRIBUTES = METADATA | QUIET_METHODS | VIEW_ATTRIBUTES | {"grad", "grad_fn"}  # of tensors, beside their other methods
# Methods that give numbers, whatever kind of tensor or operator an object is: `operator.size(-1)`.
COUNTING = frozenset("size dim numel ndimension nelement".split())
# What people call the object that holds the settings: numbers, names and switches, no tensors.
_SETTINGS = re.compile(r"(^|[._])(config|cfg|conf|hparams|args|opts?|settings)$")
# Parameters of the layers of torch.nn.
_PARAMETER = re.compile(r"weight|bias|in_proj_(weight|bias)|(weight|bias)_(ih|hh)(_l\d+)?(_reverse)?")
# Fields of the named tuples that torch returns: `x.sort().values`, `torch.linalg.qr(a).Q`.
_FIELDS = {
    **dict.fromkeys(("values", "eigenvalues", "Q", "U", "P", "solution", "sign", "min"), 0),
    **dict.fromkeys(("indices", "eigenvectors", "R", "S", "logabsdet", "max"), 1),
    **dict.fromkeys(("V", "Vh"), 2),
}
OF_MODULES = frozenset(
    "parameters named_parameters buffers modules named_modules children named_children train eval to".split()
)
_TRANSPOSED = frozenset({"T", "mT", "H", "mH", "real", "imag"})


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
        if found is not None:
            return m.defined.bound(found, base if "classmethod" in decorators(found) else None)
        held = m.defined.static(state, base.info, name)
        return UNKNOWN if held is None else held
    if isinstance(base, Choice):
        result: Value | None = None
        for option in base.options:
            value = attribute(m, state, option, name, node)
            result = value if result is None else merge(result, value)
        return UNKNOWN if result is None else result
    if isinstance(base, Container) and base.kind == "tuple" and name in _FIELDS:
        items = state.items.get(base)
        if items is not None and items.exact and _FIELDS[name] < len(items.values):
            return items.values[_FIELDS[name]]
    if isinstance(base, Container) and base.kind in ("modules", "layers"):  # `net.heads.one` of a ModuleDict
        items = state.items.get(base)
        if items is not None and items.exact and items.keys is not None and name in items.keys:
            return items.values[items.keys.index(name)]
    if isinstance(base, Method) and base.name == "super" and m.scope.info is not None:
        return _inherited(m, base, name)
    return Method(base, name)


def _inherited(m: Machine, base: Method, name: str) -> Value:
    """`super().name` in a method of a class of this file."""
    owner = m.scope.info.owner if m.scope.info is not None else None
    for parent in owner.bases if owner is not None else ():
        if isinstance(parent, ClassInfo) and (found := parent.method(name)) is not None:
            return m.defined.bound(found, base.receiver)
    return Method(base.receiver, name)


def _note_gradient(m: Machine, state: State, base: Tensor, node: ast.AST) -> None:
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        gradients.note_grad(m, state, base, node, node.value, by_optimizer=False)


def _tensor_attribute(m: Machine, state: State, base: Tensor, name: str, node: ast.AST) -> Value:
    if name == "requires_grad" and base.known and tracked(state, base) is not Tracked.MAYBE:
        return Const(tracked(state, base) is Tracked.YES)
    if name in ("requires_grad", "is_leaf", "is_cuda"):
        return Number("bool")
    if name == "shape":  # of whatever has one: sizes, no tensors
        return shape_value(state, base)
    if name == "ndim":
        return Number("int") if base.shape is None else Const(len(base.shape))
    if name == "device":
        return DEVICE
    if name == "dtype":
        return Symbol(f"torch.{base.dtype}") if base.dtype and "?" not in base.dtype else UNKNOWN
    known_attributes = state.attributes.get(base) or {}
    if name in known_attributes:
        if name == "grad" and known_attributes[name] == NONE:
            _note_gradient(m, state, base, node)
        return known_attributes[name]
    if name == "data" and base.known:
        return cuts.without_graph(m, state, CutKind.DATA, base, twin(base, silent=True), node)
    if name == "grad" and (base.known or tracked(state, base) is Tracked.YES):
        m.notes.grad_read.update(base.storages, base.graph_keys)
        _note_gradient(m, state, base, node)
        grad = result_tensor(state, None, node)
        cuts.put(state, (grad,), cuts.UNSURE)  # after `backward(create_graph=True)` it has a graph
        state.attributes_of(base)["grad"] = grad
        return grad
    if name in _TRANSPOSED and base.known:
        shape = attribute_shape(name, base.shape)
        return view_of(state, base, ViewKind.VIEW, name, node, shape=shape)
    if method(name) is not None or name in _OTHER_METHODS:
        return Method(base, name)
    if base.known:
        return Method(base, name)
    if base.storage.name is not None and _SETTINGS.search(base.storage.name):
        return UNKNOWN
    value = state.attributes_of(base)[name] = part_of(state, base, name)
    return value


_OTHER_METHODS = frozenset(
    "append extend insert items keys values get pop update copy size dim numel backward item tolist numpy".split()
)


def twin(base: Tensor, *, silent: bool) -> Tensor:
    """The same memory without the graph: `.data` (silent) or `.detach()`."""
    return Tensor(
        base.storages,
        known=base.known,
        dtype=base.dtype,
        floating=base.floating,
        shape=base.shape,
        view=ViewKind.VIEW,
        path=(*base.path, "data" if silent else "detach"),
        detached=True,
        own=Storage(Origin.FRESH, base.storage.name),
        silent=silent or base.silent,
        made_by=base.made_by,
        choice=base.choice,
        flows=base.flows,
    )


def detached(m: Machine, state: State, base: Tensor, node: ast.AST, kind: CutKind = CutKind.DETACH) -> Tensor:
    """`base.detach()`, or what else shares its memory without its graph."""
    return cuts.without_graph(m, state, kind, base, twin(base, silent=False), node)


def shape_value(state: State, base: Tensor) -> Value:
    """`base.shape`."""
    if base.shape is not None and all(size is not None for size in base.shape):
        return Const(base.shape)
    if base.shape is None:
        return some_sizes(state)
    return state.tuple_of(Number("int") if s is None else Const(s) for s in base.shape)


def some_sizes(state: State) -> Container:
    """A shape of which nothing is known."""
    return state.container("tuple", Items((Number("int"),), False))


def _instance_attribute(m: Machine, state: State, base: Instance, name: str) -> Value:
    slots = state.slots(base)
    if name in slots:
        return slots[name]
    if name == "__dict__" and (slots or base.info is not None):
        listed = Container("dict", names=base)
        state.items[listed] = Items(tuple(slots.values()), True, tuple(slots))
        return listed
    info = base.info
    if info is not None and (found := info.method(name)) is not None:
        bound = m.defined.bound(found, base)
        named = decorators(found)
        if not named.isdisjoint(("property", "cached_property")):
            return m.call_function(state, bound, [], {}, found.node)
        if "staticmethod" in named:
            return m.defined.bound(found, None)
        return m.defined.bound(found, Class(info, bound.frames)) if "classmethod" in named else bound
    if base.foreign is not None and base.foreign.method(name) is not None:
        return Method(base, name)
    if info is not None and (held := m.defined.static(state, info, name)) is not None:
        return held
    if name in COUNTING or (name in ("_replace", "_asdict") and slots):
        return Method(base, name)
    if name == "training":
        return Number("bool")
    if name in OF_MODULES or name in REGISTERING or name in hooks.NAMES:
        return Method(base, name)
    if name == "device":
        return DEVICE
    if not is_unknown(like := named_like(state, base, Const(name))):
        return like
    if info is not None and not is_unknown(given := _given_by_getattr(m, state, base, info, name)):
        return given
    if info is not None and name in ("weight", "bias") and _learns(info):
        value = Tensor((parameter(state, f"self.{name}"),))
    else:
        value = outside(state, f"self.{name}")
        if info is not None and info.method("__getattr__") is not None:
            value.holders = tuple(tensors_within(state, *slots.values()))
    state.attributes_of(base)[name] = value
    return value


def _given_by_getattr(m: Machine, state: State, base: Instance, info: ClassInfo, name: str) -> Value:
    """What the class's own `__getattr__` gives for an attribute that nobody has set."""
    own = info.method("__getattr__")
    return UNKNOWN if own is None else m.call_function(state, m.defined.bound(own, base), [Const(name)], {}, own.node)


def set_like(state: State, owner: Instance, name: Text, value: Value) -> None:
    """`setattr(owner, f"w{i}", value)`, where `i` isn't known."""
    held = state.slots(owner).get(name.pattern)
    state.attributes_of(owner)[name.pattern] = value if held is None else merge(held, value)


def named_like(state: State, owner: Value, name: Text | Const) -> Value:
    """Any of the attributes that the owner was given under a name of which this may be one."""
    wanted = name.pattern if isinstance(name, Text) else str(name.value)
    found: Value | None = None
    for key, value in state.slots(owner).items() if isinstance(owner, Instance) else ():
        if ("{}" in key and _may_be(key, wanted)) or ("{}" in wanted and _may_be(wanted, key)):
            found = value if found is None else merge(found, value)
    return UNKNOWN if found is None else found


def _may_be(pattern: str, name: str) -> bool:
    return re.fullmatch(".+".join(map(re.escape, pattern.split("{}"))), name) is not None


def decorators(info: FunctionInfo) -> frozenset[str]:
    """The last names of what decorates a function: "lru_cache" of `@functools.lru_cache(None)`."""
    named = [d.func if isinstance(d, ast.Call) else d for d in getattr(info.node, "decorator_list", [])]
    return frozenset(d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "") for d in named)


def _learns(info: ClassInfo) -> bool:
    """True for classes that extend a layer of torch.nn with parameters of its own."""
    for base in info.bases:
        if isinstance(base, ClassInfo):
            if _learns(base):
                return True
        elif base.startswith("torch.nn.") and (known := module(base.rsplit(".", 1)[-1])) and known.learns == "yes":
            return True
    return False


def set_parameter(state: State, layer: Layer, name: str, value: Tensor) -> None:
    """`layer.weight = value`."""
    if layer.weights and _PARAMETER.fullmatch(name):
        state.attributes_of(layer)[name] = value


def _layer_attribute(state: State, base: Layer, name: str) -> Value:
    if (replaced := state.slots(base).get(name)) is not None:
        return replaced
    if base.weights and _PARAMETER.fullmatch(name):
        storage = base.weights[0] if name != "bias" else base.weights[-1]
        if storage not in state.nodes:
            state.nodes[storage] = leaf(name)
        return weight(storage)
    return Method(base, name)


def parameter(state: State, name: str, at: ast.AST | None = None) -> Storage:
    """Memory of an nn.Parameter."""
    storage = Storage(Origin.PARAMETER, name)
    state.nodes[storage] = leaf(name, at)
    return storage
