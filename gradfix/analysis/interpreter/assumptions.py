"""What holds in the arms of branches whose test is made again, and what names held at the end of such an arm."""

from __future__ import annotations

import ast
from dataclasses import replace

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import tensors
from gradfix.analysis.interpreter.conditions import asked
from gradfix.analysis.text.repeated_tests import NOTHING, Assumptions


def of_arms(m: Machine, state: State, node: ast.If) -> tuple[Assumptions, Assumptions]:
    """What holds where the test is true, and where it is false."""
    told = m.repeated(m.scope.info).get(id(node)) if m.scope.info is not None else None
    if told is None or any(tensor.known for part in asked(node.test) for tensor in tensors(m.look(state, part))):
        return NOTHING, NOTHING
    frame = m.scope.frames[m.scope.comprehensions]
    taken, passed = (frozenset(replace(assumed, frame=frame) for assumed in arm) for arm in told)
    return taken, passed


def assume(state: State, assumed: Assumptions) -> None:
    """Go into an arm: names that an earlier branch on the same test gave their values hold those of its like arm."""
    if not assumed:
        return
    state.under |= assumed
    for one in assumed:
        for key, (merged, value) in state.recalled.get(one, {}).items():
            if state.variables.get(key) is merged:
                state.variables[key] = value


def remember(joined: State, taken: Assumptions, one: State, passed: Assumptions, other: State, test: ast.expr) -> None:
    """Behind a branch: what each of its arms gave to names."""
    if isinstance(test, ast.BoolOp) or not (taken or passed):
        return  # of several tests, one alone doesn't tell the arm
    keys = one.variables.changed(other.variables)[0]
    joined.recalled = dict(joined.recalled)
    for arm, assumed in ((one, taken), (other, passed)):
        held = {key: (joined.variables.get(key), arm.variables.get(key)) for key in keys}
        told = {key: (m, v) for key, (m, v) in held.items() if m is not None and v is not None and m is not v}
        joined.recalled.update((one_of, told) for one_of in assumed if told)
