"""Calls that make tensors out of nothing: `torch.zeros(3)`, `torch.tensor([1., 2.])`, `x.new_zeros(n)`."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from gradfix.analysis.domain.dtypes import dtype_name
from gradfix.analysis.domain.graph import leaf
from gradfix.analysis.domain.indexing import Shape
from gradfix.analysis.domain.operations import result_tensor
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Const, Container, Number, Tensor, Value, tensor_of

_SIZED = frozenset("zeros ones empty rand randn".split())
_LIKE = frozenset("zeros_like ones_like empty_like rand_like randn_like full_like randint_like".split())
_INTEGER = frozenset("randint randperm arange tril_indices triu_indices bincount".split())
_OTHER = frozenset("full linspace logspace eye normal hann_window hamming_window bartlett_window from_numpy".split())
_LITERAL = frozenset("tensor as_tensor asarray Tensor FloatTensor DoubleTensor LongTensor BoolTensor".split())
_DTYPES = {"LongTensor": "int64", "BoolTensor": "bool", "DoubleTensor": "float64", "FloatTensor": "float32"}
_VALUES = {
    "full": (1,),
    "full_like": (1,),
    "new_full": (1,),
    "linspace": (0, 1),
    "logspace": (0, 1),
}  # the arguments whose values the result takes, beside shapes
_VALUE_NAMES = frozenset({"fill_value", "start", "end"})
_NEW = frozenset("new_zeros new_ones new_empty new_full new_tensor".split())


def is_factory(name: str) -> bool:
    """True for the functions of torch that make a tensor without a graph; `name` is without "torch."."""
    return name in _SIZED or name in _LIKE or name in _INTEGER or name in _OTHER or name in _LITERAL


def is_literal(name: str) -> bool:
    """True for those that take their values from their first argument."""
    return name in _LITERAL or name in ("new_tensor", "from_numpy")


def draws(name: str, args: Sequence[Value], keywords: Mapping[str, Value]) -> bool:
    """True of `torch.normal(mean, std)` with tensors: an operator with a graph, through which gradients are zero."""
    return name == "normal" and any(tensor_of(value) is not None for value in (*args, *keywords.values()))


def values_of(name: str, args: Sequence[Value], keywords: Mapping[str, Value]) -> tuple[Value, ...]:
    """What a factory takes its values from: the second argument of `torch.full`, the ends of `torch.linspace`."""
    places = _VALUES.get(name, ())
    given = [args[i] for i in places if i < len(args)]
    return (*given, *(value for key, value in keywords.items() if key in _VALUE_NAMES)) if places else ()


def is_new(name: str) -> bool:
    """True for the `new_*` methods."""
    return name in _NEW


def make(
    state: State,
    name: str,
    args: Sequence[Value],
    keywords: Mapping[str, Value],
    at: ast.AST,
    like: Tensor | None = None,
) -> Tensor:
    """The tensor a factory makes; a leaf with `requires_grad=True`."""
    asked = keywords.get("requires_grad")
    graph = leaf(name, at) if asked == Const(True) else None
    template = like if like is not None else tensor_of(args[0]) if args and name in _LIKE else None
    made = result_tensor(
        state,
        graph,
        at,
        dtype=_dtype(state, name, args, keywords, template),
        shape=_shape(state, name, args, keywords, template),
    )
    made.ranked = name in _SIZED and len(args) == 1 and made.shape is None
    made.dense = template is None or template.dense
    made.device = _device(keywords, template)
    if isinstance(asked, Number) and graph is None:
        conditional = leaf(name)
        conditional.tracked = type(conditional.tracked)("maybe")
        state.nodes[made.storage] = conditional
    return made


def _device(keywords: Mapping[str, Value], template: Tensor | None) -> str | None:
    given = keywords.get("device")
    if given is not None:
        return given.value if isinstance(given, Const) and isinstance(given.value, str) else None
    return template.device if template is not None else "default"


def _dtype(
    state: State, name: str, args: Sequence[Value], keywords: Mapping[str, Value], template: Tensor | None
) -> str | None:
    explicit = keywords.get("dtype")
    if explicit is not None:
        return dtype_name(explicit)
    if name in _DTYPES:
        return _DTYPES[name]
    if template is not None:
        return template.dtype
    if name in _SIZED or name in ("linspace", "logspace", "eye", "normal", "Tensor") or name.endswith("_window"):
        return "float32"
    if name in ("randint", "randperm"):
        return "int64"
    if name == "arange":
        whole = all(_is_int(value) for value in args)
        return "int64" if whole and args else None
    if name == "full":
        return _literal_dtype(state, args[1]) if len(args) > 1 else None
    if name in _LITERAL and args:
        return _literal_dtype(state, args[0])
    return None


def _is_int(value: Value) -> bool:
    if isinstance(value, Const):
        return type(value.value) is int
    return isinstance(value, Number) and value.type == "int"


def _literal_dtype(state: State, value: Value) -> str | None:
    if isinstance(value, Const):
        flat = _flatten(value.value)
        kinds = {type(item) for item in flat}
        if float in kinds and kinds <= {float, int, bool}:
            return "float32"
        return "int64" if kinds == {int} else "bool" if kinds == {bool} else None
    if isinstance(value, Container):
        items = state.items.get(value)
        kinds_of = {_literal_dtype(state, item) for item in items.values} if items else set()
        if "float32" in kinds_of and kinds_of <= {"float32", "int64", "bool"}:
            return "float32"
        return kinds_of.pop() if len(kinds_of) == 1 else None
    if isinstance(value, Number):
        return {"float": "float32", "int": "int64", "bool": "bool"}.get(value.type or "")
    if isinstance(value, Tensor):
        return value.dtype
    return None


def _flatten(value: object) -> list[object]:
    return [leaf_ for item in value for leaf_ in _flatten(item)] if isinstance(value, (tuple, list)) else [value]


def _shape(
    state: State, name: str, args: Sequence[Value], keywords: Mapping[str, Value], template: Tensor | None
) -> Shape | None:
    if name in _LIKE:
        return template.shape if template is not None else None
    if name in _SIZED or name in ("new_zeros", "new_ones", "new_empty"):
        return sizes(state, args or ([keywords["size"]] if "size" in keywords else []))
    if name in ("full", "new_full") and args:
        return sizes(state, args[:1])
    if name == "randint":
        size = keywords.get("size", args[-1] if args else None)
        return sizes(state, [size]) if size is not None else None
    if name in ("arange", "linspace", "logspace", "randperm"):
        length = args[0] if args and name in ("arange", "randperm") and len(args) == 1 else None
        return (length.value if isinstance(length, Const) and type(length.value) is int else None,)
    if name == "eye" and args:
        rows, columns = args[0], keywords.get("m", args[1] if len(args) > 1 else args[0])
        return (_size(rows), _size(columns))
    if name in ("tensor", "as_tensor", "new_tensor", "asarray") and args:
        return _literal_shape(state, args[0])
    return None


def sizes(state: State, args: Sequence[Value]) -> Shape | None:
    """A shape given as `3, 4`, `(3, 4)` or `x.shape`; sizes that aren't constants are None."""
    if len(args) == 1:
        only = args[0]
        if isinstance(only, Const) and isinstance(only.value, tuple):
            return tuple(_size(Const(v)) for v in only.value)
        if isinstance(only, Container):
            items = state.items.get(only)
            return (
                sizes(state, items.values)
                if items is not None and items.exact and len(items.values) != 1
                else ((_size(items.values[0]),) if items is not None and items.exact else None)
            )
    if all(isinstance(value, (Const, Number)) for value in args):
        return tuple(_size(value) for value in args)
    if all(isinstance(value, (Const, Number, Tensor)) for value in args) and len(args) > 1:
        return tuple(_size(value) for value in args)
    return None


def _size(value: Value) -> int | None:
    """A size given as a constant; -1 is the one to be worked out."""
    return value.value if isinstance(value, Const) and type(value.value) is int and value.value >= 0 else None


def _literal_shape(state: State, value: Value) -> Shape | None:
    if isinstance(value, Const):
        shape: list[int | None] = []
        inner = value.value
        while isinstance(inner, (tuple, list)):
            shape.append(len(inner))
            inner = inner[0] if inner else 0
        return tuple(shape)
    if isinstance(value, Number):
        return ()
    if isinstance(value, Container):
        items = state.items.get(value)
        if items is None or not items.values:
            return None
        inner_shape = _literal_shape(state, items.values[0])
        return None if inner_shape is None else (len(items.values) if items.exact else None, *inner_shape)
    if isinstance(value, Tensor):
        return value.shape
    return None
