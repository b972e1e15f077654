"""How a call is changed so that it may not raise what it raised: values of other kinds, with other fields and keys.

Each function yields calls, the likeliest first; running them decides. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from gradfix.backward.worker.synthesis.clues import Clue
from gradfix.backward.worker.synthesis.guesses import OF_ANY, OF_SEVERAL, SIZE, Context, field_value, guesses, of_kind
from gradfix.backward.worker.synthesis.repairs import Failure, Handler, outer, places
from gradfix.backward.worker.synthesis.values import Call, Code, Fields, Plain, Several, Tensor, Value


def of_another_kind(*kinds: str) -> Handler:
    """Each value, first those that the failing statement depends on, of another kind."""

    def handler(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
        for kind in kinds:
            for path, name, value in places(call, failure):
                yield from (call.at(path, new) for new in _as_kind(kind, name, value, failure) if new != value)

    return handler


def _as_kind(kind: str, name: str, value: Value, failure: Failure) -> list[Value]:
    if kind in ("long", "bool") and isinstance(value, Tensor):
        return [replace(value, kind=kind, leaf=False)]
    if kind == "long":
        return []
    if kind == "matrix" and isinstance(value, Tensor):
        return [replace(value, kind=word) for word in ("positive", "definite")] if value.kind == "normal" else []
    if kind == "tensor":
        return [] if isinstance(value, Tensor) else [Tensor((SIZE,) * rank) for rank in (2, 1, 3, 4, 0)]
    if kind == "list" and not isinstance(value, (Several, Fields)):
        size = 2 if isinstance(value, Plain) else 3
        return [Several((value,) * size, is_list) for is_list in (True, False)]
    if kind == "int":
        return (
            []
            if isinstance(value, Plain) and type(value.value) is int
            else of_kind("int", name, Clue(), Context(False))
        )
    if kind == "str" and isinstance(value, Several):
        return [Several((Plain("a"), Plain("b")), value.is_list)]
    if kind in ("float", "callable", "module", "object", "str", "dict"):
        known = Clue(choices=[key for keys in failure.texts for key in keys])
        return of_kind(kind, name, known, Context(False))[:6]
    return []


def with_attribute(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """Something has no such attribute: then it is an object that has, or of a kind that has."""
    owner, name = match["owner"], match["name"]
    if owner == "SimpleNamespace":
        for path, _, value in places(call, failure):
            if isinstance(value, Fields) and value.maker == owner and name not in dict(value.items):
                yield call.at(path, value.having(name, field_value(name)))
        return
    if name in ("items", "keys", "values", "get"):
        yield from of_another_kind("dict")(call, failure, match)
    if owner == "Tensor" and name in ("append", "extend"):
        yield from of_another_kind("list")(call, failure, match)
    if owner != "Tensor":
        yield from of_another_kind("tensor", "module")(call, failure, match)
    yield from of_another_kind("list")(call, failure, match)
    for path, _, value in places(call, failure):
        if not isinstance(value, Fields) and outer(call, path) in failure.relevant:
            yield call.at(path, Fields(((name, field_value(name)),), "SimpleNamespace"))
    if owner == "Tensor":
        yield from of_another_kind("module", "str")(call, failure, match)


def with_key(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """Something has no such key: a dict that gets it, or one whose keys were guessed and get those of the file."""
    key = match["key"]
    for path, _, value in places(call, failure):
        if not isinstance(value, Fields) or value.maker != "dict":
            continue
        if key not in dict(value.items):
            for new in guesses(key, Clue(), Context(of_class=False))[:3]:
                yield call.at(path, value.having(key, new))
        elif len(value.items) == 1:
            inner = value.items[0][1]
            for keys in failure.texts:
                yield call.at(path, Fields(tuple((other, inner) for other in keys)))


def without(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    """The argument that isn't known, left out."""
    for path, name, _ in places(call, failure):
        if name == match["name"] and len(path) == 2:
            yield call.without(path)
    for path, _, value in places(call, failure):
        if isinstance(value, Code):
            yield from (call.at(path, Code(text)) for text in OF_ANY if text != value.text)


def of_another_arity(call: Call, failure: Failure, match: re.Match[str]) -> Iterator[Call]:
    for path, _, value in places(call, failure):
        if isinstance(value, Code):
            yield from (call.at(path, Code(text)) for text in (*OF_ANY, *OF_SEVERAL, "lambda: randn(4)"))
