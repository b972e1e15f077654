"""Writes to all of a tensor, `y[:] = v`, `y.copy_(v)`, `y.zero_()`: nothing of what it was is left to be copied."""

from __future__ import annotations

import ast

from gradfix import torch_ops
from gradfix.analysis.facts import Spelling, Tracked, ValueKind, Write, WriteForm
from gradfix.analysis.text.slot_shapes import operands
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind, Severity
from gradfix.rewrite.grounds.dtypes import has_equal_dtype
from gradfix.rewrite.grounds.places import is_single_assignment, place_of, writes_through_view
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import is_literal_number
from gradfix.rewrite.text.numbers import spread
from gradfix.rewrite.text.pieces import text_of
from gradfix.rewrite.views import replays
from gradfix.rewrite.views.view_steps import is_whole
from gradfix.source import Source

_PRODUCTS = ("*", "/", "@")
_ZERO = ast.Constant(0)
_LARGEST = 65504  # of half precision: `torch.fill` raises for what `y[:] = v` makes infinite
_SPELLED = Refusal(
    RefusalKind.SPELLING, "the value stands in parentheses or on several lines", "the clone form keeps them"
)


def covers(write: Write) -> bool:
    """Whether `write` gives every element of its target a value from a tensor, and the graph of that alone matters.

    The old value has no graph; or else the program fails for certain, and what the old value was computed from has a
    gradient by way of the operation that saved it as an operand.
    """
    if place_of(write) is None or writes_through_view(write) or write.named_view or replays.replay_of(write):
        return False
    value = write.written.tensor
    if write.written.kind is not ValueKind.TENSOR or value is None or _value(write) is None or not write.tensor.plain:
        return False
    if write.tensor.tracked is Tracked.NO:
        return True
    sure = write.severity is Severity.ERROR and value.tracked is Tracked.YES
    return sure and any(_takes_operands(hazard.op) for hazard in write.hazards)


def fills(write: Write) -> bool:
    """Whether `write` gives every element of its target one number, which `torch.fill` or `zeros_like` says as well."""
    if place_of(write) is None or writes_through_view(write) or write.named_view or replays.replay_of(write):
        return False
    return write.tensor.plain and _number(write) is not None


def _takes_operands(op: str | None) -> bool:
    operator = None if op is None else torch_ops.method(op)
    return op in _PRODUCTS or (operator is not None and operator.saves_result is torch_ops.Saved.NEVER)


def is_equal(write: Write) -> bool:
    """Whether the value is new memory of the same shape, dtype, device and order of dimensions."""
    value, target = write.written.tensor, write.tensor
    if value is None or not operands(_value(write) or ast.Constant(0)) or write.value_changes:
        return False
    placed = value.device is not None and value.device == target.device
    known = value.shape is not None and None not in value.shape and value.shape == target.shape
    return known and placed and has_equal_dtype(write) and value.plain and not (value.transposed or target.transposed)


def _value(write: Write) -> ast.expr | None:
    """`v` of `y[:] = v`, and of `y.copy_(v)` as a statement."""
    node = write.node
    if write.form is WriteForm.INDEX and isinstance(node, ast.Assign) and is_single_assignment(write):
        return node.value if write.index and all(is_whole(item.node) for item in write.index) else None
    alone = isinstance(write.statement, ast.Expr) and write.statement.value is node
    if write.method != "copy_" or not alone or not isinstance(node, ast.Call) or node.keywords or len(node.args) != 1:
        return None
    return None if isinstance(node.args[0], ast.Starred) or not isinstance(node.func, ast.Attribute) else node.args[0]


def _number(write: Write) -> ast.expr | None:
    """`v` of `y[:] = v` and of `y.fill_(v)`, 0 of `y.zero_()`, as statements."""
    node = write.node
    if isinstance(node, ast.Assign):
        value = _value(write)
        small = is_literal_number(value) and abs(ast.literal_eval(value)) <= _LARGEST  # type: ignore[arg-type]
        return value if small else None
    alone = isinstance(write.statement, ast.Expr) and write.statement.value is node
    if not alone or not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.keywords:
        return None
    if write.method == "zero_" and not node.args:
        return _ZERO
    filled = write.method == "fill_" and len(node.args) == 1 and not isinstance(node.args[0], ast.Starred)
    return node.args[0] if filled else None


def build_filled(source: Source, write: Write, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """`y = torch.fill(y, v)`, which has the graph of `y`; `y = torch.full_like(y, v)` where that has none."""
    place, number = place_of(write), _number(write)
    assert place is not None
    assert number is not None
    name, text = text_of(source, place), "0" if number is _ZERO else text_of(source, number)
    if write.tensor.tracked is Tracked.NO and is_literal_number(number):
        made = spread(spelling, name, number, text)
    else:
        made = f"{names.torch_name(spelling, 'fill')}({name}, {text})"
    return _assigned(source, write, made, spelling)


def build(source: Source, write: Write, spelling: Spelling, *, refilled: bool) -> tuple[Edit, ...] | Refusal:
    """`y = v`; `refilled`: `y = torch.empty_like(y).copy_(v)`, which casts, moves and broadcasts as the write does."""
    place, value = place_of(write), _value(write)
    assert place is not None
    assert value is not None
    text = text_of(source, value)
    empty = f"{names.torch_name(spelling, 'empty_like')}({text_of(source, place)})"
    return _assigned(source, write, f"{empty}.copy_({text})" if refilled else text, spelling)


def _assigned(source: Source, write: Write, made: str, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    """The statement of `write` as `y = made`."""
    place, node = place_of(write), write.node
    assert place is not None
    whole = source.span_of(node)
    name = text_of(source, place)
    if "\n" in whole.text(source.text):
        return _SPELLED
    if isinstance(node, ast.Assign):
        before = source.text[source.span_of(node.targets[0]).end : source.span_of(node.value).start]
        parenthesised = "(" in before
    else:
        assert isinstance(node, ast.Call)
        first = source.span_of(node.args[0]).start if node.args else whole.end
        before, parenthesised = " = ", source.text[source.span_of(node.func).end : first].count("(") != 1
    if parenthesised:
        return _SPELLED
    line = f"{name}{before}{made}"
    return sites.replace(sites.site_of(source, write.statement), [line]) + names.import_torch(source, spelling, made)
