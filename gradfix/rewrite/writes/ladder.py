"""Which out-of-place forms a write can take, best first, decided by the facts alone.

Arithmetic and out-of-place twins, then the functional forms of an index write, where index, value and dtype are
known, then clone and assign, which is exact for every index and value.
"""

from __future__ import annotations

import ast
import re
from enum import Enum
from functools import lru_cache

from gradfix.analysis.domain.indexing import indexed_shape
from gradfix.analysis.facts import IndexItem, IndexKind, Spelling, ValueKind, Write, WriteForm
from gradfix.analysis.text.masked import elementwise_operands
from gradfix.rewrite.grounds.dtypes import has_equal_dtype, is_floating, keeps_dtype, may_be_complex, speaks_of_complex
from gradfix.rewrite.grounds.places import root_of, writes_through_view
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import is_effectless, is_literal_number, same
from gradfix.rewrite.views.view_steps import is_whole, restricts
from gradfix.rewrite.writes import whole

_SCRIPT = re.compile(r"\bjit\b|ScriptModule|script_if_tracing")
_FULL = (None, None, None)
_ELEMENTWISE_TESTS = frozenset({"isnan", "isinf", "isfinite", "signbit"})


class Form(Enum):
    """The spelling a rewrite gives to a write."""

    ARITHMETIC = "arithmetic"  # y = y + v, cast to the dtype of y where it may be wider
    PLAIN = "plain"  # y = y + v, never cast: y is a number at first
    TWIN = "twin"  # y = y.exp()
    FUNCTION = "function"  # y = torch.relu(y), y = F.relu(y)
    WHERE = "where"  # y = torch.where(mask, v, y)
    INDEX_PUT = "index_put"  # y = y.index_put((i,), v)
    SCATTER = "scatter"  # y = torch.select_scatter(y, v, dim, i), torch.slice_scatter(y, v, dim, a, b)
    REPLAY = "replay"  # y = torch.diagonal_scatter(y, v), of y.diagonal()[:] = v
    ONE_BY_ONE = "one-by-one"  # hs_value, cs_value = f(hs, cs); hs[t] = hs_value; …: each write is then cured by itself
    WHOLE = "whole"  # y = v, of y[:] = v
    REFILL = "refill"  # y = torch.empty_like(y).copy_(v), of the same
    FILL = "fill"  # y = torch.fill(y, v), of y[:] = v, y.fill_(v) and y.zero_() with a number
    CLONE = "clone"  # y = y.clone(); y[i] = v


def is_basic(items: tuple[IndexItem, ...]) -> bool:
    """Whether every item is proven to make a view."""
    kinds = (IndexKind.INT, IndexKind.SLICE, IndexKind.ELLIPSIS, IndexKind.NONE)
    return all(item.kind in kinds for item in items)


def index_forms(write: Write, spelling: Spelling) -> tuple[Form, ...]:
    """The forms of `y[i] = v`, best first; the clone form is always among them."""
    if not _may_move(write, spelling) or not names.can_spell_torch(spelling):
        return (Form.CLONE,)
    if writes_through_view(write):
        return (Form.REPLAY, Form.CLONE) if fits_replay(write, spelling) else (Form.CLONE,)
    if whole.covers(write):
        return (Form.WHOLE if whole.is_equal(write) else Form.REFILL, Form.CLONE)
    if whole.fills(write):
        return (Form.FILL, Form.CLONE)
    tests = ((Form.WHERE, _fits_where), (Form.INDEX_PUT, _fits_index_put), (Form.SCATTER, _fits_scatter))
    best = next((form for form, fits in tests if fits(write)), None)
    best = None if best is Form.SCATTER and not may_scatter(write, spelling) else best
    best = None if best is Form.INDEX_PUT and _speaks_of_scripts(spelling.text) else best
    return (Form.CLONE,) if best is None else (best, Form.CLONE)


def augmented_index_forms(write: Write, spelling: Spelling) -> tuple[Form, ...]:
    """The forms of `y[i] += v`, best first."""
    if not _may_move(write, spelling):
        return (Form.CLONE,)
    if writes_through_view(write):
        return (Form.REPLAY, Form.CLONE) if fits_replay(write, spelling) else (Form.CLONE,)
    torch = names.can_spell_torch(spelling)
    if torch and single_axis(write.index) is not None and may_scatter(write, spelling):
        return (Form.SCATTER, Form.CLONE)
    scripted = _speaks_of_scripts(spelling.text)
    if not scripted and keeps_dtype(write) and (_are_tensors(write.index) or (torch and _is_element(write))):
        return (Form.INDEX_PUT, Form.CLONE)
    return (Form.CLONE,)


