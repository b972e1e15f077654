"""Writes to all of a tensor, `y[:] = v` and `y.copy_(v)`: nothing of what it was is left, so nothing needs a copy."""

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
from gradfix.rewrite.text.pieces import text_of
from gradfix.rewrite.views import replays
from gradfix.rewrite.views.view_steps import is_whole
from gradfix.source import Source

_PRODUCTS = ("*", "/", "@")
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


def build(source: Source, write: Write, spelling: Spelling, *, refilled: bool) -> tuple[Edit, ...] | Refusal:
    """`y = v`; `refilled`: `y = torch.empty_like(y).copy_(v)`, which casts, moves and broadcasts as the write does."""
    place, value, node = place_of(write), _value(write), write.node
    assert place is not None
    assert value is not None
    target = node.targets[0] if isinstance(node, ast.Assign) else node.func  # type: ignore[attr-defined]  # or a call
    whole, inner = source.span_of(node), source.span_of(value)
    before = source.text[source.span_of(target).end : inner.start]
    brackets = 0 if isinstance(node, ast.Assign) else 1
    name, text = text_of(source, place), text_of(source, value)
    if "\n" in whole.text(source.text) or before.count("(") != brackets:
        return _SPELLED
    made = f"{names.torch_name(spelling, 'empty_like')}({name}).copy_({text})" if refilled else text
    line = f"{name} = {made}" if brackets else f"{name}{before}{made}"
    return sites.replace(sites.site_of(source, write.statement), [line]) + names.import_torch(source, spelling, made)
