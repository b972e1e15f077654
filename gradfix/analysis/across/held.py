"""What the objects of a class hold, told from its text: parameters, buffers, and layers of torch.nn."""

from __future__ import annotations

import ast
from collections.abc import Callable

from gradfix import torch_ops
from gradfix.analysis.effects import Constant
from gradfix.analysis.imports import Held
from gradfix.analysis.text.class_attributes import assignments, registrations

_PARAMETERS = frozenset({"torch.nn.Parameter", "torch.nn.parameter.Parameter"})
_CONTAINERS = frozenset({"Sequential", "ModuleList", "ModuleDict"})  # what they hold isn't told


def held_by(node: ast.ClassDef, qualified: Callable[[ast.expr], str]) -> dict[str, Held]:
    """What a class gives its objects under names that always mean the same kind of thing.

    `qualified` tells what a name of its module means.
    """
    found: dict[str, set[Held | None]] = {}
    for name, value in assignments(node):
        found.setdefault(name, set()).add(_of_value(value, qualified))
    for method, name, registered in registrations(node):
        found.setdefault(name, set()).add(_of_registration(method, registered, qualified))
    return {name: one for name, kinds in found.items() if len(kinds) == 1 and (one := next(iter(kinds))) is not None}


def _of_registration(method: str, value: ast.expr | None, qualified: Callable[[ast.expr], str]) -> Held | None:
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return None
    if method in ("register_buffer", "register_parameter"):
        return Held(method.removeprefix("register_"))
    return _of_value(value, qualified)


def _of_value(value: ast.expr, qualified: Callable[[ast.expr], str]) -> Held | None:
    if not isinstance(value, ast.Call) or not isinstance(value.func, (ast.Name, ast.Attribute)):
        return None
    name = qualified(value.func)
    if name in _PARAMETERS:
        grad = next((keyword.value for keyword in value.keywords if keyword.arg == "requires_grad"), None)
        return Held("parameter") if grad is None and len(value.args) == 1 else None
    short = name.rpartition(".")[2]
    if not name.startswith("torch.nn.") or short in _CONTAINERS or torch_ops.module(short) is None:
        return None
    if any(isinstance(one, ast.Starred) or _is_true(one) for one in value.args) or _may_write(value):
        return None  # one that works in place is mended where it is made
    keywords = tuple((k.arg or "", *_constant(k.value)) for k in value.keywords)
    return Held(short, len(value.args), keywords)


def _may_write(call: ast.Call) -> bool:
    return any(keyword.arg in (None, "inplace") for keyword in call.keywords)


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _constant(node: ast.expr) -> tuple[bool, Constant]:
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(node, ast.Constant) and isinstance(value, (bool, int, float, str, type(None))):
        return True, value
    return False, None