def may_scatter(write: Write, spelling: Spelling) -> bool:
    """Whether `select_scatter` and `slice_scatter` differentiate what is written: they do no complex numbers."""
    return not speaks_of_complex(spelling.text) or not may_be_complex(write.tensor.dtype)


@lru_cache(maxsize=1)
def _speaks_of_scripts(text: str) -> bool:
    """TorchScript has no `new_tensor`, and takes indices as a list."""
    return _SCRIPT.search(text) is not None


def fits_replay(write: Write, spelling: Spelling) -> bool:
    """Whether a write through a view spelled on the spot is the same as a new value of that view.

    What puts the value back casts it only where it is a part that is put back: `torch.select_scatter` and its like.
    """
    target = root_of(write.target)
    sure = write.views.is_sure and is_basic(write.index) and is_effectless(target, spelling)
    if not sure or not names.can_spell_torch(spelling) or not may_scatter(write, spelling):
        return False
    part = restricts(target) if all(is_whole(item.node) for item in write.index) else _restricts(write.index)
    if write.form is WriteForm.AUGMENTED_INDEX or write.method not in (None, "fill_", "copy_", "zero_"):
        return part or keeps_dtype(write)
    return part and (write.method == "zero_" or _fits_view(write))


def _restricts(items: tuple[IndexItem, ...]) -> bool:
    return single_axis(items) is not None


def _fits_view(write: Write) -> bool:
    """A number, or a tensor of exactly the shape of the view that is written."""
    if write.written.kind is ValueKind.NUMBER:
        return True
    tensor = write.written.tensor
    shape = indexed_shape(write.tensor.shape, write.index)
    known = shape is not None and None not in shape and tensor is not None and tensor.shape == shape
    return known and write.written.kind is ValueKind.TENSOR and is_floating(write.tensor)


def single_axis(items: tuple[IndexItem, ...]) -> tuple[int, IndexItem] | None:
    """The one dimension that an index of full slices, one `...` and one int or slice restricts, with that item.

    Counted from the end after an ellipsis. None for every other index.
    """
    found: tuple[int, IndexItem] | None = None
    ellipsis = [i for i, item in enumerate(items) if item.kind is IndexKind.ELLIPSIS]
    if len(ellipsis) > 1:
        return None
    for position, item in enumerate(items):
        if item.kind is IndexKind.ELLIPSIS or _is_full_slice(item):
            continue
        if found is not None or not (item.kind is IndexKind.INT or isinstance(item.node, ast.Slice)):
            return None
        found = (position - len(items) if ellipsis and position > ellipsis[0] else position, item)
    return found


def is_mask_of(mask: ast.expr, place: ast.expr) -> bool:
    """Whether `mask` is computed from `place` element by element, so that it has its shape: `y < 0`, `~y.isnan()`.

    A comparison with anything is: it broadcasts to the shape of `place` or a larger one, and a larger mask raises.
    """
    if isinstance(mask, ast.Compare):
        operands = [mask.left, *mask.comparators]
        by_element = len(operands) == 2 and not isinstance(mask.ops[0], (ast.Is, ast.IsNot, ast.In, ast.NotIn))
        return by_element and any(same(operand, place) for operand in operands)
    if isinstance(mask, ast.UnaryOp):
        return isinstance(mask.op, ast.Invert) and is_mask_of(mask.operand, place)
    if isinstance(mask, ast.BinOp):
        return is_mask_of(mask.left, place) and is_mask_of(mask.right, place)
    if isinstance(mask, ast.Call) and isinstance(mask.func, ast.Attribute) and mask.func.attr in _ELEMENTWISE_TESTS:
        return any(same(tested, place) for tested in [*mask.args, mask.func.value]) and len(mask.args) < 2
    return False


def _may_move(write: Write, spelling: Spelling) -> bool:
    """Whether index and value may be evaluated in another order, the index twice."""
    index_is_pure = all(is_effectless(item.node, spelling) for item in write.index)
    if write.value is None or not index_is_pure:
        return False
    if is_effectless(write.value, spelling):
        return True
    plain = isinstance(write.target, ast.Name) and all(_is_local_value(item.node) for item in write.index)
    return plain and not any(isinstance(node, ast.NamedExpr) for node in ast.walk(write.value))


def _is_local_value(node: ast.expr) -> bool:
    """Made of names and constants: no call can change it."""
    return not any(isinstance(inner, (ast.Attribute, ast.Subscript, ast.Call)) for inner in ast.walk(node))


