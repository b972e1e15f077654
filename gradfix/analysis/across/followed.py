"""Classes whose objects other files can follow as their own: those that their text alone tells everything of."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from gradfix.analysis.across.definitions import dotted
from gradfix.analysis.effects import Constant
from gradfix.analysis.imports import Definition
from gradfix.analysis.text.nodes import every_node
from gradfix.analysis.text.patches import patched

if TYPE_CHECKING:
    from gradfix.analysis.across.opened import OpenModule

_ALONE = frozenset({"object", "ABC", "abc.ABC"})
_FIELDS = frozenset({"dataclass", "dataclasses.dataclass"})
# What makes objects otherwise, or answers where an attribute is asked for.
_TAKING_OVER = frozenset(
    "__new__ __getattr__ __getattribute__ __setattr__ __delattr__ __init_subclass__ __set_name__ __get__".split()
)


def _stands_alone(node: ast.ClassDef) -> bool:
    """Whether a class has no bases, and Python makes its objects and finds their attributes as always."""
    decorators = (dotted(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list)
    methods = {s.name for s in node.body if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef))}
    plain = all(dotted(base) in _ALONE for base in node.bases) and not node.keywords
    return plain and all(d in _FIELDS for d in decorators) and _TAKING_OVER.isdisjoint(methods)


def definition_of(node: ast.ClassDef, module: OpenModule) -> Definition:
    """The text of a class of a module, and what it asks the module for."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    lines = module.source.text.split("\n")[first - 1 : node.end_lineno]
    names = sorted({one.id for one in every_node(node) if isinstance(one, ast.Name)})
    constants = _constants(module.tree)
    return Definition(
        module.file,
        first,
        _stands_alone(node),
        "\n".join(lines),
        tuple((name, target) for name in names if (target := _target(name, module)) is not None),
        tuple((name, constants[name]) for name in names if name in constants and name not in module.index),
        frozenset(name for owner, name in patched(module.tree) if owner == node.name),
    )


def _target(name: str, module: OpenModule) -> str | None:
    known = module.index.get(name)
    if isinstance(known, str):
        return module.own.absolute(known)
    return None if known is None else f"{module.name}.{name}"


@lru_cache(maxsize=64)  # a module has several classes
def _constants(tree: ast.Module) -> Mapping[str, Constant]:
    """The variables that the top level sets to a number, a string, True, False or None, and nobody sets again."""
    stored = (one for one in every_node(tree) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
    bound = Counter(one.id for one in stored)
    found: dict[str, Constant] = {}
    for statement in tree.body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and isinstance(statement.value, ast.Constant):
            value = statement.value.value
            for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
                is_constant = isinstance(value, (bool, int, float, str, type(None)))
                if is_constant and isinstance(target, ast.Name) and bound[target.id] == 1:
                    found[target.id] = value  # type: ignore[assignment]  # one of these
    return found
