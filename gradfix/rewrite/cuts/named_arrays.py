"""The way of a cut value through arrays, under names or not, to the calls that make tensors of them again."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from gradfix.analysis.facts import Cut
from gradfix.analysis.text.nodes import every_node
from gradfix.analysis.text.scopes import parents
from gradfix.rewrite.cuts.numpy_twins import comes_from_gradients, is_maker, number_behind, tensor_behind
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import enclosing, is_literal_number
from gradfix.source import Source

_BACK = frozenset({"from_numpy", "tensor", "as_tensor"})
_REPEATED = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_INDEXING = (ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.Slice)
_MODULES = frozenset({"np", "numpy"})


@dataclass(frozen=True, slots=True)
class Back:
    """A call that makes a tensor of an array, and what stands around it."""

    call: ast.Call
    outer: ast.AST | None


@dataclass(frozen=True, slots=True)
class Detour:
    """All that computes with the arrays."""

    back: tuple[Back, ...]
    bound: tuple[tuple[str, ast.expr], ...] = ()  # names of arrays, and what they are bound to
    numbers: frozenset[str] = frozenset()  # names of numbers written out
    read_once: frozenset[str] = frozenset()  # names of arrays that one place reads, once
    fills: tuple[ast.Assign | ast.AugAssign, ...] = ()  # `a[i] = …` of arrays made by `np.zeros` and the like
    gathered: tuple[ast.expr, ...] = ()  # numbers that lists gather for NumPy
    lists: frozenset[str] = frozenset()  # their names

    @property
    def arrays(self) -> frozenset[str]:
        """The names."""
        return frozenset(name for name, _ in self.bound)

    @property
    def filled(self) -> frozenset[str]:
        """The names of those that are made first, and then filled."""
        return frozenset(name for name, value in self.bound if is_maker(value))

    @property
    def floats(self) -> frozenset[str]:
        """The names of arrays that are computed from what has a gradient."""
        found = set(self.filled)
        before = -1
        while len(found) > before:
            before = len(found)
            for name, value in self.bound:
                if name not in found and comes_from_gradients(value, found):
                    found.add(name)
        return frozenset(found)

    @property
    def expressions(self) -> tuple[ast.expr, ...]:
        """What is rewritten."""
        filling = (fill.value for fill in self.fills)
        return (*(value for _, value in self.bound), *filling, *self.gathered, *(back.call for back in self.back))

    def may_share(self, array: ast.expr) -> bool:
        """Whether an array may be the memory of a tensor that somebody else holds."""
        if isinstance(array, ast.Name):
            values = [value for name, value in self.bound if name == array.id]
            return array.id not in self.read_once or any(map(self.may_share, values))
        return tensor_behind(array) is not None or isinstance(array, ast.Subscript)


def detour_of(source: Source, cut: Cut) -> Detour | None:
    """The way of the value that `cut` cuts; None where an array goes elsewhere as well, or can't be followed."""
    back = back_again(enclosing(cut.statement, cut.node)[::-1])
    return _Way(source, cut.statement).detour() if back is None else Detour((back,))


def back_again(around: tuple[ast.AST, ...]) -> Back | None:
    """The call among the nodes around an array, innermost first, that makes a tensor of it again."""
    for node, outer in zip(around, (*around[1:], None), strict=False):  # none around a block that cuts
        if isinstance(node, ast.Call) and _name(node) in _BACK and len(node.args) == 1:
            return Back(node, outer)
        if not isinstance(node, (ast.Call, ast.Attribute, ast.BinOp, ast.UnaryOp, ast.Subscript)):
            return None
    return None


