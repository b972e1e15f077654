"""The way of a cut value through arrays, under names or not, to the calls that make tensors of them again."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from gradfix.analysis.facts import Cut
from gradfix.rewrite.cuts.numpy_twins import tensor_behind
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import enclosing
from gradfix.rewrite.text.scopes import path_to
from gradfix.source import Source

_BACK = frozenset({"from_numpy", "tensor", "as_tensor"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_MODULES = frozenset({"np", "numpy"})


@dataclass(frozen=True, slots=True)
class Detour:
    """All that computes with the arrays."""

    back: tuple[ast.Call, ...]  # calls that make a tensor of an array
    bound: tuple[tuple[str, ast.expr], ...] = ()  # names of arrays, and what they are bound to

    @property
    def arrays(self) -> frozenset[str]:
        """The names."""
        return frozenset(name for name, _ in self.bound)

    @property
    def expressions(self) -> tuple[ast.expr, ...]:
        """What is rewritten."""
        return (*(value for _, value in self.bound), *self.back)

    def may_share(self, array: ast.expr) -> bool:
        """Whether an array may be the memory of a tensor that is there already."""
        if isinstance(array, ast.Name):
            return any(self.may_share(value) for name, value in self.bound if name == array.id)
        return tensor_behind(array) is not None or isinstance(array, ast.Subscript)


def detour_of(source: Source, cut: Cut) -> Detour | None:
    """The way of the value that `cut` cuts; None where an array goes elsewhere as well, or can't be followed."""
    call = _back_again(enclosing(cut.statement, cut.node))
    return _Way(source, cut.statement).detour() if call is None else Detour((call,))


def _back_again(outwards: tuple[ast.AST, ...]) -> ast.Call | None:
    """The call of the statement that makes a tensor of the array again."""
    for node in reversed(outwards):
        if isinstance(node, ast.Call) and _name(node) in _BACK and len(node.args) == 1:
            return node
        if not isinstance(node, (ast.Call, ast.Attribute, ast.BinOp, ast.UnaryOp, ast.Subscript, ast.keyword)):
            return None
    return None


class _Way:
    """Follows the names of arrays through the function that a statement stands in."""

    def __init__(self, source: Source, statement: ast.stmt) -> None:
        self._tree = names.tree_of(source)
        self._scope = names.scope_of(source, statement)
        self._statement = statement
        self._names = [node for node in ast.walk(self._scope) if isinstance(node, ast.Name)]
        self._bound: dict[str, list[ast.Assign]] = {}
        self._back: dict[int, ast.Call] = {}

    def detour(self) -> Detour | None:
        """The whole way, where every use of every array is part of it."""
        first = _target(self._statement)
        waiting = [] if first is None else [first]
        while waiting:
            name = waiting.pop()
            if name in self._bound:
                continue
            bound = self._bindings(name)
            if bound is None:
                return None
            self._bound[name] = bound
            waiting += [operand for one in bound for operand in self._operands(one.value)]
            for node in self._names:
                if node.id == name and isinstance(node.ctx, ast.Load):
                    following = self._use(node)
                    if following is None:
                        return None
                    waiting += following
        if not self._back:
            return None
        pairs = tuple((name, one.value) for name, every in self._bound.items() for one in every)
        return Detour(tuple(self._back.values()), pairs)

    def _bindings(self, name: str) -> list[ast.Assign] | None:
        """The assignments to a name, where nothing else binds it."""
        stores = [node for node in self._names if node.id == name and not isinstance(node.ctx, ast.Load)]
        if not stores or _is_argument(self._scope, name):
            return None
        found = []
        for store in stores:
            around = path_to(self._tree, store)
            statement = next((node for node in around if isinstance(node, ast.stmt)), None)
            if not isinstance(statement, ast.Assign) or _target(statement) != name:
                return None
            found.append(statement)
        return found

    def _use(self, node: ast.Name) -> list[str] | None:
        """The names that go on from a use of an array; None where it is used for something else."""
        around = path_to(self._tree, node)
        inside = around[: next((i for i, n in enumerate(around) if n is self._scope), len(around))]
        if any(isinstance(outer, _FUNCTIONS) for outer in inside):
            return None
        call = _back_again(tuple(reversed(around)))
        if call is not None:
            self._back[id(call)] = call
            return self._operands(call.args[0])
        statement = next((outer for outer in around if isinstance(outer, ast.stmt)), None)
        name = None if statement is None else _target(statement)
        return None if name is None else [name]

    def _operands(self, expression: ast.expr) -> list[str]:
        """The names of other arrays in an expression."""
        return [node.id for node in _outside_of_tensors(expression) if node.id not in _MODULES]


def _outside_of_tensors(node: ast.AST) -> Iterator[ast.Name]:
    if isinstance(node, ast.expr) and tensor_behind(node) is not None:
        return
    if isinstance(node, ast.Name):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside_of_tensors(child)


def _target(statement: ast.stmt) -> str | None:
    """`a` of `a = …`."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else None


def _is_argument(scope: ast.AST, name: str) -> bool:
    given = scope.args if isinstance(scope, _FUNCTIONS) else None
    return given is not None and any(isinstance(a, ast.arg) and a.arg == name for a in ast.walk(given))


def _name(call: ast.Call) -> str | None:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
