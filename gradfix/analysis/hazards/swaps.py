"""Swaps that aren't any: `y[0], y[1] = y[1], y[0]` on a tensor writes `y[1]` twice.

The right side of the assignment are views. The first write already changes what the second view shows. Measured (2.13):
`[1., 2.]` becomes `[2., 2.]`; so does `t = y[0]; y[0] = y[1]; y[1] = t`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from gradfix.analysis.domain.graph import in_order
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.operations import tracked
from gradfix.analysis.domain.records import SwapRecord, WriteRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Tensor, Value
from gradfix.analysis.facts import Swap, Tracked, WriteForm
from gradfix.torch_ops import ViewKind


def note(m: Machine, state: State, target: ast.Subscript, written: Tensor, value: Value) -> None:
    """`target` is given `value`: a view, perhaps, of a place of the same tensor that was overwritten since."""
    if not isinstance(value, Tensor) or value.view is not ViewKind.VIEW or not isinstance(value.made_by, ast.Subscript):
        return
    if value.storages != written.storages or not written.known or tracked(state, written) is Tracked.NO:
        return
    for visit in in_order(state.missed(value)):
        earlier = m.notes.writes.get(visit.key)
        if earlier is not None and _same_place(earlier, value.made_by) and earlier.function == m.scope.qualname:
            m.notes.swaps.setdefault(
                id(target), SwapRecord(target, m.statement, m.scope.qualname, value.made_by, earlier.statement)
            )


def _same_place(earlier: WriteRecord, view: ast.Subscript) -> bool:
    """Whether the write went to just what the view was taken of."""
    if earlier.form is not WriteForm.INDEX or ast.unparse(earlier.target) != ast.unparse(view.value):
        return False
    index = ", ".join(ast.unparse(item.node) for item in earlier.index)
    return index == ast.unparse(view.slice).removeprefix("(").removesuffix(")")


def facts_of_swaps(m: Machine, ordinals: Mapping[int, int]) -> tuple[Swap, ...]:
    """The swaps, in source order."""
    found = sorted(m.notes.swaps.values(), key=lambda r: (r.node.lineno, r.node.col_offset))
    return tuple(
        Swap(r.node, r.statement, r.function, ordinals.get(id(r.statement), 0), r.view, r.earlier) for r in found
    )
