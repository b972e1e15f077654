"""`match`: whether a pattern fits a value, and what it binds."""

from __future__ import annotations

import ast

from gradfix.analysis.domain.flow import Flow, join_all
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import (
    UNKNOWN,
    Choice,
    Class,
    Const,
    Container,
    Instance,
    Symbol,
    Tensor,
    Value,
    is_unknown,
)
from gradfix.analysis.interpreter import bare_ways, bindings, conditions, data_tests, returns
from gradfix.analysis.interpreter import items as item_access
from gradfix.analysis.operators import objects


def run(m: Machine, state: State, node: ast.Match) -> Flow:
    """The cases that may fit, in order, up to one that surely does."""
    subject = m.evaluate(state, node.subject)
    result = Flow(None)
    ends: list[State] = []
    done = False
    arms = len(m.arms)
    by_data = data_tests.depends_on_data(m, state, node.subject, data_tests.kind_of(subject))
    for case in node.cases:
        entry = state.fork()
        fits = fit(m, entry, case.pattern, subject)
        if fits is not False and case.guard is not None:
            guarded, kind = conditions.test(m, entry, case.guard)
            by_data = by_data or data_tests.depends_on_data(m, entry, case.guard, kind)
            fits = guarded if fits or guarded is False else None
        if fits is False:
            continue
        if fits is None:
            m.enter_arm()
        inner = m.run_block(entry, case.body)
        m.leave_arms(arms, exits=fits is None and inner.leaves)
        arms = len(m.arms)
        if by_data:
            inner.returns = returns.decided_by(_branch_of(m, node, case), inner.returns)
        result.absorb(inner)
        if inner.after is not None:
            ends.append(inner.after)
        if fits:
            done = True
            break
    m.statement = node
    result.after = join_all([*ends, *([] if done else [state])], node)
    if by_data and done and result.after is not None and len(ends) == len(node.cases) == 2:
        bare_ways.bound_apart(m, result.after, _branch_of(m, node, node.cases[0]), (ends[0], ends[1]))
    return result


def _branch_of(m: Machine, node: ast.Match, case: ast.match_case) -> ast.If:
    """A case as the `if` that it is to those who ask what decides: its guard, or the subject."""
    made = m.notes.cases.get(id(case))
    if made is None:
        rest = node.cases[1].body if case is node.cases[0] and len(node.cases) == 2 else []
        made = ast.copy_location(ast.If(case.guard or node.subject, case.body, rest), node)
        m.notes.cases[id(case)] = made
    return made


def fit(m: Machine, state: State, pattern: ast.pattern, value: Value) -> bool | None:
    """Whether a value fits a pattern, None when that depends; names are bound in `state`."""
    if isinstance(pattern, ast.MatchValue):
        wanted = m.evaluate(state, pattern.value)
        return wanted.value == value.value if isinstance(wanted, Const) and isinstance(value, Const) else None
    if isinstance(pattern, ast.MatchSingleton):
        if isinstance(value, Const):
            return value.value is pattern.value
        return (
            False if isinstance(value, (Container, Instance)) or (isinstance(value, Tensor) and value.known) else None
        )
    if isinstance(pattern, ast.MatchAs):
        fits = True if pattern.pattern is None else fit(m, state, pattern.pattern, value)
        _bind(m, state, pattern.name, value)
        return fits
    if isinstance(pattern, ast.MatchOr):
        found = [fit(m, state, part, value) for part in pattern.patterns]
        return True if True in found else None if None in found else False
    if isinstance(pattern, ast.MatchSequence):
        return _sequence(m, state, pattern, value)
    if isinstance(pattern, ast.MatchMapping):
        return _mapping(m, state, pattern, value)
    return _class(m, state, pattern, value) if isinstance(pattern, ast.MatchClass) else None


def _bind(m: Machine, state: State, name: str | None, value: Value) -> None:
    if name is not None:
        bindings.bind(m, state, ast.Name(name, ast.Store()), value)


def _all(parts: list[bool | None]) -> bool | None:
    return False if False in parts else None if None in parts else True


def _sequence(m: Machine, state: State, pattern: ast.MatchSequence, value: Value) -> bool | None:
    whole = value.value if isinstance(value, Const) else None
    if isinstance(whole, (str, bytes)):
        return False
    held = isinstance(value, Container) and value.kind in ("list", "tuple", "deque")
    is_sequence = isinstance(whole, tuple) or held
    items = item_access.iterated(m, state, value, ast.Name("subject", ast.Load())) if is_sequence else None
    starred = [i for i, part in enumerate(pattern.patterns) if isinstance(part, ast.MatchStar)]
    if items is None or not items.exact or starred:
        element = items.element() if items is not None else None
        for part in pattern.patterns:
            inner = part.name if isinstance(part, ast.MatchStar) else None
            _bind(m, state, inner, UNKNOWN)
            if not isinstance(part, ast.MatchStar):
                fit(m, state, part, UNKNOWN if element is None else element)
        return None
    if len(items.values) != len(pattern.patterns):
        return False
    return _all([fit(m, state, part, item) for part, item in zip(pattern.patterns, items.values, strict=True)])


def _mapping(m: Machine, state: State, pattern: ast.MatchMapping, value: Value) -> bool | None:
    held = state.items.get(value) if isinstance(value, Container) and value.kind == "dict" else None
    parts: list[bool | None] = []
    for key, part in zip(pattern.keys, pattern.patterns, strict=True):
        position = None if held is None else held.position(m.evaluate(state, key))
        parts.append(None if held is None or position is None else True)
        item = UNKNOWN if held is None else held.element() if position is None else held.values[position]
        parts.append(fit(m, state, part, UNKNOWN if item is None else item))
    _bind(m, state, pattern.rest, UNKNOWN)
    return _all(parts)


def _class(m: Machine, state: State, pattern: ast.MatchClass, value: Value) -> bool | None:
    kind = m.evaluate(state, pattern.cls)
    parts = [_is_of(kind, value)]
    names = [*_positional(value, len(pattern.patterns)), *pattern.kwd_attrs]
    for name, part in zip(names, [*pattern.patterns, *pattern.kwd_patterns], strict=True):
        held = objects.attribute(m, state, value, name, pattern.cls) if name is not None else UNKNOWN
        parts.append(fit(m, state, part, held))
    return _all(parts)


def _is_of(kind: Value, value: Value) -> bool | None:
    if isinstance(kind, Class) and isinstance(value, Instance) and value.info is not None:
        return value.info is kind.info or value.info.descends_from(kind.info)
    if isinstance(kind, Symbol) and kind.name in ("torch.Tensor", "torch.nn.Parameter"):
        if isinstance(value, Tensor):
            return True if value.known and kind.name == "torch.Tensor" else None
        return None if isinstance(value, Choice) or is_unknown(value) else False
    return None


def _positional(value: Value, count: int) -> list[str | None]:
    """The attributes that positional patterns mean: the fields of a dataclass, in order."""
    info = value.info if isinstance(value, Instance) else None
    fields: list[str | None] = []
    for statement in info.node.body if info is not None else ():
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            fields.append(statement.target.id)
    return [*fields, *([None] * count)][:count]
