"""Layers behave as dictionaries that are copied at each fork, and tell of every key that changed since."""

from __future__ import annotations

from random import Random

import pytest

from gradfix.analysis.domain.layers import Layers
from gradfix.analysis.domain.state import LAYERED, State

_Twins = tuple[Layers[int, int], dict[int, int]]


def _agree(layers: Layers[int, int], model: dict[int, int]) -> None:
    assert dict(layers.items()) == model
    assert all(layers.get(key) == model.get(key) and (key in layers) == (key in model) for key in range(12))


@pytest.mark.parametrize("seed", range(20))
def test_forks_and_writes_as_copies_of_a_dict_would(seed: int) -> None:
    random = Random(seed)
    live: list[_Twins] = [(Layers(), {})]
    for step in range(200):
        layers, model = random.choice(live)
        if random.random() < 0.4:
            live.append((layers.fork(), dict(model)))
        else:
            key = random.randrange(12)
            layers[key] = model[key] = step
    for layers, model in live:
        _agree(layers, model)


@pytest.mark.parametrize("seed", range(20))
def test_what_changed_and_what_is_shared_tell_both_sides(seed: int) -> None:
    random = Random(seed)
    first: Layers[int, int] = Layers()
    for step in range(random.randrange(30)):
        first[random.randrange(12)] = -step
        first.fork()
    second = first.fork()
    for step in range(30):
        side = random.choice((first, second))
        side[random.randrange(12)] = step
        side.fork()
    keys, shared = first.changed(second)
    for key in range(12):
        if key not in keys:
            assert first.get(key) == second.get(key) == shared.get(key)


def test_a_fork_has_layers_of_its_own_for_all_that_a_state_knows() -> None:
    state = State()
    twin = state.fork()
    layered = {name for name in State.__slots__ if isinstance(getattr(state, name), Layers)}
    assert layered == set(LAYERED)
    assert all(getattr(twin, name) is not getattr(state, name) for name in layered)
