"""Decorators and context managers that turn gradients off around what they run, told from their text."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from gradfix.analysis.text.parameters import named_of

_OFF = frozenset({"no_grad", "inference_mode"})
_SETTING = frozenset({"set_grad_enabled", "_set_grad_enabled"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def turns_off(node: _Function) -> bool:
    """Whether all that a decorator or a generator of a context runs has gradients off; of `__enter__`, what follows.

    False where its text doesn't show it: a function that is called elsewhere, a mode that somebody else chooses.
    """
    if node.name in ("__enter__", "__aenter__"):
        return _enters_off(node)
    met = list(_places(node, frozenset(), off=False))
    return bool(met) and all(met) and not _is_handed_on(node)


def _enters_off(node: _Function) -> bool:
    """Whether `__enter__` turns gradients off whatever happens in it, and never on."""
    sets = [one for one in ast.walk(node) if isinstance(one, ast.Call) and _name(one) in (*_SETTING, "enable_grad")]
    always = [s.value for s in node.body if isinstance(s, (ast.Expr, ast.Assign))]
    return any(one in always for one in sets) and all(map(_is_off, sets))


def _is_handed_on(node: _Function) -> bool:
    """Whether a function that was handed over, and runs, is returned or kept as it is: others call it as they like."""
    inner = list(ast.walk(node))
    calls = [one for one in inner if isinstance(one, ast.Call)]
    functions = [one for one in inner if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
    handed = {one.arg for function in functions for one in named_of(function.args)}
    run = [*(call.func for call in calls), *(arg for call in calls if _is_off(call.func) for arg in call.args)]
    names = handed & {one.id for one in run if isinstance(one, ast.Name)}
    asked: list[ast.AST] = [one.value for one in inner if isinstance(one, ast.Attribute)]
    asked += [side for one in inner if isinstance(one, ast.Compare) for side in (one.left, *one.comparators)]
    asked += [one for f in functions for decorator in f.decorator_list for one in ast.walk(decorator)]
    known = set(map(id, (*run, *asked)))
    return any(isinstance(one, ast.Name) and one.id in names and id(one) not in known for one in inner)


def _places(node: ast.AST, handed: frozenset[str], *, off: bool) -> Iterator[bool]:
    """Whether gradients are off at each `yield`, and at each call of a function that was handed over."""
    inside: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        off, inside = _under(node.decorator_list, off=False), node.body
        handed |= {one.arg for one in named_of(node.args)}
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        off = _under([item.context_expr for item in node.items], off=off)
    elif _runs(node, handed):
        yield off
    elif isinstance(node, ast.Call) and any(isinstance(one, ast.Name) and one.id in handed for one in node.args):
        yield _is_off(node.func)  # `torch.no_grad()(f)`; anybody else may call it
    elif isinstance(node, ast.Return) and node.value is not None and _is_off(node.value):
        yield True
    for child in inside:
        yield from _places(child, handed, off=off)


def _runs(node: ast.AST, handed: frozenset[str]) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in handed
    return isinstance(node, (ast.Yield, ast.YieldFrom))


def _under(contexts: Sequence[ast.expr], *, off: bool) -> bool:
    """Whether gradients are off inside; a mode that isn't told may be any."""
    for context in contexts:
        off = _is_off(context) or (off and _name(context) not in ("enable_grad", *_SETTING))
    return off


def _is_off(node: ast.expr) -> bool:
    """`torch.no_grad()`, and bare as a decorator; `torch.set_grad_enabled(False)`."""
    given = node.args if isinstance(node, ast.Call) else []
    if _name(node) in _SETTING:
        return len(given) == 1 and isinstance(given[0], ast.Constant) and given[0].value is False
    return _name(node) in _OFF and not given and not getattr(node, "keywords", ())


def _name(node: ast.expr) -> str:
    """The last name of what is called, or stands there."""
    called = node.func if isinstance(node, ast.Call) else node
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
