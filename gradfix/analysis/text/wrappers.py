"""Decorators after which a function gives something else, or gets something else, than its text says."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradfix.analysis.text.nodes import Function, every_node
from gradfix.analysis.text.parameters import named_of

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def alters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function that a decorator puts in the place of another surely changes what that is given, or gives.

    `return fn(*args).clone()`; but not where nothing shows what it does, as `return torch.jit.script(fn)`.
    """
    return any(_changes(wrapper, handed) for wrapper, handed in _wrappers(node, frozenset()))


def _wrappers(node: Function, handed: frozenset[str]) -> Iterator[tuple[Function, frozenset[str]]]:
    """The functions inside, with the names of what those around them were handed."""
    handed |= _parameters(node)
    todo: list[ast.AST] = list(ast.iter_child_nodes(node))
    while todo:
        inner = todo.pop()
        if isinstance(inner, (*_FUNCTIONS, ast.Lambda)):
            yield inner, handed
            yield from _wrappers(inner, handed)
        else:
            todo += ast.iter_child_nodes(inner)


def _changes(wrapper: Function, handed: frozenset[str]) -> bool:
    nodes = list(every_node(wrapper))
    calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in handed]
    if not calls:
        return False
    own = _parameters(wrapper) - {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if not all(_hands_on(call, own) for call in calls):
        return True
    given = list(_returned(wrapper, nodes))
    results = _names_of(calls, nodes)
    return any(not _is_one_of(value, calls, results) and _mentions(value, calls, results) for value in given)


def _hands_on(call: ast.Call, own: frozenset[str] | set[str]) -> bool:
    """Whether it is given what the wrapper was, as it came."""
    given = [one.value if isinstance(one, ast.Starred) else one for one in call.args]
    given += [keyword.value for keyword in call.keywords]
    return all(isinstance(one, ast.Constant) or (isinstance(one, ast.Name) and one.id in own) for one in given)


def _returned(wrapper: Function, nodes: list[ast.AST]) -> Iterator[ast.expr]:
    if isinstance(wrapper, ast.Lambda):
        yield wrapper.body
    yield from (n.value for n in nodes if isinstance(n, ast.Return) and n.value is not None)


def _names_of(calls: list[ast.Call], nodes: list[ast.AST]) -> dict[str, bool]:
    """The names that a result gets; True: they have nothing else."""
    found: dict[str, bool] = {}
    for node in nodes:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name) and isinstance(node, ast.Assign):
                is_result = _bare(node.value) in calls
                found[target.id] = found.get(target.id, is_result) and is_result
    return found


def _is_one_of(value: ast.expr, calls: list[ast.Call], results: dict[str, bool]) -> bool:
    bare = _bare(value)
    return bare in calls or (isinstance(bare, ast.Name) and results.get(bare.id, False))


def _mentions(value: ast.expr, calls: list[ast.Call], results: dict[str, bool]) -> bool:
    return any(n in calls or (isinstance(n, ast.Name) and n.id in results) for n in every_node(value))


def _bare(value: ast.expr) -> ast.expr:
    return value.value if isinstance(value, ast.Await) else value


def _parameters(node: Function) -> frozenset[str]:
    rest = (node.args.vararg, node.args.kwarg)
    return frozenset(one.arg for one in (*named_of(node.args), *rest) if one is not None)
