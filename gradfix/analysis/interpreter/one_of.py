"""What happens to one of several lists or dicts, nobody knows which: `rows[i][j] = y`, `buckets[k].append(y)`."""

from __future__ import annotations

from collections.abc import Callable

from gradfix.analysis.domain.joins import join
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import Const, Container, Unknown, Value, containers, options


def in_one_of(m: Machine, state: State, base: Value, effect: Callable[[State, Container], None]) -> None:
    """Let something happen to the list or dict that `base` is; to each of several, it may have happened or not."""
    sure = sum(not isinstance(option, (Const, Unknown)) for option in options(base)) == 1
    arms = len(m.arms)
    for container in containers(base):
        if sure:
            effect(state, container)
            continue
        after = state.fork()
        m.enter_arm()
        effect(after, container)
        m.leave_arms(arms)
        state.adopt(join(state, after, m.statement))
