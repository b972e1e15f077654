"""Dictionaries: displayed, copied, united and made of keys. All of them hold the very objects they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.state import Items, State, at_most_twice
from gradfix.analysis.domain.values import Const, Container, Value

Entry = tuple[Value | None, Value]  # a key and its value; without a key, something that is spread out
_NAMED = 64  # keys of `dict.fromkeys` that are told apart


def displayed(state: State, entries: Sequence[Entry]) -> Container:
    """`{key: value, **other}`."""
    parts: list[Items] = []
    for key, value in entries:
        if key is None:
            parts.append(_held(state, value))
        else:
            named = isinstance(key, Const)
            parts.append(Items((value,), named, (key.value,) if isinstance(key, Const) else None))
    return state.container("dict", _merged(parts))


def copied(state: State, source: Container, keywords: Mapping[str, Value], default: Value | None = None) -> Container:
    """`dict(source, **keywords)` of another dictionary."""
    more = Items(tuple(keywords.values()), True, tuple(keywords))
    return state.container("dict", _merged([_held(state, source), more]), default)


def united(state: State, left: Container, right: Container) -> Container:
    """`left | right`."""
    return state.container("dict", _merged([_held(state, left), _held(state, right)]), left.default)


def of_keys(state: State, keys: Items, value: Value) -> Container:
    """`dict.fromkeys(keys, value)`: one object under every key."""
    names = [key.value for key in keys.values if isinstance(key, Const)]
    if keys.exact and len(names) == len(keys.values) <= _NAMED:
        distinct = tuple(dict.fromkeys(names))
        return state.container("dict", Items((value,) * len(distinct), True, distinct))
    return state.container("dict", Items((value, value), False))


def _held(state: State, value: Value) -> Items:
    """What a dictionary holds; nothing is known of what is none."""
    held = state.items.get(value) if isinstance(value, Container) and value.kind in ("dict", "modules") else None
    return Items((), False) if held is None else held


def _merged(parts: Sequence[Items]) -> Items:
    """All entries, the later ones in the place of earlier ones under the same key."""
    if all(part.exact and len(part.keys or ()) == len(part.values) for part in parts):
        merged = {key: value for part in parts for key, value in zip(part.keys or (), part.values, strict=True)}
        return Items(tuple(merged.values()), True, tuple(merged))
    return Items(at_most_twice([value for part in parts for value in part.values]), False)


def has_key(m: Machine, state: State, key: Value, container: Value) -> bool | None:
    """Whether a dictionary has a key: only the top level knows all that was put into it before."""
    held = state.items.get(container) if isinstance(container, Container) and container.kind == "dict" else None
    if m.entry or held is None or not held.exact or not isinstance(key, Const) or container in m.notes.lent:
        return None
    return key.value in (held.keys or ())
