"""What a test is made of: values of tensors, their sizes, or nothing of the kind."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Container, Number, Value, tensors
from gradfix.analysis.facts import ConditionKind
from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.nodes import Function, every_node, nodes_of

_COUNTS = ("numel", "nelement", "size")
_OF_VALUES = frozenset("all any sum item max min mean numel nonzero count_nonzero isnan isfinite".split())
_FILLING = ("append", "extend")


def kind_of(value: Value) -> ConditionKind:
    """What the truth of `value` depends on."""
    if tensors(value):
        return ConditionKind.TENSOR
    return ConditionKind.ITEM if isinstance(value, Number) and value.of_data else ConditionKind.PYTHON


def depends_on_data(m: Machine, state: State, test: ast.expr, kind: ConditionKind) -> bool:
    """Whether data decide a test of this kind: `mask.any()`, but not a `flag` of which nothing is known.

    Whoever asks if a tensor has elements expects data to decide that: `len(index) == 0`, `not x.numel()`. A list has
    items or none by data where those are put into it in a loop that leaves some out by data.
    """
    if kind is not ConditionKind.PYTHON and any(_tells(m, state, part) for part in _parts(test)):
        return True
    counted = [(part, held) for part in _parts(test) if (held := _counted(part)) is not None]
    return any(_has_elements(m, state, part, held) or _is_filled_by_data(m, state, held) for part, held in counted)


def _has_elements(m: Machine, state: State, test: ast.expr, counted: ast.expr) -> bool:
    """Whether a tensor is asked for elements; of what isn't known, lists and files have a length, too."""
    found = tensors(m.look(state, counted))
    by_length = any(builtin(node) == "len" for node in every_node(test))
    return any(tensor.known or not (by_length or test is counted) for tensor in found)


def _tells(m: Machine, state: State, part: ast.expr) -> bool:
    """Whether a part of a test is of tensors for certain, or of what only arrays are asked."""
    value = m.look(state, part)
    if kind_of(value) is ConditionKind.ITEM or any(tensor.known for tensor in tensors(value)):
        return True
    called = (node.func for node in every_node(part) if isinstance(node, ast.Call))
    return any(isinstance(func, ast.Attribute) and func.attr in _OF_VALUES for func in called)


def _parts(test: ast.expr) -> Iterator[ast.expr]:
    """The comparisons and values that a test puts together."""
    if isinstance(test, ast.BoolOp):
        for part in test.values:
            yield from _parts(part)
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield from _parts(test.operand)
    else:
        yield test


def _counted(test: ast.expr) -> ast.expr | None:
    """`x` of `len(x) == 0`, `x.numel()`, `x.size(0) > 0`, `x.shape[0]`, and of `x` alone, which may be a list."""
    count = test
    if isinstance(test, ast.Compare):
        bound = test.comparators[0]
        if len(test.ops) != 1 or not (isinstance(bound, ast.Constant) and bound.value in (0, 1)):
            return None
        count = test.left
    if isinstance(count, ast.Call) and builtin(count.func) == "len" and count.args:
        return count.args[0]
    if isinstance(count, ast.Call) and isinstance(count.func, ast.Attribute):
        return count.func.value if count.func.attr in _COUNTS else None
    sizes = count.value if isinstance(count, ast.Subscript) else None
    if isinstance(sizes, ast.Attribute):
        return sizes.value if sizes.attr == "shape" else None
    return test if isinstance(test, ast.Name) else None


def _is_filled_by_data(m: Machine, state: State, name: ast.expr) -> bool:
    """Whether a list gets its items in a loop that data make leave some out."""
    held = m.look(state, name) if isinstance(name, ast.Name) else None
    if not isinstance(held, Container) or held.kind not in ("list", "deque") or not isinstance(name, ast.Name):
        return False
    left_out = _left_out(m.tree if m.scope.info is None else m.scope.info.node).get(name.id, ())
    return any(_is_of_tensors(m, state, test) for start, test in left_out if start < name.lineno)


@lru_cache(maxsize=64)  # asked again for every test, and in every passage
def _left_out(scope: Function | ast.Module) -> Mapping[str, Sequence[tuple[int, ast.expr]]]:
    """By names of what loops fill: the lines where those start, and tests in them that may leave something out."""
    found: dict[str, list[tuple[int, ast.expr]]] = {}
    for loop in (node for node in nodes_of(scope) if isinstance(node, (ast.For, ast.While))):
        filled = _filled(loop)
        for branch in (node for node in every_node(loop) if filled and isinstance(node, ast.If)):
            jumps = any(isinstance(node, ast.Continue) for node in every_node(branch))
            for name in filled if jumps else _filled(branch):
                found.setdefault(name, []).append((loop.lineno, branch.test))
    return found


def _is_of_tensors(m: Machine, state: State, test: ast.expr) -> bool:
    asked = [counted for part in _parts(test) if (counted := _counted(part)) is not None]
    return any(kind_of(m.look(state, part)) is not ConditionKind.PYTHON for part in (test, *asked))


def _filled(root: ast.AST) -> set[str]:
    """The names of which `name.append(…)` or the like stands in it."""
    called = (node.func for node in every_node(root) if isinstance(node, ast.Call))
    filling = (f.value for f in called if isinstance(f, ast.Attribute) and f.attr in _FILLING)
    return {held.id for held in filling if isinstance(held, ast.Name)}
