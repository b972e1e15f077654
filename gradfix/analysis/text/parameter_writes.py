"""Which functions may write to their arguments, told from their text: who is worth playing to know it for certain."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache

from gradfix import torch_ops
from gradfix.analysis.text.evidence import NO_OPERANDS, Evidence, is_named
from gradfix.analysis.text.nodes import every_node, nodes_of
from gradfix.analysis.text.write_spellings import leads
from gradfix.torch_ops import ViewKind

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LOOPS = (ast.For, ast.AsyncFor, ast.comprehension)
_FLAGS = frozenset({"requires_grad_", "share_memory_", "retain_grad_", "rename_", "coalesce_"})  # write nothing
_SAME = frozenset({"zip", "enumerate", "reversed", "list", "tuple", "iter"})
_SHARING = frozenset(
    {"to", "float", "double", "half", "type", "type_as", "cuda", "cpu", "contiguous", "items", "values"}
)
_CALLED_AS = frozenset({"forward", "__call__", "apply"})  # the methods that run where an object or class is called
_STEPS = 3  # names that stand for a parameter through other names


class ParameterWrites:
    """The functions and classes of a module by name; each is looked at when it is asked for."""

    def __init__(self, tree: ast.Module) -> None:
        self._functions, self._classes = _definitions(tree)
        self._known: dict[str, bool] = {}

    def may_write(self, name: str) -> bool:
        """Whether a function or method may write to an argument, or objects of a class may when they are called."""
        if name not in self._known:
            owner, _, method = name.partition(".")
            if method and method not in _CALLED_AS:
                self._known[name] = self._method_may(owner, method)
            else:
                self._known[name] = self._class_may(owner) or leads(owner, self._writes_itself, self._handed_on)
        return self._known[name]

    def _method_may(self, owner: str, name: str) -> bool:
        """Whether a method may write, itself or by others of its object; of inherited ones nothing is known."""
        body = self._classes[owner].body if owner in self._classes else []
        methods = {f"self.{s.name}": s for s in body if isinstance(s, _FUNCTIONS)}

        def writes(at: str) -> bool:
            if at.startswith("self."):
                return at not in methods or _writes(methods[at], skip=1)
            return self._writes_itself(at)

        def handed_on(at: str) -> frozenset[str]:
            return _handed_on(methods[at], frozenset(methods)) if at in methods else self._handed_on(at)

        return leads(f"self.{name}", writes, handed_on)

    def _writes_itself(self, name: str) -> bool:
        return name in self._functions and _writes(self._functions[name], skip=0)

    def _handed_on(self, name: str) -> frozenset[str]:
        return _handed_on(self._functions[name]) if name in self._functions else frozenset()

    def _class_may(self, name: str) -> bool:
        node = self._classes.get(name)
        methods = {} if node is None else {s.name: s for s in node.body if isinstance(s, _FUNCTIONS)}
        called = [methods[m] for m in ("forward", "__call__") if m in methods]
        if node is None or not called:
            return False
        layers = _layers_that_write(node)
        handed = frozenset[str]().union(*(_handed_on(m, layers) for m in called))
        if any(_writes(m, skip=1) for m in called) or not handed.isdisjoint(layers):
            return True
        return any(leads(other, self._writes_itself, self._handed_on) for other in handed)


_TELLING = frozenset({ast.Call, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr, *_LOOPS})


@lru_cache(maxsize=64)
def _telling(function: _Function) -> Sequence[ast.AST]:
    """What writes, binds or hands on, of the nodes of a function."""
    return [node for node in nodes_of(function) if node.__class__ in _TELLING]


def _definitions(tree: ast.Module) -> tuple[dict[str, _Function], dict[str, ast.ClassDef]]:
    functions: dict[str, _Function] = {}
    classes: dict[str, ast.ClassDef] = {}
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        statement = todo.pop()
        if isinstance(statement, _FUNCTIONS):
            functions[statement.name] = statement
        elif isinstance(statement, ast.ClassDef):
            classes[statement.name] = statement
        elif isinstance(statement, (ast.If, ast.Try)):
            todo += [*statement.body, *statement.orelse]
            todo += [s for h in getattr(statement, "handlers", []) for s in h.body]
    return functions, classes


def _writes(node: _Function, *, skip: int) -> bool:
    places = [(root, getattr(at, "lineno", 0), at) for at in _telling(node) for root in written(at)]
    if not places:
        return False
    names = _names_of_parameters(node, skip)
    renewed = _renewed(node, names)
    evidence = Evidence(node, {})
    return any(
        root in names and line <= renewed.get(root, line) and _may_hit_tensor(evidence, at) for root, line, at in places
    )


def _may_hit_tensor(evidence: Evidence, node: ast.AST) -> bool:
    """Whether what is assigned to may be a tensor or a part of one, for all that the function tells."""
    if isinstance(node, ast.AugAssign):
        return not isinstance(node.value, NO_OPERANDS) and evidence.is_write(node.target, augmented=True)
    if isinstance(node, ast.Assign):
        parts = (inner for target in node.targets for inner in every_node(target) if isinstance(inner, ast.Subscript))
        stored = (part for part in parts if isinstance(part.ctx, ast.Store) and not is_named(part))
        return any(evidence.is_write(part, augmented=False) for part in stored)
    return True


def _renewed(node: _Function, names: set[str]) -> dict[str, int]:
    """The lines, by name, from which on a parameter's name means something else, whatever way is taken."""
    found: dict[str, int] = {}
    for statement in node.body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            for name, root in bindings(statement):
                if root not in names:
                    found.setdefault(name, statement.end_lineno or statement.lineno)
    return found


