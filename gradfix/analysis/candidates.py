"""Which functions are worth interpreting: those that write, or call something of the file that does."""

from __future__ import annotations

import ast
from collections.abc import Iterable

_INPLACE = "<a module built with inplace=True>"
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def worth_running(tree: ast.Module) -> frozenset[int]:
    """Ids of the nodes of functions that may meet a write, themselves or through names they use."""
    writes: dict[str, bool] = {}
    uses: dict[str, set[str]] = {}
    functions: list[tuple[_Function, str, bool, set[str]]] = []
    held = _held_names(tree)
    for owner, node in _functions(tree):
        name = getattr(node, "name", "<lambda>")
        wrote, used = _scan(node)
        if wrote and isinstance(node, ast.Lambda):
            used.add("<lambda>")
        functions.append((node, name, wrote, used))
        for key in {name, *((owner,) if owner and name in ("__init__", "forward", "__call__") else ())}:
            writes[key] = writes.get(key, False) or wrote
            uses.setdefault(key, set()).update(used)
    guilty = {_INPLACE, *(name for name, wrote in writes.items() if wrote)}
    users: dict[str, set[str]] = {}
    for name, used in uses.items():
        for inner in used | {h for u in used for h in held.get(u, ())}:
            users.setdefault(inner, set()).add(name)
    stack = list(guilty)
    while stack:
        for user in users.get(stack.pop(), ()):
            if user not in guilty:
                guilty.add(user)
                stack.append(user)
    return frozenset(
        id(node)
        for node, name, wrote, used in functions
        if wrote
        or name in guilty
        or not guilty.isdisjoint(used)
        or any(not guilty.isdisjoint(held.get(u, ())) for u in used)
    )


def _functions(tree: ast.AST, owner: str | None = None) -> Iterable[tuple[str | None, _Function]]:
    stack: list[tuple[ast.AST, str | None]] = [(tree, owner)]
    while stack:
        node, inside = stack.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield inside, child
                stack.append((child, None))
            elif isinstance(child, ast.ClassDef):
                stack.append((child, child.name))
            elif isinstance(child, ast.stmt):
                stack.append((child, inside))


def _scan(function: _Function) -> tuple[bool, set[str]]:
    wrote = False
    used: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.AugAssign):
            wrote = True
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            wrote = wrote or not (isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str))
        elif isinstance(node, ast.Call):
            wrote = wrote or any(k.arg in ("inplace", "out") for k in node.keywords)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
            wrote = wrote or _is_write_name(node.attr)
        elif isinstance(node, ast.Name):
            used.add(node.id)
    return wrote, used


def _is_write_name(name: str) -> bool:
    in_place = name.endswith("_") and not name.endswith("__") and not name.startswith("_")
    return in_place or name in ("backward", "data")


def _is_inplace(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    return any(k.arg == "inplace" for k in call.keywords) or (isinstance(first, ast.Constant) and first.value is True)


def _held_names(tree: ast.Module) -> dict[str, set[str]]:
    """For `self.attribute = …`: the names that stand on the right."""
    held: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute):
                    names = {inner.id for inner in ast.walk(node.value) if isinstance(inner, ast.Name)}
                    if any(isinstance(inner, ast.Call) and _is_inplace(inner) for inner in ast.walk(node.value)):
                        names.add(_INPLACE)
                    held.setdefault(target.attr, set()).update(names)
    return held
