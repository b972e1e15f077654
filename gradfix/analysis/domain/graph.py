"""The autograd graph as the analysis sees it: nodes, what they saved, and which saves were overwritten."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from gradfix.analysis.domain.values import Storage
from gradfix.analysis.facts import Tracked


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


def leaf(name: str, at: ast.AST | None = None) -> Node:
    """A leaf that requires grad, and the expression that makes it one, where that is of this file."""
    return Node(NodeKind.LEAF, name, (), Tracked.YES, at)


def assumed(name: str) -> Node:
    """The graph a caller may have put behind a tensor."""
    return Node(NodeKind.ASSUMED, name, (), Tracked.MAYBE)


def operation(op: str, inputs: Iterable[Node | None], at: ast.AST | None) -> Node | None:
    """The node of an operation, or None when no input has a graph."""
    present = tuple(dict.fromkeys(node for node in inputs if node is not None))
    if not present:
        return None
    certain = any(node.tracked is Tracked.YES for node in present)
    return Node(NodeKind.OP, op, present, Tracked.YES if certain else Tracked.MAYBE, at)


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


def in_order(visits: Iterable[Visit]) -> list[Visit]:
    """As they took place."""
    return sorted(visits, key=lambda visit: visit.tick)


def reachable(root: Node | None) -> Iterator[Node]:
    """Every node backward may pass from `root`, in no particular order."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        stack.extend(node.inputs)


def must_reach(root: Node | None, goal: Node, via: Node | None) -> bool:
    """True when backward from `root` passes `goal` whichever way the branches go.

    Alternatives that exclude `via`, the write in question, don't count where others lead through it: the question
    is asked of the runs in which that write took place.
    """
    through = _ancestors(root, via) if via is not None else set()
    memo: dict[int, bool] = {}
    stack: list[tuple[Node, bool]] = [(root, False)] if root is not None else []
    while stack:
        node, entered = stack.pop()
        if id(node) in memo:
            continue
        if node is goal:
            memo[id(node)] = True
            continue
        inputs: tuple[Node | None, ...] = node.inputs
        if node.kind is NodeKind.PHI and any(id(i) in through for i in inputs):
            inputs = tuple(i for i in inputs if id(i) in through)
        if entered:
            results = [i is not None and memo.get(id(i), False) for i in inputs]
            memo[id(node)] = bool(results) and (all(results) if node.kind is NodeKind.PHI else any(results))
            continue
        stack.append((node, True))
        stack.extend((i, False) for i in inputs if i is not None and id(i) not in memo)
    return root is not None and memo.get(id(root), False)


def _ancestors(root: Node | None, goal: Node) -> set[int]:
    """Ids of the nodes between `root` and `goal`, `goal` included."""
    order = list(reachable(root))
    users: dict[int, list[Node]] = {}
    for node in order:
        for i in node.inputs:
            if i is not None:
                users.setdefault(id(i), []).append(node)
    found: set[int] = set()
    stack = [goal] if any(node is goal for node in order) else []
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found.add(id(node))
            stack.extend(users.get(id(node), ()))
    return found


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