def written(node: ast.AST) -> Iterator[str]:
    """The names at the root of what is written in place."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.AugAssign):
        targets = [node.target]
    elif isinstance(node, ast.Assign):
        targets = [inner for target in node.targets for inner in every_node(target) if isinstance(inner, ast.Subscript)]
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


def _handed_on(node: _Function, layers: frozenset[str] = frozenset()) -> frozenset[str]:
    """The functions called by name, and those of the `layers`, that get a parameter as it came."""
    calls = [(n, name) for n in _telling(node) if isinstance(n, ast.Call) and (name := _called(n, layers))]
    if not calls:
        return frozenset()
    names = _names_of_parameters(node, 0)
    renewed = _renewed(node, names)
    return frozenset(
        name
        for call, name in calls
        if any((root := _root(a)) in names and call.lineno <= renewed.get(root or "", call.lineno) for a in call.args)
    )


def _called(node: ast.Call, layers: frozenset[str]) -> str | None:
    if isinstance(node.func, ast.Name):
        return node.func.id
    root = _root(node.func)
    return root if root in layers else None


def _names_of_parameters(node: _Function, skip: int) -> set[str]:
    """The parameters, and the names that may stand for them or for parts of them."""
    arguments = node.args
    names = {a.arg for a in [*arguments.posonlyargs, *arguments.args][skip:] + arguments.kwonlyargs}
    names |= {a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None}
    bound = [pair for inner in _telling(node) for pair in bindings(inner)]
    for _ in range(_STEPS):
        gained = {name for name, root in bound if root in names} - names
        if not gained:
            break
        names |= gained
    return names


def bindings(node: ast.AST) -> Iterator[tuple[str, str | None]]:
    """(name, name at the root of what it is bound to)."""
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
    elif isinstance(node, _LOOPS):
        pairs = [(node.target, node.iter)]
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        pairs = [(node.target, node.value)]
    else:
        return
    for target, value in pairs:
        roots = {_root(part) for part in (value.elts if isinstance(value, (ast.Tuple, ast.List)) else [value])}
        for inner in every_node(target):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield from ((inner.id, root) for root in roots)


def _root(node: ast.expr) -> str | None:
    """The name that a chain of attributes, items and views starts from: of `self.h[0]`, `self.h`; of `zip(a, b)`, `a`.

    What other calls give counts as new.
    """
    while True:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            return f"self.{node.attr}"
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _may_share(node.func.attr):
            node = node.func.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SAME and node.args:
            node = node.args[0]
        elif isinstance(node, ast.IfExp):
            node = node.body
        else:
            return node.id if isinstance(node, ast.Name) else None


def _may_share(method: str) -> bool:
    """Whether what a method returns may be memory of its object."""
    if method.endswith("_") or method in _SHARING:
        return True
    known = torch_ops.method(method)
    views = [view for output in known.outputs for view in (output.view, output.contiguous_view)] if known else []
    return any(view is not ViewKind.NONE for view in views)


def _layers_that_write(node: ast.ClassDef) -> frozenset[str]:
    """`self.act` of a class that puts a layer there that writes where it is called."""
    found = set[str]()
    for inner in every_node(node):
        if isinstance(inner, ast.Assign) and any(_works_in_place(call) for call in every_node(inner.value)):
            found.update(root for target in inner.targets if (root := _root(target)) is not None)
    return frozenset(found)


def _works_in_place(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    flags = [k.value for k in node.keywords if k.arg == "inplace"]
    flags += node.args if getattr(node.func, "attr", getattr(node.func, "id", ""))[:1].isupper() else []
    return any(isinstance(f, ast.Constant) and f.value is True for f in flags)
