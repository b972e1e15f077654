"""Names that hold views while their memory is written: a replay puts the write into the base, and takes them again.

The replay is played as the rewrite is: such a name is given a new object that has the write. Whoever keeps the old one,
and is read later, would miss it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property

from gradfix.analysis.domain.graph import Visit
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import WriteRecord
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Symbol, Tensor
from gradfix.analysis.facts import IndexKind, WriteForm
from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.handed_out import handed_out
from gradfix.analysis.text.nodes import every_node
from gradfix.analysis.text.scopes import Block, Parents, names_in, parents
from gradfix.analysis.view_facts import NamedView
from gradfix.torch_ops import ViewKind

_VIEWS = frozenset({"T", "mT", "H", "mH", "real", "imag"})
_SIZES = frozenset({"shape", "ndim"})
_COMPUTED = (
    ast.Constant,
    ast.UnaryOp,
    ast.BinOp,
    ast.Tuple,
    ast.List,
    ast.Slice,
    ast.keyword,
    ast.operator,
    ast.unaryop,
)
_FAR = 64  # writes before this one that are told of it


def note(state: State, m: Machine, record: WriteRecord, tensor: Tensor, key: int) -> None:
    """Before a write is stamped: what it is to the writes before it."""
    spelled = _names_numbers(m, every_node(record.target))
    record.is_sure = record.is_sure and spelled and tensor.view is not ViewKind.MAYBE and len(tensor.storages) == 1
    for storage in tensor.storages:
        stamp, seen = state.log.get(storage), 0
        while stamp is not None and seen < _FAR:
            earlier = m.notes.writes.get(stamp.visit.key)
            if stamp.visit.key == key:
                record.is_repeated = True
            elif earlier is not None:
                record.earlier[id(earlier.statement)] = earlier.statement
                earlier.is_followed = earlier.is_followed or not _is_chained(earlier, record)
            stamp, seen = stamp.before, seen + 1


def _is_chained(earlier: WriteRecord, later: WriteRecord) -> bool:
    """`y.mul_(2).add_(1)`: a rewrite takes both at once."""
    return earlier.statement is later.statement and earlier.form is later.form is WriteForm.METHOD


def hand_on(m: Machine, state: State, record: WriteRecord, place: ast.expr, tensor: Tensor, visit: Visit) -> None:
    """After a write is stamped: names that hold views of the memory, and their bases, are given the write."""
    found = {view.name: view for view in _views(m, state, tensor)}
    known = record.views
    record.views = found if known is None else {n: v for n, v in known.items() if found.get(n) == v}
    holders: dict[str, ast.expr] = {}
    for view in found.values():
        holders[view.name] = ast.Name(view.name, ast.Load())
        holders[ast.unparse(view.base)] = view.base
    if (split := _split_base(m, state, tensor)) is not None:
        holders[ast.unparse(split)] = split
    holders.pop(ast.unparse(place), None)  # what the write itself is made an assignment to
    for name, node in holders.items():
        held = m.look(state, node)
        if isinstance(held, Tensor) and held.known:
            fresh = replace(held)
            state.late[fresh] = state.missed(held) | {visit}
            state.given[fresh] = {**(state.given.get(held) or {}), visit.key: name}
            m.rebind(state, node, held, fresh)


def _views(m: Machine, state: State, tensor: Tensor) -> Iterator[NamedView]:
    if len(tensor.storages) != 1 or m.scope.comprehensions:
        return
    frame = m.scope.frames[0]
    for name in m.notes.view_names.get(frame, ()):
        held = state.variables.get((frame, name))
        if isinstance(held, Tensor) and held.storages == tensor.storages and (view := _taken(m, state, name, held)):
            yield view


def _split_base(m: Machine, state: State, tensor: Tensor) -> ast.expr | None:
    """The name of what `tensor` is a part of, one of several made at once, as far as it still holds that."""
    node = tensor.split_by
    if tensor.view is not ViewKind.MULTI or not isinstance(node, ast.expr) or id(node) in m.notes.origins:
        return None
    node = m.notes.unpacked.get(id(node), node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        node = node.args[0] if node.args else node  # `enumerate(y)`
    base = _viewed(m, state, node) if isinstance(node, ast.Call) else node
    if not isinstance(base, (ast.Name, ast.Attribute)):
        return None
    held = m.look(state, base)
    return base if isinstance(held, Tensor) and held.lineage == tensor.lineage[:-1] else None


def _taken(m: Machine, state: State, name: str, held: Tensor) -> NamedView | None:
    """How `name` was given what it holds, as far as its base still holds what it was taken from."""
    node = held.made_by
    if id(node) in m.notes.origins:
        return None
    plain = held.known and not (held.detached or held.silent or held.no_grad_view or held.expanded)
    if not plain or held.view is not ViewKind.VIEW or not isinstance(node, ast.expr):
        return None
    steps, base = 0, node
    while (inner := _viewed(m, state, base)) is not None:
        steps, base = steps + 1, inner
    if not isinstance(base, (ast.Name, ast.Attribute)) or not 0 < steps < len(held.lineage):
        return None
    source = m.look(state, base)
    if not isinstance(source, Tensor) or source.lineage != held.lineage[:-steps] or source.storages != held.storages:
        return None
    view = NamedView(name, node, base)
    numbers = (m.look(state, inner) for inner in _arguments(view) if isinstance(inner, ast.Name))
    if any(isinstance(number, Tensor) for number in numbers):
        return None
    return view if _names_numbers(m, _arguments(view)) else None


def _names_numbers(m: Machine, nodes: Iterable[ast.AST]) -> bool:
    """Whether names that stand as an index are known to stand for one number: no tuple, slice or None."""
    items = (item for node in nodes for item in m.notes.read_indices.get(id(node), ()))
    return all(item.kind is IndexKind.INT for item in items if isinstance(item.node, ast.Name))


def _viewed(m: Machine, state: State, node: ast.expr) -> ast.expr | None:
    """What `node` is a view of, as it is spelled; None for a name."""
    if isinstance(node, ast.Subscript) or (isinstance(node, ast.Attribute) and node.attr in _VIEWS):
        return node.value
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    of_package = isinstance(node.func.value, ast.Name) and isinstance(m.look(state, node.func.value), Symbol)
    return (node.args[0] if node.args else None) if of_package else node.func.value


def _arguments(view: NamedView) -> Iterator[ast.AST]:
    """What stands in `view` besides its base and the names of operations; no tensor that is only asked its size."""
    waiting: list[ast.AST] = [view.view]
    while waiting:
        node = waiting.pop()
        if node is view.base or isinstance(node, ast.expr_context):
            continue
        yield node
        if isinstance(node, ast.Attribute) and node.attr in _SIZES:
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            outer = [] if node.func.attr == "size" or _is_package(node, view) else [node.func.value]
            waiting += [*outer, *node.args, *node.keywords]
        else:
            waiting += ast.iter_child_nodes(node)


def _is_package(call: ast.Call, view: NamedView) -> bool:
    """`torch.diagonal(y)`: what is viewed is the first argument."""
    assert isinstance(call.func, ast.Attribute)
    return not any(inner is view.base for inner in every_node(call.func))


def _is_item(node: ast.AST, view: NamedView) -> bool:
    """`k[0]` in `y[k[0]]`: an item of a list or dict, none of a shape."""
    if not isinstance(node, ast.Subscript) or any(inner is view.base for inner in every_node(node)):
        return False
    asked = node.value.func if isinstance(node.value, ast.Call) else node.value
    return not (isinstance(asked, ast.Attribute) and asked.attr in _SIZES | {"size"})


class Steadiness:
    """Whether a view could be taken again where a write stands: nothing that it is spelled with has changed."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self._scopes: dict[int, frozenset[str]] = {}  # by id of the scope
        self._handed_out: dict[int, frozenset[str]] = {}

    @cached_property
    def _parents(self) -> Parents:
        return parents(self.tree)

    @cached_property
    def _moving(self) -> frozenset[str]:
        """Names of attributes that are assigned outside of constructors."""
        found = set()
        for node in every_node(self.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                scope = self._parents.scope(node)
                if not isinstance(scope, ast.FunctionDef) or scope.name != "__init__":
                    found.add(node.attr)
        return frozenset(found)

    def steady(self, view: NamedView, statement: ast.stmt) -> NamedView | None:
        """`view` with the statement that takes it; None unless that comes first on every way, and stays what it is."""
        taken = self._taken(view)
        if taken is None:
            return None
        block = self._parents.indexed(taken)
        first, last = block.positions[id(taken)], self._reached(block, statement)
        if last is None or last <= first or not all(self._is_steady(node) for node in _arguments(view)):
            return None
        if last > first + 1 and any(_is_item(node, view) for node in _arguments(view)):
            return None  # a list or dict may be changed under any name
        named = names_in(view.view)
        changed = any((block.last_binding(name, last + 1) or 0) > first for name in named)
        if changed or not named.isdisjoint(self._shared(self._parents.scope(taken))):
            return None
        return replace(view, taken=taken, until=block.statements[last])

    def handed_out(self, views: Iterable[NamedView], statement: ast.stmt) -> frozenset[str]:
        """Of these views and their bases, those that the scope of `statement` hands out; attributes others have."""
        scope = self._parents.scope(statement)
        if id(scope) not in self._handed_out:
            self._handed_out[id(scope)] = handed_out(self._parents, scope)
        held = {ast.unparse(view.base): isinstance(view.base, ast.Name) for view in views}
        held |= {view.name: True for view in views}
        return frozenset(name for name, own in held.items() if not own or name in self._handed_out[id(scope)])

    def _shared(self, scope: ast.AST) -> frozenset[str]:
        """Variables that the scope, or one inside, has in common with others."""
        if id(scope) not in self._scopes:
            declared = [node for node in every_node(scope) if isinstance(node, (ast.Global, ast.Nonlocal))]
            self._scopes[id(scope)] = frozenset(name for node in declared for name in node.names)
        return self._scopes[id(scope)]

    def _taken(self, view: NamedView) -> ast.Assign | None:
        """The assignment of `view` to its name, alone or as one of several: `row, col = y[0], y[:, 0]`."""
        around = self._parents.of(view.view)
        taken = self._parents.of(around) if isinstance(around, ast.Tuple) else around
        if not isinstance(taken, ast.Assign) or len(taken.targets) != 1:
            return None
        target, value = taken.targets[0], taken.value
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            pairs = list(zip(target.elts, value.elts, strict=True))
        else:
            pairs = [(target, value)]
        named = any(isinstance(t, ast.Name) and t.id == view.name and v is view.view for t, v in pairs)
        return taken if named else None

    def _reached(self, block: Block, statement: ast.stmt) -> int | None:
        """The position in a block of the statement that `statement` is or stands in."""
        around = (block.positions.get(id(node)) for node in (statement, *self._parents.up(statement)))
        return next((position for position in around if position is not None), None)

    def _is_steady(self, node: ast.AST) -> bool:
        """Whether a part of a view gives the same again: what its names hold is looked at elsewhere."""
        if isinstance(node, ast.Attribute):
            return node.attr in _VIEWS | _SIZES or node.attr not in self._moving
        if isinstance(node, ast.Call):
            return isinstance(node.func, ast.Attribute) or builtin(node.func) == "len"
        return isinstance(node, (ast.Name, ast.Subscript, *_COMPUTED))
