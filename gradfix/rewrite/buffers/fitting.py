"""How a value becomes a slot: `out[t] = v` casts, moves and broadcasts `v`; a list takes it as it is."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradfix.analysis.facts import FilledBuffer, SlotWrite, ValueKind, WriteForm
from gradfix.analysis.text.slot_shapes import shows_tensor
from gradfix.rewrite.grounds.dtypes import has_equal_dtype, is_floating, is_made_of, keeps_dtype
from gradfix.rewrite.text.expressions import is_literal_number

_ELEMENTWISE = frozenset(
    "abs exp expm1 log log1p log2 log10 sqrt rsqrt square pow sin cos tan sinh cosh tanh sigmoid relu neg reciprocal "
    "clamp softplus erf maximum minimum add sub mul div".split()
)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)


@dataclass(frozen=True, slots=True)
class Fit:
    """What has to be done to a value: what is appended to it, with the buffer as `{name}` and its place as `{slot}`."""

    dtype: str = ""
    shape: str = ""
    made_by: str = ""  # the function that makes a slot instead: nothing is appended

    def suffix(self, name: str, slot: str) -> str:
        """What is appended to the value; `name` is the buffer, `slot` the text of the slot it is put in."""
        return (self.dtype + self.shape).format(name=name, slot=slot)

    @property
    def is_exact(self) -> bool:
        """Whether the value is proven to be a slot already, but for what any copy does."""
        return self in (AS_IT_IS, Fit(COPIED), NUMBER)

    @property
    def names_slot(self) -> bool:
        """Whether the slot is read besides being put in its place."""
        return bool(self.made_by) or "{slot}" in self.shape


COPIED = ".clone()"  # its memory is written somewhere else, too
CAST = ".to({name}.dtype)"
MOVED = ".to({name})"  # dtype and device
MOVED_COPY = ".to({name}, copy=True)"
SCALAR = ".reshape(())"
SPREAD = ".expand_as({slot})"  # of no more dimensions than a slot
RESHAPED = ".reshape_as({slot})"  # of as many elements as a slot

AS_IT_IS = Fit()
NUMBER = Fit(made_by="full_like")
OWN_MEMORY = Fit(made_by="empty_like")  # written into a slot of its own: exact for every value


def fit_of(buffer: FilledBuffer, written: SlotWrite) -> Fit:
    """What has to be done to the value of `written`."""
    write = written.write
    if written.access.rest:
        return OWN_MEMORY
    if write.form is WriteForm.AUGMENTED_INDEX:
        return AS_IT_IS if keeps_dtype(write) else Fit(CAST)
    if write.written.kind is ValueKind.NUMBER:
        return NUMBER
    if write.written.kind is not ValueKind.TENSOR and not shows_tensor(write.value):
        return OWN_MEMORY
    shape = _shaped(buffer, written)
    if shape is None:
        return OWN_MEMORY
    if _is_alike(buffer, written):
        return Fit(COPIED if write.value_changes else "", shape)
    return Fit(MOVED_COPY if write.value_changes else MOVED, shape)


def _shaped(buffer: FilledBuffer, written: SlotWrite) -> str | None:
    """What gives a tensor the shape of a slot as the write did; None where that depends on what isn't known."""
    tensor, value, slot = written.write.written.tensor, written.write.value, _slot_shape(buffer)
    if tensor is not None and tensor.shape is not None and tensor.shape == slot and None not in slot:
        return ""
    reads = (*buffer.initial.reads, *buffer.reads)
    slots = frozenset(id(read.node) for read in reads if len(read.slots) == len(buffer.axes) and not read.rest)
    rank = None if tensor is None else tensor.rank
    if tensor is not None and value is not None and _is_like_a_slot(value, slots):
        # Elementwise with a slot: never smaller; larger only by leading sizes of 1, or the write itself would fail.
        if (slot is not None and rank == len(slot)) or _is_all_slots(value, slots):
            return ""
        return SCALAR if slot == () else RESHAPED
    if slot == ():
        return SCALAR
    return SPREAD if slot is not None and rank is not None and rank <= len(slot) else None


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