class _Way:
    """Follows the names of arrays through the function that a statement stands in."""

    def __init__(self, source: Source, statement: ast.stmt) -> None:
        self._parents = parents(names.tree_of(source))
        self._scope = names.scope_of(source, statement)
        self._inside = self._parents.bindings_in(self._scope)
        self._statement = statement
        self._bound: dict[str, list[ast.Assign]] = {}
        self._numbers: set[str] = set()
        self._often: set[str] = set()
        self._back: dict[int, Back] = {}
        self._fills: dict[int, ast.Assign | ast.AugAssign] = {}

    def detour(self) -> Detour | None:
        """The whole way, where every use of every array is part of it."""
        target = _target(self._statement) or _filled(self._statement)
        first = None if isinstance(self._scope, ast.ClassDef) else target
        waiting = [] if first is None else [first]
        while waiting:
            name = waiting.pop()
            if name in self._bound or name in self._numbers:
                continue
            following = self._follow(name)
            if following is None:
                return None
            waiting += following
        pairs = tuple((name, one.value) for name, every in self._bound.items() for one in every)
        if not self._back or not all(self._has_array(value) or is_maker(value) for _, value in pairs):
            return None
        if not {_filled(fill) for fill in self._fills.values()} <= {name for name, v in pairs if is_maker(v)}:
            return None
        once = frozenset(self._bound) - self._often
        fills = tuple(self._fills.values())
        return Detour(tuple(self._back.values()), pairs, frozenset(self._numbers), once, fills)

    def _follow(self, name: str) -> list[str] | None:
        """The names that a name leads to, from what it is bound to and from what reads it."""
        bound = self._bindings(name)
        if bound is None:
            return None
        if all(is_literal_number(one.value) for one in bound):
            self._numbers.add(name)
            return []
        self._bound[name] = bound
        found = [operand for one in bound if not is_maker(one.value) for operand in self._operands(one.value)]
        reads = []
        for node in self._inside.names.get(name, ()) if bound else ():
            filling = self._filling(node)
            if filling is not None:
                self._fills[id(filling)] = filling
                found += self._operands(filling.value)
            elif isinstance(node.ctx, ast.Load):
                reads.append(node)
        if len(reads) > 1:
            self._often.add(name)
        for node in reads:
            following = self._use(node)
            if following is None:
                return None
            found += following
        return found

    def _filling(self, node: ast.Name) -> ast.Assign | ast.AugAssign | None:
        """The statement `a[i] = …` or `a[i] += …` of which `node` is the `a`, or an `a[i]` that its value reads."""
        around = tuple(self._parents.up(node))
        statement = next((outer for outer in around if isinstance(outer, ast.stmt)), None)
        if not isinstance(statement, (ast.Assign, ast.AugAssign)) or around[-1] is not self._scope:
            return None
        return statement if _filled(statement) == node.id and isinstance(around[0], ast.Subscript) else None

    def _has_array(self, value: ast.expr) -> bool:
        """Whether it surely is one: what is a number in the first round of a loop can't be returned as a tensor."""
        inside = [node for node in ast.walk(value) if isinstance(node, ast.expr)]
        return any(tensor_behind(n) is not None or (isinstance(n, ast.Name) and n.id in self._bound) for n in inside)

    def _bindings(self, name: str) -> list[ast.Assign] | None:
        """The assignments to a name, where nothing else binds it."""
        stores = self._inside.stores.get(name)
        if not stores or name in spoken_of(self._scope):
            return None
        found = []
        for store in stores:
            around = tuple(self._parents.up(store))
            statement = next((node for node in around if isinstance(node, ast.stmt)), None)
            if not isinstance(statement, ast.Assign) or _target(statement) != name or around[-1] is not self._scope:
                return None
            found.append(statement)
        return found

    def _use(self, node: ast.Name) -> list[str] | None:
        """The names that go on from a use of an array; None where it is used for something else."""
        around = tuple(self._parents.up(node))
        if around[-1] is not self._scope:
            return None
        if any(isinstance(outer, _REPEATED) for outer in around):
            self._often.add(node.id)
        back = back_again(around)
        if back is not None:
            self._back[id(back.call)] = back
            return self._operands(back.call.args[0])
        statement = next((outer for outer in around if isinstance(outer, ast.stmt)), None)
        name = None if statement is None else _target(statement)
        return None if name is None else [name]

    def _operands(self, expression: ast.expr) -> list[str]:
        """The names of other arrays in an expression."""
        return [node.id for node in _outside_of_tensors(expression) if node.id not in _MODULES]


def _outside_of_tensors(node: ast.AST) -> Iterator[ast.Name]:
    if isinstance(node, ast.expr) and (tensor_behind(node) is not None or number_behind(node) is not None):
        return
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside_of_tensors(child)


def _target(statement: ast.stmt) -> str | None:
    """`a` of `a = …`."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else None


def _filled(statement: ast.stmt) -> str | None:
    """`a` of `a[i] = …`, where the index names slots."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AugAssign) and isinstance(statement.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
        target = statement.target
    else:
        return None
    if not isinstance(target, ast.Subscript) or not isinstance(target.value, ast.Name):
        return None
    calls = (node for node in ast.walk(target.slice) if not isinstance(node, _INDEXING))
    return None if any(isinstance(node, ast.expr) for node in calls) else target.value.id


@lru_cache(maxsize=8)
def spoken_of(scope: ast.AST) -> frozenset[str]:
    """The names that something but expressions has: an argument, an import, a function, `except`, `global`, …"""
    found: set[str] = set()
    for node in every_node(scope):
        if not isinstance(node, (ast.Name, ast.Attribute, ast.keyword, ast.Constant)):
            for _, held in ast.iter_fields(node):
                found.update(text for text in (held if isinstance(held, list) else [held]) if isinstance(text, str))
    return frozenset(found)


def _name(call: ast.Call) -> str | None:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
