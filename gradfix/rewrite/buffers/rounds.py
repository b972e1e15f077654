"""What is the same in every round of a loop: sizes, counters that start anew, tests of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Set
from dataclasses import dataclass

from gradfix import torch_ops
from gradfix.analysis.facts import Spelling
from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.scopes import Bindings, Parents
from gradfix.rewrite.buffers.lasting import ASKED, is_lasting, packages_of
from gradfix.rewrite.text.scope_uses import end_of, start_of

_GROWING = frozenset("append extend pop insert remove clear add update".split())
_COUNTING = frozenset({"range", "len", "reversed", "enumerate", "zip"})
_INDEX = (ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Tuple, ast.Slice)


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of a loop, with all that lies in it, and what comes before it from the statement `since` on."""

    around: Parents
    bindings: Bindings
    loop: ast.For | ast.While
    since: ast.stmt
    spelling: Spelling

    def keep(self, made: ast.expr) -> bool:
        """Whether what makes a buffer would make the same one in every round."""
        packages = packages_of(self.spelling)
        fixed = all(node.id in packages or self._is_fixed(node) for node in _names(made))
        return fixed and _asks_sizes(made, packages)

    def writes_alike(self, name: ast.Name, loop: ast.For | ast.While) -> bool:
        """Whether each round of `loop` makes the write `name[i] = v` as often, and to the same places."""
        target = self.around.of(name)
        if not isinstance(target, ast.Subscript) or not self._is_alike(target.slice, loop):
            return False
        inner: ast.AST = target
        for node in self.around.up(target):
            if node is loop:
                return True
            if isinstance(node, ast.If):
                if not self._is_alike(node.test, loop):
                    return False
            elif isinstance(node, ast.For):
                if any(inner is statement for statement in node.orelse) or not self._counts_alike(node.iter):
                    return False
            elif not isinstance(node, ast.Assign):
                return False
            inner = node
        return False

    def _is_alike(self, index: ast.expr, loop: ast.For | ast.While) -> bool:
        """Numbers, made of what is fixed and of counters that start anew in every round of `loop`."""
        nodes = (node for node in ast.walk(index) if isinstance(node, ast.expr))
        return all(isinstance(node, _INDEX) and not _asks_members(node) for node in nodes) and all(
            self._is_fixed(node) or self._is_counter(node, loop) for node in _names(index)
        )

    def _is_fixed(self, name: ast.Name) -> bool:
        """Whether nothing binds the name, or changes what it stands for, from `since` to the end of the loop."""
        stores = self.bindings.stores.get(name.id, ())
        known = name.id in self.bindings.parameters or bool(stores) or builtin(name) in _COUNTING
        if not known or self.bindings.is_seen_elsewhere(name.id) or any(self._is_inside(node) for node in stores):
            return False
        inside = (node for node in self.bindings.names.get(name.id, ()) if self._is_inside(node))
        sized = name.id in self._sized()
        if any(map(self._may_grow if sized else self._changes, inside)):
            return False
        if builtin(name) in _COUNTING:
            return not stores
        packages = packages_of(self.spelling)
        return self._asks_kind(name) or is_lasting(self.around, self.bindings, name.id, packages, sized=sized)

    def _asks_kind(self, name: ast.Name) -> bool:
        """Whether a tensor is asked for its sizes and its kind alone: `x.shape`, `zeros_like(x)`."""
        outer = self.around.of(name)
        if isinstance(outer, ast.Call):
            made = outer.func.attr if isinstance(outer.func, ast.Attribute) else getattr(outer.func, "id", "")
            return made.endswith("_like") and outer.args[:1] == [name]
        if not isinstance(outer, ast.Attribute):
            return False
        inside = (self.around.of(node) for node in self.bindings.names.get(name.id, ()) if self._is_inside(node))
        called = {node.attr for node in inside if isinstance(node, ast.Attribute)}
        tensor = all(attr in ASKED or torch_ops.method(attr) is not None for attr in called)
        return tensor or outer.attr in ("dtype", "device")

    def _changes(self, name: ast.Name) -> bool:
        """Whether something is done to what the name stands for, in place."""
        outer = self.around.of(name)
        if isinstance(outer, ast.Attribute):
            return not isinstance(outer.ctx, ast.Load) or outer.attr.endswith("_") or outer.attr in _GROWING
        return isinstance(outer, ast.Subscript) and not isinstance(outer.ctx, ast.Load) and outer.value is name

    def _may_grow(self, name: ast.Name) -> bool:
        """Whether a list gets to somebody who may add to it."""
        outer = self.around.of(name)
        if isinstance(outer, ast.Call):
            return builtin(outer.func) not in _COUNTING
        if isinstance(outer, ast.Attribute):
            return outer.attr not in ASKED
        read = isinstance(outer, ast.Subscript) and isinstance(outer.ctx, ast.Load)
        return not read and not (isinstance(outer, (ast.For, ast.comprehension)) and outer.iter is name)

    def _is_inside(self, node: ast.expr) -> bool:
        return start_of(self.since) < start_of(node) < end_of(self.loop) and self.around.of(node) is not self.since

    def _is_counter(self, name: ast.Name, loop: ast.For | ast.While) -> bool:
        """Whether all that binds the name are loops inside of `loop` that count alike in every round."""
        stores = [node for node in self.bindings.stores.get(name.id, ()) if self._is_inside(node)]
        counting = [self._counting_loop(node, loop) for node in stores]
        return bool(stores) and all(inner is not None and self._counts_alike(inner.iter) for inner in counting)

    def _counting_loop(self, store: ast.Name, loop: ast.For | ast.While) -> ast.For | None:
        """The loop inside of `loop` whose variable a name is."""
        first, last = start_of(loop.body[0]), end_of(loop.body[-1])
        node: ast.AST = store
        for outer in self.around.up(store):
            if isinstance(outer, ast.For):
                return outer if node is outer.target and first <= start_of(outer) < last else None
            if not isinstance(outer, (ast.Tuple, ast.List)):
                return None
            node = outer
        return None

    def _counts_alike(self, counted: ast.expr) -> bool:
        """`range(n)`, `enumerate(xs)`: of fixed sizes, and nothing that can be gone through only once."""
        if isinstance(counted, ast.Name):
            return self._is_fixed(counted) and counted.id in self._sized()
        if not isinstance(counted, ast.Call) or counted.keywords:
            return False
        if builtin(counted.func) == "range":
            return all(_asks_sizes(part) and all(map(self._is_fixed, _names(part))) for part in counted.args)
        return builtin(counted.func) in _COUNTING - {"len"} and all(map(self._counts_alike, counted.args))

    def _sized(self) -> set[str]:
        """The names whose length is asked for."""
        calls = (self.around.of(node) for node in self.bindings.names.get("len", ()) if builtin(node))
        asked = (call.args[0] for call in calls if isinstance(call, ast.Call) and call.args)
        return {node.id for node in asked if isinstance(node, ast.Name)}


def _asks_members(node: ast.expr) -> bool:
    """`i in seen`: what is gone through only once has fewer each time."""
    return isinstance(node, ast.Compare) and any(isinstance(operator, (ast.In, ast.NotIn)) for operator in node.ops)


def _names(expression: ast.expr) -> Iterator[ast.Name]:
    return (node for node in ast.walk(expression) if isinstance(node, ast.Name))


def _asks_sizes(expression: ast.expr, packages: Set[str] = frozenset()) -> bool:
    """Whether an expression asks tensors for nothing but sizes and kinds."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Attribute):
            of = node.value.id if isinstance(node.value, ast.Name) else None
            if of is None or not (of in packages or node.attr in ASKED or node.attr.startswith("new_")):
                return False
        elif isinstance(node, ast.Subscript):
            if not isinstance(node.value, ast.Attribute):
                return False
        elif isinstance(node, ast.expr) and not isinstance(node, (*_INDEX, ast.Call, ast.keyword)):
            return False
    return True
