"""Tests that a function makes more than once of what it never changes: each call goes the same way at all of them.

What one arm of `if flag:` saves isn't what `if not flag:` overwrites further down.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gradfix.analysis.text.nodes import Function, every_node, nodes_of

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_GROWS = frozenset("append appendleft extend insert add update setdefault clear pop popleft popitem remove".split())


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a branch was taken on: `subject` is or isn't `value`, or with `value` None is or isn't true."""

    subject: str  # as it is spelled
    value: str | None  # a constant, as it is spelled
    holds: bool
    frame: int = 0  # of the call

    def excludes(self, other: Assumption) -> bool:
        """Whether both can't be so in one call."""
        if (self.subject, self.frame) != (other.subject, other.frame):
            return False
        if self.value == other.value:
            return self.holds is not other.holds
        return self.holds and other.holds and None not in (self.value, other.value)  # equal to two constants


Assumptions = frozenset[Assumption]
NOTHING: Assumptions = frozenset()


def exclude(one: Assumptions, other: Assumptions) -> bool:
    """Whether no call comes by both places where these were made."""
    return any(a.excludes(b) for a in one for b in other)


def repeated_tests(function: Function, tree: ast.Module) -> Mapping[int, tuple[Assumptions, Assumptions]]:
    """By id of each `if` whose subject another one tests, too: what holds in its two arms.

    `tree`: the file of the function, whose other functions may change what it tests while it runs.
    """
    nodes = nodes_of(function)
    told = {id(node): (_told(node.test, True), _told(node.test, False)) for node in nodes if isinstance(node, ast.If)}
    subjects = Counter(subject for arms in told.values() for subject in {a.subject for arm in arms for a in arm})
    again = {subject for subject, count in subjects.items() if count > 1}
    if not again or _calls_itself(function, nodes):
        return {}
    first = min(node.lineno for node in nodes if isinstance(node, ast.If))
    changing, growing = _changing(nodes, first), _growing(nodes)

    def stays(assumed: Assumption) -> bool:
        parts = assumed.subject.split(".")
        grows = assumed.value is None and parts[-1] in growing  # `if seen:` of a list that is appended to
        return assumed.subject in again and changing.isdisjoint(parts) and not grows

    if not any(map(stays, (assumed for arms in told.values() for arm in arms for assumed in arm))):
        return {}
    changing |= _changed_by_functions(tree)
    kept = {key: (frozenset(filter(stays, arms[0])), frozenset(filter(stays, arms[1]))) for key, arms in told.items()}
    return {key: arms for key, arms in kept.items() if arms[0] or arms[1]}


def _told(test: ast.expr, holds: bool) -> list[Assumption]:
    """What follows from a test that comes out so."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _told(test.operand, not holds)
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) is holds:
        return [assumed for part in test.values for assumed in _told(part, holds)]
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.comparators[0], ast.Constant):
        negated = isinstance(test.ops[0], (ast.IsNot, ast.NotEq))
        subject, value = _spelled(test.left), test.comparators[0].value
        if not subject or not (negated or isinstance(test.ops[0], (ast.Is, ast.Eq))):
            return []
        equal = holds is not negated
        truth = [Assumption(subject, None, bool(value))] if equal else []
        if isinstance(value, (int, float, complex)):  # `1 == 1.0 == True`, of which none is the other
            equals = isinstance(test.ops[0], (ast.Eq, ast.NotEq))
            return [*([Assumption(subject, f"number {hash(value)}", equal)] if equals else []), *truth]
        return [Assumption(subject, repr(value), equal), *truth]
    subject = _spelled(test)
    return [Assumption(subject, None, holds)] if subject else []


def _spelled(node: ast.expr) -> str:
    """`self.flag`; "" for anything but names and attributes."""
    if isinstance(node, ast.Name):
        return node.id
    around = _spelled(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{around}.{node.attr}" if around and isinstance(node, ast.Attribute) else ""


def _calls_itself(function: Function, nodes: Sequence[ast.AST]) -> bool:
    """True where an inner call of the same function tests flags of its own."""
    called = (node.func for node in nodes if isinstance(node, ast.Call))
    names = (getattr(func, "id", getattr(func, "attr", None)) for func in called)
    return getattr(function, "name", None) in names


def _changing(nodes: Sequence[ast.AST], line: int) -> set[str]:
    """Names and attributes bound, wholly or in part; not names bound once only, before that line and in no loop."""
    bound = Counter[str]()
    late: set[str] = set()
    again = {id(inner) for node in nodes if isinstance(node, _LOOPS) for inner in every_node(node)}
    for node in nodes:
        if node.__class__ in _NAMING:
            late.update(_bound_otherwise(node))
        if isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
            held = node.value if isinstance(node, ast.Subscript) else node
            name = held.id if isinstance(held, ast.Name) else getattr(held, "attr", "")
            bound[name] += 1
            if held is not node or not isinstance(node, ast.Name) or node.lineno >= line or id(node) in again:
                late.add(name)
    return late | {name for name, count in bound.items() if count > 1}


_DEFINING = {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef}
_NAMING = _DEFINING | {ast.Global, ast.Nonlocal, ast.alias, ast.Call, ast.ExceptHandler}
_NAMING |= {ast.MatchAs, ast.MatchStar, ast.MatchMapping}


def _bound_otherwise(node: ast.AST) -> Iterable[str]:
    """What a node binds, or may let others bind, that isn't written as a name: `except E as e`, `case [a, *b]`, …"""
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return node.names
    if isinstance(node, ast.alias):
        return ((node.asname or node.name).partition(".")[0],)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("train", "eval"):
        return ("training",)
    names = (getattr(node, "name", None), getattr(node, "rest", None))  # of a mapping
    return [name for name in names if isinstance(name, str)]


@lru_cache(maxsize=1)
def _changed_by_functions(tree: ast.Module) -> frozenset[str]:
    """Attributes and outer names that a function of a file changes; `__init__` does so for a new object."""
    found: set[str] = set()
    for function in every_node(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and function.name != "__init__":
            for node in nodes_of(function):
                if node.__class__ in _CHANGING:
                    found.update(_changed_by(node))
    return frozenset(found)


_CHANGING = frozenset({ast.Global, ast.Nonlocal, ast.Call, ast.Attribute, ast.Subscript})


def _changed_by(node: ast.AST) -> Iterable[str]:
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return node.names
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "setattr":
        given = (getattr(part, "value", None) for part in node.args[1:2])
        return [name for name in given if isinstance(name, str)]
    changed: ast.AST | None = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _GROWS:
        changed = node.func.value
    elif isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
        changed = node.value if isinstance(node, ast.Subscript) else node
    return (changed.attr,) if isinstance(changed, ast.Attribute) else ()


def _growing(nodes: Sequence[ast.AST]) -> set[str]:
    """Names and attributes of objects that a method may change."""
    called = (node.func.value for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    return {_spelled(value).rpartition(".")[2] for value in called}
