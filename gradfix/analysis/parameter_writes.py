"""Which functions may write to their arguments, told from their text: who is worth playing to know it for certain."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradfix.analysis.names import walk_scope

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_FLAGS = frozenset({"requires_grad_", "share_memory_", "retain_grad_", "rename_", "coalesce_"})  # write nothing
_STEPS = 3  # names that stand for a parameter through other names


def writing_names(tree: ast.Module) -> frozenset[str]:
    """Functions that may write to an argument, and classes whose objects may do so when called."""
    functions, classes = _definitions(tree)
    found = {name for name, node in functions.items() if _writes(node, skip=0)}
    passing = {name: _handed_on(node) for name, node in functions.items() if name not in found}
    while gained := {name for name, called in passing.items() if name not in found and not called.isdisjoint(found)}:
        found |= gained
    for name, node in classes.items():
        methods = {s.name: s for s in node.body if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef))}
        called = [methods[m] for m in ("forward", "__call__") if m in methods]
        handed = (_handed_on(method) for method in called)
        if any(_writes(m, skip=1) for m in called) or _holds(node) or any(not h.isdisjoint(found) for h in handed):
            found.add(name)
    return frozenset(found)


def _definitions(tree: ast.Module) -> tuple[dict[str, _Function], dict[str, ast.ClassDef]]:
    functions: dict[str, _Function] = {}
    classes: dict[str, ast.ClassDef] = {}
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        statement = todo.pop()
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions[statement.name] = statement
        elif isinstance(statement, ast.ClassDef):
            classes[statement.name] = statement
        elif isinstance(statement, (ast.If, ast.Try)):
            todo += [*statement.body, *statement.orelse]
            todo += [s for h in getattr(statement, "handlers", []) for s in h.body]
    return functions, classes


def _writes(node: _Function, *, skip: int) -> bool:
    names = _names_of_parameters(node, skip)
    return any(root in names for inner in walk_scope(node.body) for root in _written(inner))


def _written(node: ast.AST) -> Iterator[str]:
    """The names at the root of what is written in place."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.AugAssign):
        targets = [node.target]
    elif isinstance(node, ast.Assign):
        targets = [inner for target in node.targets for inner in ast.walk(target) if isinstance(inner, ast.Subscript)]
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name.endswith("_") and not name.endswith("__") and name not in _FLAGS:
            targets = [*node.args[:1], *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
        for keyword in node.keywords:
            if keyword.arg == "inplace" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value):
                targets += node.args[:1]
            elif keyword.arg == "out":
                targets.append(keyword.value)
    yield from filter(None, map(_root, targets))


def _handed_on(node: _Function) -> frozenset[str]:
    """The functions called by name with a parameter among the arguments."""
    names = _names_of_parameters(node, 0)
    calls = (n for n in walk_scope(node.body) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name))
    return frozenset(c.func.id for c in calls if any(_root(a) in names for a in c.args))  # type: ignore[attr-defined]


def _names_of_parameters(node: _Function, skip: int) -> set[str]:
    """The parameters, and the names that may stand for them or for parts of them."""
    arguments = node.args
    names = {a.arg for a in [*arguments.posonlyargs, *arguments.args][skip:] + arguments.kwonlyargs}
    names |= {a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None}
    bound = [pair for inner in walk_scope(node.body) for pair in _bindings(inner)]
    for _ in range(_STEPS):
        gained = {name for name, root in bound if root in names} - names
        if not gained:
            break
        names |= gained
    return names


def _bindings(node: ast.AST) -> Iterator[tuple[str, str | None]]:
    """(name, name at the root of what it is bound to)."""
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        pairs = [(node.target, node.iter)]
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        pairs = [(node.target, node.value)]
    else:
        return
    for target, value in pairs:
        roots = {_root(part) for part in (value.elts if isinstance(value, (ast.Tuple, ast.List)) else [value])}
        for inner in ast.walk(target):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield from ((inner.id, root) for root in roots)


def _root(node: ast.expr) -> str | None:
    """The name that a chain of attributes, items and methods starts from; of `zip(a, b)`, the first."""
    while True:
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node = node.func.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            node = node.args[0]
        elif isinstance(node, ast.IfExp):
            node = node.body
        else:
            return node.id if isinstance(node, ast.Name) else None


def _holds(node: ast.ClassDef) -> bool:
    """Whether it builds layers that write where they are called."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            flags = [k.value for k in inner.keywords if k.arg == "inplace"]
            flags += inner.args if getattr(inner.func, "attr", getattr(inner.func, "id", ""))[:1].isupper() else []
            if any(isinstance(f, ast.Constant) and f.value is True for f in flags):
                return True
    return False
