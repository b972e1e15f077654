"""NumPy arrays that share memory with tensors: `t.numpy()`, `torch.from_numpy(a)`. Autograd sees no write to them."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradfix.analysis.domain.holders import escape
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import NO_FLOWS, Array, Flows, Origin, Storage, Tensor, Value
from gradfix.analysis.facts import IndexItem, WriteForm
from gradfix.analysis.hazards import cuts
from gradfix.analysis.hazards.write_records import Site
from gradfix.analysis.hazards.writes import write
from gradfix.analysis.operators import objects

_MAKERS = frozenset(
    "zeros ones empty full array arange linspace eye zeros_like ones_like empty_like full_like copy".split()
)
_WRITING = frozenset({"fill", "sort", "put", "partition", "itemset"})
_FILLING = frozenset("copyto put place putmask fill_diagonal put_along_axis shuffle at".split())  # their first argument
_MAY_SHARE = frozenset(  # functions of NumPy
    "asarray asanyarray array ascontiguousarray asfortranarray ravel reshape squeeze transpose swapaxes moveaxis "
    "rollaxis expand_dims atleast_1d atleast_2d atleast_3d broadcast_to broadcast_arrays split array_split hsplit "
    "vsplit dsplit diagonal diag real imag flip fliplr flipud rot90 nan_to_num require frombuffer from_dlpack "
    "as_strided sliding_window_view permute_dims matrix_transpose unstack".split()
)
_VIEWING = frozenset({"reshape", "ravel", "view", "transpose", "squeeze", "swapaxes"})
_SHARING = frozenset({"from_numpy", "as_tensor", "asarray"})


def of_tensor(m: Machine, state: State, tensor: Tensor) -> Array:
    """`tensor.numpy()`."""
    behind = cuts.flows_of(state, tensor)
    return Array(cuts.array(m, behind).flows if behind else NO_FLOWS, objects.twin(tensor, silent=True))


def fresh(state: State, name: str, flows: Flows, at: ast.AST) -> Array | None:
    """What `numpy.name(…)` makes in memory of its own; None where that isn't sure."""
    if name not in _MAKERS:
        return None
    storage = Storage(Origin.FRESH, made_by=at)
    state.nodes[storage] = None
    return Array(flows, Tensor((storage,), silent=True, detached=True, made_by=at))


def as_tensor(state: State, name: str, args: Sequence[Value], keywords: Mapping[str, Value]) -> Tensor | None:
    """`torch.from_numpy(array)`: a tensor over the memory of the array; None where it may be a copy."""
    source = args[0] if len(args) == 1 and name in _SHARING and not keywords else None
    if not isinstance(source, Array) or source.memory is None:
        return None
    made = replace(objects.twin(source.memory, silent=False), silent=False)
    cuts.put(state, (made,), cuts.flows_of(state, source))
    return made


def store(
    m: Machine,
    state: State,
    array: Array,
    items: tuple[IndexItem, ...],
    target: ast.expr,
    value: Value | None,
    expression: ast.expr | None,
) -> None:
    """A write to the array, or to `items` of it."""
    if array.memory is not None:
        write(m, state, Site(WriteForm.ARRAY, m.statement, target, items, expression), array.memory, value)
        if value is not None:
            cuts.into_array(m, state, array.memory, value)
    if value is not None:
        escape(state, value)  # an array of objects holds it


def sharing(name: str, args: Sequence[Value]) -> tuple[Tensor, ...]:
    """Whose memory `numpy.name(…)` may give: of tensors and arrays, where it makes none of its own."""
    if name not in _MAY_SHARE:
        return ()
    memory = (value.memory for value in args if isinstance(value, Array))
    found = [value for value in (*args, *memory) if isinstance(value, Tensor)]
    return (*found, *(held for value in args if isinstance(value, Array) for held in value.holders))


def filled(
    m: Machine, state: State, name: str, args: Sequence[Value], keywords: Mapping[str, Value], at: ast.Call
) -> Array | None:
    """The array that `numpy.name(…)` writes to: `a` of `np.copyto(a, v)`, `np.add.at(a, i, v)`, `np.clip(…, out=a)`."""
    given = [(keywords.get("out"), keyword.value) for keyword in at.keywords if keyword.arg == "out"]
    if name in _FILLING:
        given += list(zip(args[:1], at.args[:1], strict=False))
    for value, expression in given:
        if isinstance(value, Array) and value.memory is not None:
            store(m, state, value, (), expression, None, None)
            return value
    return None


def method(m: Machine, state: State, receiver: Array, name: str, at: ast.Call) -> Array | None:
    """`array.fill(v)` and views of an array; None for methods that neither write nor share."""
    if receiver.memory is None or not isinstance(at.func, ast.Attribute):
        return None
    if name in _WRITING:
        store(m, state, receiver, (), at.func.value, None, None)
        return receiver
    return Array(cuts.through(m, state, name, (receiver,)), receiver.memory) if name in _VIEWING else None
