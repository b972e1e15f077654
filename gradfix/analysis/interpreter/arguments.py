"""Arguments that no call gives: made from what the signature of a function says, and how its body uses them."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gradfix.analysis.domain.annotations import argument, counted, promised
from gradfix.analysis.domain.operations import outside
from gradfix.analysis.domain.state import State
from gradfix.analysis.domain.values import DEVICE, NONE, UNKNOWN, Choice, Number, Opaque, Tensor, Value, is_whole
from gradfix.analysis.operators import objects
from gradfix.analysis.text.names import is_other_annotation

# What people call tensors of integers and bools, which never require grad.
_DISCRETE = re.compile(r"(^|_)(index|indices|idx|idxs|ids|mask|masks|label|labels|length|lengths|lens)$")
_SHAPE = re.compile(r"(^|_)shapes?$")  # what people call sizes


@dataclass(frozen=True, slots=True)
class Arguments:
    """The parameters of one function."""

    state: State
    annotations: Mapping[str, ast.expr | None]
    defaults: Mapping[str, ast.expr]
    shown: frozenset[str]  # used as only tensors can be used
    forward: bool  # of a module: what it is given is mostly a tensor
    lists: frozenset[str] = frozenset()  # used as lists can be used, and not otherwise

    def make(self, name: str) -> Value:
        """What stands for the parameter `name`."""
        annotation, default = self.annotations.get(name), self.defaults.get(name)
        discrete = _DISCRETE.search(name) is not None
        promise = promised(self.state, name, annotation, discrete=discrete)
        if isinstance(promise, Tensor):
            return _or_none(promise, default)
        if name in self.shown and (promise is None or not counted(promise)):
            return _or_none(argument(self.state, name, known=True, discrete=discrete), default)
        if promise is not None:
            return promise
        if name == "device":
            return DEVICE
        if _SHAPE.search(name):
            return objects.some_sizes(self.state)
        if is_other_annotation(annotation):
            return outside(self.state, name)
        if (told := _told_by(default)) is not None:
            return told
        known = self.forward and name != "self" and name not in self.lists
        made = argument(self.state, name, known=known, discrete=discrete)
        return _or_none(made, default)


def _or_none(made: Value, default: ast.expr | None) -> Value:
    return Choice((made, NONE)) if isinstance(default, ast.Constant) and default.value is None else made


def _told_by(default: ast.expr | None) -> Value | None:
    """What a parameter is by its default, where that isn't None."""
    if isinstance(default, ast.Constant) and default.value is not None:
        kind = type(default.value).__name__
        return Number(kind) if kind in ("int", "float", "bool") else UNKNOWN
    if isinstance(default, ast.Tuple):
        return UNKNOWN
    return Opaque() if isinstance(default, (ast.List, ast.Dict)) else None  # it keeps what the body puts there


def as_annotated(state: State, name: str, value: Value, annotation: ast.expr | None) -> Value:
    """`value`, or what the annotation says where nothing shows a tensor with a graph: `width: int`, `LongTensor`."""
    if annotation is None or not isinstance(value, Tensor):
        return value
    promise = promised(state, name, annotation)
    if isinstance(promise, Tensor) and is_whole(promise.dtype) and (value.dtype is None or value.dtype[0] == "?"):
        return promise
    return promise if promise is not None and not value.known and counted(promise) else value
