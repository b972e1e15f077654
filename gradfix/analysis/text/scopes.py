"""Where a node stands: the way up to its scope, the loops around it, and what is bound on the way."""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache

from gradfix.analysis.text.names import FUNCTIONS, SCOPES, body_names
from gradfix.analysis.text.nodes import every_node, parents_of

Loop = ast.For | ast.While


class Block:
    """Statements one after the other: where each stands, and which of them bind a name."""

    def __init__(self, statements: Sequence[ast.stmt]) -> None:
        self.statements = statements
        self.positions = {id(statement): position for position, statement in enumerate(statements)}

    @cached_property
    def _binding(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for position, statement in enumerate(self.statements):
            for name in {node.id for node in bound_in(statement)}:
                found.setdefault(name, []).append(position)
        return found

    def last_binding(self, name: str, before: int) -> int | None:
        """The position of the last statement before the position `before` that binds `name`."""
        binding = self._binding.get(name, ())
        found = bisect_left(binding, before)
        return binding[found - 1] if found else None


class Parents:
    """The way from each node of a tree to the nodes around it."""

    def __init__(self, tree: ast.AST) -> None:
        self._parents = parents_of(tree)
        self._indexed: dict[int, Block] = {}
        self._bindings: dict[int, Bindings] = {}  # by id of the scope

    def of(self, node: ast.AST) -> ast.AST | None:
        """The node around `node`."""
        return self._parents.get(id(node))

    def up(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around `node`, nearest first, up to and with the scope it stands in."""
        current = self.of(node)
        while current is not None:
            yield current
            if isinstance(current, (ast.Module, *SCOPES)):
                return
            current = self.of(current)

    def scope(self, node: ast.AST) -> ast.AST:
        """The module, class, function or lambda that `node` stands in."""
        *_, scope = self.up(node)
        return scope

    def bindings(self, node: ast.AST) -> Bindings:
        """Where the names of the scope that `node` stands in are bound."""
        return self.bindings_in(self.scope(node))

    def bindings_in(self, scope: ast.AST) -> Bindings:
        """Where the names of a scope are bound."""
        return self._bindings.setdefault(id(scope), Bindings(scope))

    def block(self, statement: ast.stmt) -> list[ast.stmt]:
        """The statements among which `statement` stands."""
        parent = self.of(statement)
        for part in ("body", "orelse", "finalbody"):
            block = getattr(parent, part, None)
            if isinstance(block, list) and any(other is statement for other in block):
                return block
        return [statement]

    def indexed(self, statement: ast.stmt) -> Block:
        """The same, with what is asked of them again and again."""
        known = self._indexed.get(id(statement))
        if known is None:
            known = Block(self.block(statement))
            self._indexed.update((number, known) for number in known.positions)
        return known


class Bindings:
    """Where the names of one scope are bound; scopes inside don't count."""

    def __init__(self, scope: ast.AST) -> None:
        self.scope = scope

    @cached_property
    def stores(self) -> dict[str, list[ast.Name]]:
        """Each assignment to a name, by name, in the order of the tree."""
        found: dict[str, list[ast.Name]] = {}
        for node in every_node(self.scope):
            if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
                found.setdefault(node.id, []).append(node)
        return found

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Of the function, where the scope is one."""
        if not isinstance(self.scope, FUNCTIONS):
            return frozenset()
        given = self.scope.args
        every = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
        return frozenset(argument.arg for argument in every if argument is not None)

    def is_seen_elsewhere(self, name: str) -> bool:
        """Whether a scope inside uses the variable, or it belongs to a scope around."""
        return name in self._shared

    @cached_property
    def _shared(self) -> frozenset[str]:
        found: set[str] = set()
        for node in every_node(self.scope):
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                found.update(node.names)
            elif isinstance(node, FUNCTIONS) and node is not self.scope:
                found |= names_in(node) - body_names(node).local
        return frozenset(found)

    @cached_property
    def names(self) -> dict[str, list[ast.Name]]:
        """Every place where a name stands, by name."""
        found: dict[str, list[ast.Name]] = {}
        for node in every_node(self.scope):
            if isinstance(node, ast.Name):
                found.setdefault(node.id, []).append(node)
        return found

    @cached_property
    def attributes(self) -> dict[str, list[ast.Attribute]]:
        """Every attribute that is named, by its name."""
        found: dict[str, list[ast.Attribute]] = {}
        for node in every_node(self.scope):
            if isinstance(node, ast.Attribute):
                found.setdefault(node.attr, []).append(node)
        return found

    def read_outside_loops(self, names: frozenset[str]) -> list[ast.Name]:
        """Where one of `names` is read or deleted, but in loops and comprehensions that go through values of one."""
        found = self._outside.get(names)
        if found is None:
            loops = (loop for name in names for loop in self._going_through.get(name, ()))
            inside = {id(inner) for loop in loops for inner in every_node(loop)}
            read = (node for name in names for node in self.names.get(name, ()) if not isinstance(node.ctx, ast.Store))
            found = self._outside[names] = [node for node in read if id(node) not in inside]
        return found

    @cached_property
    def _outside(self) -> dict[frozenset[str], list[ast.Name]]:
        return {}

    @cached_property
    def _going_through(self) -> dict[str, list[ast.AST]]:
        """The loops and comprehensions of each of their variables."""
        found: dict[str, list[ast.AST]] = {}
        for node in every_node(self.scope):
            targets = [generator.target for generator in getattr(node, "generators", [])]
            if isinstance(node, (ast.For, ast.comprehension)):
                targets.append(node.target)
            for name in {name for target in targets for name in stored_in(target)}:
                found.setdefault(name, []).append(node)
        return found


@lru_cache(maxsize=1)
def parents(tree: ast.Module) -> Parents:
    """The way up in a module; what is asked of one is asked before the next."""
    return Parents(tree)


def names_in(node: ast.AST) -> set[str]:
    """Every name that stands in `node`."""
    return {inner.id for inner in every_node(node) if isinstance(inner, ast.Name)}


def bound_in(node: ast.AST) -> Iterator[ast.Name]:
    """Every place in `node` that binds a name, or deletes it."""
    for inner in every_node(node):
        if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
            yield inner


def stored_in(node: ast.AST) -> set[str]:
    """Every name that is bound in `node`."""
    return {inner.id for inner in every_node(node) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)}


def driving_loop(loops: list[Loop], index: set[str]) -> Loop | None:
    """The outermost of `loops` (innermost first) that goes through different values of the names of an index."""
    if not loops:
        return None
    names = _with_sources(loops[-1], index)
    found = [driver for name in names if (driver := _driver(loops, name)) is not None]
    return max(found, key=lambda loop: next(i for i, other in enumerate(loops) if other is loop), default=None)


def _with_sources(loop: Loop, names: set[str]) -> set[str]:
    """`names` and those they are computed from in `loop`."""
    known: set[str] = set()
    waiting = set(names)
    assigned = [node for node in every_node(loop) if isinstance(node, ast.Assign)]
    while waiting:
        known |= waiting
        found = {n for node in assigned if stored_in_targets(node) & waiting for n in names_in(node.value)}
        waiting = found - known
    return known


def stored_in_targets(node: ast.Assign) -> set[str]:
    """The names an assignment binds."""
    return {name for target in node.targets for name in stored_in(target)}


def _driver(loops: list[Loop], name: str) -> Loop | None:
    driver: Loop | None = None
    for loop in loops:
        if driver is None:
            driver = loop if name in stored_in(loop) else None
        elif _carries(loop, name):
            driver = loop
        else:
            break
    return driver


def _carries(loop: Loop, name: str) -> bool:
    """Whether `name` goes on from round to round of `loop`, never set anew: `i += 1`, `i = i + 1`."""
    for node in every_node(loop):
        if isinstance(node, ast.Assign) and name in stored_in_targets(node) and name not in names_in(node.value):
            return False
        if isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)) and name in stored_in(node.target):
            return False
        if isinstance(node, (ast.NamedExpr, ast.AnnAssign)) and name in stored_in(node.target):
            return False
    return name in stored_in(loop)
