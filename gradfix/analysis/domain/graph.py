"""The autograd graph as the analysis sees it: nodes, what they saved, and which saves were overwritten."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import and_, or_

from gradfix.analysis.domain.values import Storage
from gradfix.analysis.facts import Tracked
from gradfix.analysis.text.repeated_tests import NOTHING, Assumptions


class NodeKind(Enum):
    """What a node of the graph is."""

    OP = "op"
    LEAF = "leaf"  # accumulates a gradient
    ASSUMED = "assumed"  # the tensor of a caller: may or may not have a graph behind it
    PHI = "phi"  # one of its inputs, depending on the branch taken


@dataclass(eq=False, slots=True)
class Node:
    """A node, or for PHI a choice between graphs; `None` among the inputs of a PHI is "no graph"."""

    kind: NodeKind
    op: str
    inputs: tuple[Node | None, ...]
    tracked: Tracked
    at: ast.AST | None = None
    branch: ast.stmt | None = None  # of a PHI: the statement whose outcome decides
    keeps: Tracked = Tracked.NO  # whether it saved something, which backward frees
    even: bool = False  # a sum of different tensors of one shape: it gives its gradient to each of them as it is


def leaf(name: str, at: ast.AST | None = None) -> Node:
    """A leaf that requires grad, and the expression that makes it one, where that is of this file."""
    return Node(NodeKind.LEAF, name, (), Tracked.YES, at)


def assumed(name: str) -> Node:
    """The graph a caller may have put behind a tensor."""
    return Node(NodeKind.ASSUMED, name, (), Tracked.MAYBE)


def operation(op: str, inputs: Iterable[Node | None], at: ast.AST | None) -> Node | None:
    """The node of an operation, or None when no input has a graph."""
    present: dict[Node, None] = {}
    level = Tracked.MAYBE
    for node in inputs:
        if node is not None:
            present[node] = None
            if node.tracked is Tracked.YES:
                level = Tracked.YES
    return Node(NodeKind.OP, op, tuple(present), level, at) if present else None


def phi(alternatives: Iterable[Node | None], branch: ast.stmt | None) -> Node | None:
    """One of several graphs."""
    distinct = tuple(dict.fromkeys(alternatives))
    if len(distinct) == 1:
        return distinct[0]
    certain = all(node is not None and node.tracked is Tracked.YES for node in distinct)
    return Node(NodeKind.PHI, "phi", distinct, Tracked.YES if certain else Tracked.MAYBE, None, branch)


def tracked_of(node: Node | None) -> Tracked:
    """NO for a missing graph."""
    return Tracked.NO if node is None else node.tracked


@dataclass(frozen=True, eq=False, slots=True)
class Save:
    """A value autograd took for backward."""

    node: Node
    storage: Storage
    op: str
    result: bool  # the op's own result; False: one of its inputs
    at: ast.AST
    certain: bool  # False: only when an operand requires grad
    choice: object = None  # of a value that is one of several: which
    branch: ast.AST | None = None  # the statement that decided which
    guarded: bool = True  # False: backward reads it without looking whether it was written
    under: Assumptions = NOTHING  # how tests came out that are made more than once


@dataclass(frozen=True, slots=True)
class Passage:
    """How the interpreter got to a write: the entry it ran, and the calls that led from there."""

    entry: int
    calls: tuple[int, ...] = ()  # ids of the call expressions, outermost first


@dataclass(frozen=True, eq=False, slots=True)
class Visit:
    """One time the interpreter met a write."""

    key: int  # id of the write's record
    passage: Passage
    node: Node | None  # the graph node the write made
    storages: tuple[Storage, ...]  # it hits one of them
    certain: bool  # it surely takes place
    tick: int  # when, on the clock that orders writes
    silent: bool = False  # no version counts it: through `.data`, or an array


def in_order(visits: Iterable[Visit]) -> list[Visit]:
    """As they took place."""
    return sorted(visits, key=lambda visit: visit.tick)


def reachable(*roots: Node | None) -> Iterator[Node]:
    """Every node backward may pass from one of the `roots`, in no particular order."""
    seen: set[int] = set()
    stack = [*roots]
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        stack.extend(node.inputs)


class Passed:
    """What backward may pass from one node of the graph, and what it surely does."""

    def __init__(self, root: Node | None) -> None:
        self.root = root
        self.nodes: dict[int, Node] = {id(node): node for node in reachable(root)}
        self._branches = any(node.kind is NodeKind.PHI for node in self.nodes.values())
        self._users: dict[int, list[Node]] | None = None

    def surely(self, goal: Node, write: Visit | None = None) -> bool:
        """True when backward passes `goal` whichever way the branches go.

        Alternatives that exclude the `write` in question don't count where others lead through it: the question is
        asked of the runs in which it took place. Where it took place before the branch, that is all of them.
        """
        if id(goal) not in self.nodes or not self._branches:
            return id(goal) in self.nodes
        via = write.node if write is not None and id(write.node) in self.nodes else None
        users = self._used_by()
        through: set[int] | None = None
        open_inputs: dict[int, int] = {}  # of a PHI: how many alternatives aren't known to lead to the goal
        sure, todo = {id(goal)}, [goal]
        while todo:
            node = todo.pop()
            if node is self.root:
                return True
            for user in users.get(id(node), ()):
                if id(user) in sure:
                    continue
                if user.kind is NodeKind.PHI:
                    if through is None:
                        through = set() if via is None else self._above(via)
                    over = user.branch is None or _is_over(write, user.branch)
                    led = () if over else (i for i in user.inputs if id(i) in through)
                    inputs = tuple(led) or user.inputs
                    open_inputs[id(user)] = open_inputs.get(id(user), len(inputs)) - (node in inputs)
                    if open_inputs[id(user)]:
                        continue
                sure.add(id(user))
                todo.append(user)
        return False

    def always(self) -> list[Node]:
        """The nodes that backward passes whichever way the branches go.

        Of each node what backward passes from there is a set of bits, one for each node: a branch leaves what all its
        ways have in common. A set is kept until the last node that has use for it.
        """
        if not self._branches:
            return list(self.nodes.values())
        ordered = self._inputs_first()
        found: dict[int, int] = {}
        users = Counter(id(i) for node in ordered for i in node.inputs)
        for bit, node in enumerate(ordered):
            ways = [0 if i is None else found[id(i)] for i in node.inputs]
            common = reduce(and_ if node.kind is NodeKind.PHI else or_, ways, ways[0] if ways else 0)
            found[id(node)] = common | 1 << bit
            users.subtract(map(id, node.inputs))
            for i in node.inputs:
                if not users[id(i)]:
                    found.pop(id(i), None)
        passed = found[id(self.root)]
        return [node for bit, node in enumerate(ordered) if passed >> bit & 1]

    def _inputs_first(self) -> list[Node]:
        ordered: list[Node] = []
        seen: set[int] = set()
        todo = [] if self.root is None else [(self.root, False)]
        while todo:
            node, entered = todo.pop()
            if entered:
                ordered.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                todo.append((node, True))
                todo.extend((i, False) for i in node.inputs if i is not None)
        return ordered

    def between(self, goals: Iterable[Node]) -> Passed:
        """The same, as far as it depends on one of `goals`."""
        above = set[int]().union(*(self._above(goal) for goal in goals))
        return self.only({key: node for key, node in self.nodes.items() if key in above})

    def only(self, nodes: dict[int, Node]) -> Passed:
        """The same, where no more than these `nodes` is passed."""
        part = copy(self)
        part.nodes = nodes
        return part

    def trunk(self) -> dict[int, Node]:
        """By id, the nodes that every way down from the root begins with."""
        found: dict[int, Node] = {}
        node = self.root
        while node is not None and id(node) not in found:
            found[id(node)] = node
            below = [i for i in node.inputs if i is not None]
            node = below[0] if len(below) == 1 and node.kind is NodeKind.OP else None
        return found

    def users(self, node: Node) -> list[Node]:
        """The nodes it is an input of."""
        return self._used_by().get(id(node), [])

    def _above(self, goal: Node) -> set[int]:
        """Ids of the nodes between the root and `goal`, `goal` included."""
        users = self._used_by()
        found: set[int] = set()
        todo = [goal]
        while todo:
            node = todo.pop()
            if id(node) not in found:
                found.add(id(node))
                todo.extend(users.get(id(node), ()))
        return found

    def _used_by(self) -> dict[int, list[Node]]:
        """Of each node those it is an input of."""
        if self._users is None:
            self._users = {}
            for node in self.nodes.values():
                for i in dict.fromkeys(node.inputs):
                    if i is not None:
                        self._users.setdefault(id(i), []).append(node)
        return self._users


_CHOOSING = (ast.If, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return)


def _is_over(write: Visit | None, branch: ast.stmt | None) -> bool:
    """Whether a write took place before an `if`, or `a if b else c`, whichever way that goes: not in it, nor in a
    function called in it."""
    at = None if write is None or write.node is None else write.node.at
    end = getattr(at, "end_lineno", None)
    if write is None or end is None or not isinstance(branch, _CHOOSING) or end >= branch.lineno:
        return False
    return not any(id(node) in write.passage.calls for node in ast.walk(branch))


def tracked_when(root: Node | None, branches: frozenset[int], *, taken: bool) -> Tracked:
    """How `root` is tracked when these branches (ids of their statements) connect what they can, or nothing."""
    memo: dict[int, Tracked] = {}

    def value(node: Node | None) -> Tracked:
        return Tracked.NO if node is None else memo.get(id(node), Tracked.NO)

    stack: list[tuple[Node, bool]] = [(root, False)] if root is not None else []
    while stack:
        node, entered = stack.pop()
        if id(node) in memo:
            continue
        if node.kind in (NodeKind.LEAF, NodeKind.ASSUMED):
            memo[id(node)] = node.tracked
        elif not entered:
            stack.append((node, True))
            stack.extend((i, False) for i in node.inputs if i is not None)
        else:
            parts = [value(i) for i in node.inputs]
            if node.kind is NodeKind.PHI and id(node.branch) not in branches:
                memo[id(node)] = _join(parts)
            else:
                lowest = node.kind is NodeKind.PHI and not taken
                memo[id(node)] = (min if lowest else max)(parts, key=_RANK.__getitem__)
    return value(root)


_RANK = {Tracked.NO: 0, Tracked.MAYBE: 1, Tracked.YES: 2}


def _join(parts: list[Tracked]) -> Tracked:
    return parts[0] if len(set(parts)) == 1 else Tracked.MAYBE
