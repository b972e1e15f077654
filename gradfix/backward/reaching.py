"""Whether running a file runs a backward pass: told by the names it calls, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

Imported: TypeAlias = Callable[[ast.Module, str], Iterable[ast.Module]]

_METHODS = ("backward",)
_FUNCTIONS = ("gradcheck", "gradgradcheck")
_TRANSFORMS = ("grad", "grad_and_value", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "vmap")


def reaches_backward(tree: ast.Module, imported: Imported = lambda tree, name: ()) -> bool:
    """Whether running the file runs a backward pass: at top level, or in functions it calls by name or hands over.

    What is handed over (`optimizer.step(closure)`) or stands in a display (`for case in (first, second)`) counts as
    called, and methods as functions. `imported` gives the files that a name of a file is imported from: where the name
    is called, or has something in it called, their functions are among those that may be called.
    """
    return _Search(imported).finds_backward(tree)


class _Search:
    """Bodies that a run may come to: those that stand in files opened so far, under names reached so far."""

    def __init__(self, imported: Imported) -> None:
        self._imported = imported
        self._files: list[ast.Module] = []
        self._bodies: dict[str, list[ast.AST]] = {}
        self._reached: set[str] = set()
        self._todo: list[ast.AST] = []

    def finds_backward(self, tree: ast.Module) -> bool:
        self._todo.append(tree)
        self._open(tree)
        while self._todo:
            node = self._todo.pop()
            calls = list(_calls(node))
            if any(_is_backward(call) for call in calls):
                return True
            for name in (_named(node) | _called(calls)) - self._reached:
                self._reach(name)
        return False

    def _reach(self, name: str) -> None:
        self._reached.add(name)
        self._todo += self._bodies.get(name, ())
        self._follow(name, self._files)

    def _open(self, file: ast.Module) -> None:
        if file in self._files:
            return
        self._files.append(file)
        for name, own in _bodies(file).items():
            self._bodies.setdefault(name, []).extend(own)
            self._todo.extend(own if name in self._reached else ())
        for name in (*self._reached, "*"):
            self._follow(name, [file])

    def _follow(self, name: str, among: Sequence[ast.Module]) -> None:
        """Open the files that `name` is imported from by those `among`."""
        for other in [other for file in among for other in self._imported(file, name)]:
            self._open(other)


def _is_backward(call: ast.Call) -> bool:
    """Whether the call runs a backward pass, or hands over a method that does (`pool.map(loss.backward)`)."""
    if _last_name(call.func) in _FUNCTIONS or _is_gradient(call.func):
        return True
    functions = (call.func, *_handed_over(call))
    return any(isinstance(one, ast.Attribute) and one.attr in _METHODS for one in functions)


def _called(calls: Iterable[ast.Call]) -> set[str]:
    """Names of functions, and of what has them, that are called or handed over."""
    functions = [function for call in calls for function in (call.func, *_handed_over(call))]
    names = [name for function in functions for name in (_last_name(function), _first_name(function))]
    return {name for name in names if name is not None}


def _handed_over(call: ast.Call) -> list[ast.expr]:
    """Arguments that may be functions: what has a name."""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return [value for value in given if isinstance(value, (ast.Name, ast.Attribute))]


def _bodies(tree: ast.Module) -> dict[str, list[ast.AST]]:
    """What a call by each name may run: functions and methods; a class runs its `__init__`, its objects `forward`."""
    bodies: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            bodies.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.ClassDef):
            own = [item for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]
            bodies.setdefault(node.name, []).extend(f for f in own if f.name in ("__init__", "__call__", "forward"))
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.asname is not None:
                    call = ast.Call(ast.Name(alias.name, ast.Load()), [], [])
                    bodies.setdefault(alias.asname, []).append(call)
    return bodies


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Calls that running this node makes by itself."""
    return (one for one in _run(node) if isinstance(one, ast.Call))


def _named(node: ast.AST) -> set[str]:
    """Names in displays (`[f, g]`, `{"a": f}`) that running this node makes."""
    displays = (one for one in _run(node) if isinstance(one, (ast.Tuple, ast.List, ast.Set, ast.Dict)))
    items = (item for one in displays for item in (one.values if isinstance(one, ast.Dict) else one.elts))
    return {item.id for item in items if isinstance(item, ast.Name)}


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """What is run with this node: not the bodies of functions it only defines."""
    todo: list[ast.AST] = [node]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        todo = list(node.body)
    while todo:
        current = todo.pop()
        if isinstance(current, (ast.FunctionDef, ast.AsyncFunctionDef)):
            todo += current.decorator_list
            continue
        yield current
        todo.extend(ast.iter_child_nodes(current))


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _first_name(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_gradient(node: ast.expr) -> bool:
    """`torch.autograd.grad`, `autograd.grad`, a bare `grad`, or a transform of `torch.func`."""
    if isinstance(node, ast.Name):
        return node.id == "grad"
    if not isinstance(node, ast.Attribute):
        return False
    owner = _last_name(node.value)
    return (node.attr == "grad" and owner == "autograd") or (node.attr in _TRANSFORMS and owner == "func")
