"""How a value becomes a slot: `out[t] = v` casts, moves and broadcasts `v`; a list takes it as it is."""

from __future__ import annotations

import ast
from enum import Enum

from gradfix.analysis.facts import FilledBuffer, SlotWrite, ValueKind, WriteForm
from gradfix.analysis.text.slot_shapes import shows_tensor
from gradfix.rewrite.grounds.dtypes import has_equal_dtype, is_floating, is_made_of, keeps_dtype
from gradfix.rewrite.text.expressions import is_literal_number

_ELEMENTWISE = frozenset(
    "abs exp expm1 log log1p log2 log10 sqrt rsqrt square pow sin cos tan sinh cosh tanh sigmoid relu neg reciprocal "
    "clamp softplus erf maximum minimum add sub mul div".split()
)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)


class Fit(Enum):
    """What has to be done to a value."""

    AS_IT_IS = ""
    COPY = ".clone()"  # its memory is written somewhere else, too
    CAST = ".to({name}.dtype)"
    MOVE = ".to({name})"  # dtype and device
    MOVE_COPY = ".to({name}, copy=True)"
    SCALAR = ".to({name}).reshape(())"
    SCALAR_COPY = ".to({name}, copy=True).reshape(())"
    SPREAD = ".expand_as({slot})"  # of no more dimensions than a slot: `expand_as` does what the write did
    COPY_SPREAD = ".clone().expand_as({slot})"
    MOVE_SPREAD = ".to({name}).expand_as({slot})"
    MOVE_COPY_SPREAD = ".to({name}, copy=True).expand_as({slot})"
    NUMBER = "full_like"
    OWN_MEMORY = "empty_like"  # written into a slot of its own: exact for every value

    def suffix(self, name: str, slot: str) -> str:
        """What is appended to the value; `name` is the buffer, `slot` the text of the slot it is put in."""
        return self.value.format(name=name, slot=slot)

    @property
    def names_slot(self) -> bool:
        """Whether the slot is read besides being put in its place."""
        return self in (Fit.NUMBER, Fit.OWN_MEMORY) or "{slot}" in self.value


_SPREAD = {  # by whether it has dtype and device of the buffer, and whether its memory is written again
    (True, False): Fit.SPREAD,
    (True, True): Fit.COPY_SPREAD,
    (False, False): Fit.MOVE_SPREAD,
    (False, True): Fit.MOVE_COPY_SPREAD,
}


def is_exact(fit: Fit) -> bool:
    """Whether the value is proven to be a slot already, but for what any copy does."""
    return fit in (Fit.AS_IT_IS, Fit.COPY, Fit.NUMBER)


def fit_of(buffer: FilledBuffer, written: SlotWrite) -> Fit:
    """What has to be done to the value of `written`."""
    write = written.write
    if written.access.rest:
        return Fit.OWN_MEMORY
    if write.form is WriteForm.AUGMENTED_INDEX:
        return Fit.AS_IT_IS if keeps_dtype(write) else Fit.CAST
    if write.written.kind is ValueKind.NUMBER:
        return Fit.NUMBER
    if write.written.kind is not ValueKind.TENSOR and not shows_tensor(write.value):
        return Fit.OWN_MEMORY
    slot = _slot_shape(buffer)
    if _has_slot_shape(buffer, written, slot):
        alike = _is_alike(buffer, written)
        if write.value_changes:
            return Fit.COPY if alike else Fit.MOVE_COPY
        return Fit.AS_IT_IS if alike else Fit.MOVE
    if slot == ():
        return Fit.SCALAR_COPY if write.value_changes else Fit.SCALAR
    rank = None if write.written.tensor is None else write.written.tensor.rank
    if slot is None or rank is None or rank > len(slot):
        return Fit.OWN_MEMORY
    return _SPREAD[_is_alike(buffer, written), write.value_changes]


def _slot_shape(buffer: FilledBuffer) -> tuple[int | None, ...] | None:
    """Of one slot, None where the number of dimensions isn't known."""
    shape = buffer.shape
    if shape is None or not all(-len(shape) <= axis < len(shape) for axis in buffer.axes):
        return None
    gone = {axis % len(shape) for axis in buffer.axes}
    return tuple(size for dim, size in enumerate(shape) if dim not in gone)


def _is_alike(buffer: FilledBuffer, written: SlotWrite) -> bool:
    """Proven to have the dtype and the device of the buffer."""
    write, tensor = written.write, written.write.written.tensor
    if write.value is not None and is_floating(write.tensor) and _is_made_of_slots(buffer, write.value):
        return True
    same_device = tensor is not None and tensor.device is not None and tensor.device == write.tensor.device
    return has_equal_dtype(write) and same_device


def _is_made_of_slots(buffer: FilledBuffer, value: ast.expr) -> bool:
    """By operators alone: under autocast, a function may give another dtype."""
    called = any(isinstance(node, ast.Call) for node in ast.walk(value))
    return not called and is_made_of(value, ast.Name(buffer.name.id, ast.Load()))


def _has_slot_shape(buffer: FilledBuffer, written: SlotWrite, slot: tuple[int | None, ...] | None) -> bool:
    tensor, value = written.write.written.tensor, written.write.value
    if tensor is None or value is None:
        return False
    if slot is not None and None not in slot and tensor.shape == slot:
        return True
    slots = frozenset(id(read.node) for read in buffer.reads if len(read.slots) == len(buffer.axes) and not read.rest)
    if not _is_like_a_slot(value, slots):
        return False
    # Elementwise with a slot: never smaller; larger only by leading sizes of 1, or the write itself would fail.
    return (slot is not None and tensor.rank == len(slot)) or _is_all_slots(value, slots)


def _is_like_a_slot(value: ast.expr, slots: frozenset[int]) -> bool:
    """Computed element by element, with a slot among the operands."""
    if id(value) in slots:
        return True
    parts = _operands(value)
    if isinstance(value, ast.Call) and not _is_of_package(value):
        parts = parts[:1]  # a method: of what isn't a slot it may be anything
    return any(_is_like_a_slot(part, slots) for part in parts)


def _is_all_slots(value: ast.expr, slots: frozenset[int]) -> bool:
    """Computed element by element from slots and numbers written out."""
    if id(value) in slots or is_literal_number(value):
        return True
    parts = _operands(value)
    return bool(parts) and all(_is_all_slots(part, slots) for part in parts)


def _operands(value: ast.expr) -> list[ast.expr]:
    """The operands of an operation that works element by element; none of any other."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, _OPERATORS):
        return [value.left, value.right]
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        return [value.operand]
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute) or value.keywords:
        return []
    if value.func.attr not in _ELEMENTWISE:
        return []
    return [*value.args] if _is_of_package(value) else [value.func.value, *value.args]


def _is_of_package(call: ast.Call) -> bool:
    """A function of torch, not a method."""
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id in ("torch", "th", "F")