def _fits_where(write: Write) -> bool:
    """A mask of full rank and a value that neither widens the dtype nor has dimensions."""
    if len(write.index) != 1 or write.index[0].kind is not IndexKind.MASK:
        return False
    rank = write.tensor.rank
    same_rank = rank is not None and write.index[0].rank == rank
    own = is_mask_of(write.index[0].node, write.target)
    if not own and write.tensor.transposed != write.index[0].transposed:
        return False  # `torch.where` lays its result out as the mask is
    covering = same_rank or write.whole_mask or own
    if not is_floating(write.tensor) or not covering:
        return False
    written = write.written
    if written.kind is ValueKind.NUMBER:
        return written.number_type is not None
    if written.kind is not ValueKind.TENSOR or written.tensor is None or written.tensor.rank != 0 or rank in (0, None):
        return False
    return written.same_dtype or not may_be_complex(written.tensor.dtype)


def _fits_index_put(write: Write) -> bool:
    if _are_tensors(write.index):
        return _fits_any_index_put(write)
    if not _is_element(write):
        return False
    if write.written.kind is ValueKind.NUMBER:
        return True
    tensor = write.written.tensor
    return tensor is not None and tensor.rank == 0 and has_equal_dtype(write) and _same_device(write)


def _fits_any_index_put(write: Write) -> bool:
    """`index_put` is what the write does itself, but for leading sizes of 1, which it strips."""
    written = write.written
    if written.kind is ValueKind.NUMBER:
        return True
    if written.kind is not ValueKind.TENSOR or written.tensor is None or written.tensor.shape is None:
        return False
    masked = any(item.kind is IndexKind.MASK for item in write.index)  # a single value is cast under a mask
    if masked and not has_equal_dtype(write):
        return False
    shape = written.tensor.shape
    return not shape or shape[0] not in (1, None)


def _fits_scatter(write: Write) -> bool:
    """One row, column or slice, and a value of exactly its shape (a number is spread over it)."""
    place = single_axis(write.index)
    of_slot = _is_computed_from_slot(write)
    if place is None or (write.tensor.rank is None and not of_slot):
        return False
    axis, item = place
    if write.written.kind is ValueKind.NUMBER or of_slot:
        return True
    if write.written.kind is not ValueKind.TENSOR or write.written.tensor is None:
        return False
    if not is_floating(write.tensor):  # scattering tracked values into integers raises in backward
        return False
    slot = _slot_shape(write.tensor.shape or (), axis, item)
    return slot is not None and write.written.tensor.shape == slot


def _is_computed_from_slot(write: Write) -> bool:
    """`y[i] = y[i].exp() * 0.5`: element by element from what is overwritten, so of its shape."""
    target = write.node.targets[0] if isinstance(write.node, ast.Assign) else None
    waiting, found = [write.value], False
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Subscript) and target is not None and same(node, target):
            found = True
        elif not is_literal_number(node):
            parts = elementwise_operands(node) if node is not None else []
            waiting += parts
            if not parts:
                return False
    return found


def _slot_shape(shape: tuple[int | None, ...], axis: int, item: IndexItem) -> tuple[int, ...] | None:
    if not -len(shape) <= axis < len(shape):
        return None
    axis %= len(shape)
    sizes: list[int | None] = list(shape)
    if item.kind is IndexKind.INT:
        del sizes[axis]
    else:
        sizes[axis] = _slice_length(item.node, shape[axis])
    known = [size for size in sizes if size is not None]
    return tuple(known) if len(known) == len(sizes) else None


def _slice_length(node: ast.expr, size: int | None) -> int | None:
    if not isinstance(node, ast.Slice) or size is None:
        return None
    bounds = [_constant(bound) for bound in (node.lower, node.upper, node.step)]
    if any(bound is ... for bound in bounds) or bounds[2] in (0,) or (isinstance(bounds[2], int) and bounds[2] < 0):
        return None
    return len(range(*slice(*bounds).indices(size)))


def _constant(node: ast.expr | None) -> object:
    """None for a missing bound, its number for a literal one, `...` for any other."""
    if node is None:
        return None
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return ...
    return value if type(value) is int else ...


def _is_full_slice(item: IndexItem) -> bool:
    node = item.node
    return isinstance(node, ast.Slice) and (node.lower, node.upper, node.step) == _FULL


def _is_element(write: Write) -> bool:
    """Every dimension is indexed by an int written out."""
    literal = all(item.kind is IndexKind.INT and is_literal_number(item.node) for item in write.index)
    return literal and bool(write.index) and write.tensor.rank == len(write.index)


def _are_tensors(items: tuple[IndexItem, ...]) -> bool:
    """Every item is a tensor, as `index_put` wants them; not one without dimensions, which makes a view."""
    return bool(items) and all(
        item.rank != 0 and (item.kind is IndexKind.MASK or (item.is_tensor and item.rank is not None)) for item in items
    )


def _same_device(write: Write) -> bool:
    tensor = write.written.tensor
    return tensor is not None and tensor.device is not None and tensor.device == write.tensor.device
