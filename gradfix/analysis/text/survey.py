"""One look over the tree of a module before anything is interpreted: what each function spells.

Every node is met once, without recursion, so this costs a fraction of parsing. What it finds is only ever used to leave
something out, so a name that is spelt counts as used, whatever it means where it stands.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from gradfix.analysis.text.evidence import NO_OPERANDS, Evidence, is_named
from gradfix.analysis.text.names import imports_of, stars_of
from gradfix.analysis.text.transform_names import TRANSFORMS

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_FLAGS = frozenset({"requires_grad_", "share_memory_", "retain_grad_", "rename_", "coalesce_"})  # write nothing
_OPERATORS = frozenset({"iadd", "isub", "imul", "itruediv", "ipow", "setitem"})  # of the module `operator`
_DUNDERS = frozenset(f"__{name}__" for name in _OPERATORS)
# Call what they are given, or a method of the class they belong to; or give functions that do.
_CALLING = frozenset({"apply", "checkpoint", *TRANSFORMS})
_HOOKING = frozenset({"register_forward_hook", "register_forward_pre_hook"})
# What makes a tensor of the values of others.
_COPIES = frozenset("tensor as_tensor asarray Tensor FloatTensor DoubleTensor new_tensor from_numpy Variable".split())
_LOSS = re.compile(
    r"(^|_)(loss|losses|criterion|penalty|energy)(_|\d|$|fn)|(^|_)objective(\d*|_?fn|_func|_function|_value)$"
    r"|(Loss|Criterion|Objective|Penalty|Energy)$|^training_step$"
)
_CONSTANTS = frozenset("tensor zeros new_zeros zeros_like new_tensor ones".split())
# Fields of nodes without an expression that is evaluated.
_SKIPPED = frozenset(
    "annotation arg asname attr conversion ctx id is_async kind level module name names op ops rest returns simple "
    "type_comment type_ignores type_params".split()
)


@dataclass(slots=True)
class Scope:
    """A function, with all that is defined inside; a class without its methods; or a statement of the top level."""

    node: ast.AST
    parent: Scope | None = None
    owner: str | None = None  # the class of a method, and of what is defined inside the method
    writes: bool = False  # a method that ends in an underscore, …
    items: list[tuple[ast.expr, bool]] = field(default_factory=list)  # targets assigned to, True for `op=`
    backward: bool = False
    in_place_layer: bool = False  # a module is built that writes wherever it is called
    calls_a_value: bool = False  # `layers[0](x)`
    names: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    members: set[tuple[str, str]] = field(default_factory=set)  # of imports and classes: (`F`, `relu`)
    inherited: set[str] = field(default_factory=set)  # `forward` of `super().forward`
    called: set[str] = field(default_factory=set)  # names
    called_attributes: set[str] = field(default_factory=set)

    def around(self) -> Scope | None:
        """The function this is defined in."""
        around = self.parent
        while around is not None and not isinstance(around.node, FUNCTIONS):
            around = around.parent
        return around

    def include(self, inner: Scope) -> None:
        """Count what stands in `inner`, which is defined here."""
        self.writes |= inner.writes
        self.backward |= inner.backward
        self.in_place_layer |= inner.in_place_layer
        self.calls_a_value |= inner.calls_a_value
        self.names |= inner.names
        self.attributes |= inner.attributes
        self.members |= inner.members
        self.inherited |= inner.inherited
        self.called |= inner.called
        self.called_attributes |= inner.called_attributes


def is_awaited(name: str) -> bool:
    """Whether somebody differentiates what a function of this name returns."""
    return name == "forward" or names_a_loss(name)


def names_a_loss(name: str) -> bool:
    """What a function or class that computes a loss is called."""
    return bool(_LOSS.search(name))


@dataclass(slots=True)
class Survey:
    """The scopes of a module, outer ones first, and what is true of names in the whole file."""

    scopes: list[Scope] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)  # variables assigned anywhere, and parameters
    stored_attributes: set[str] = field(default_factory=set)
    imported: dict[str, str] = field(default_factory=dict)  # local name -> what is imported
    stars: list[str] = field(default_factory=list)  # modules whose names `import *` takes over


def survey(tree: ast.Module) -> Survey:
    """Look at every scope of a module."""
    found = Survey()
    classes: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            found.imported.update(imports_of(statement))
            found.stars += stars_of(statement)
            found.stored.update(a.asname for a in statement.names if a.asname and a.name.endswith("checkpoint"))
            continue
        if isinstance(statement, ast.ClassDef):
            classes.add(statement.name)
        found.scopes.append(Scope(statement))
    parts = frozenset(found.imported.keys() | classes)
    for scope in found.scopes:  # grows while functions inside are met
        _look(found, parts, scope)
    for scope in reversed(found.scopes):
        scope.writes = scope.writes or _assigns_parts(found, scope)
        around = scope.around()
        if around is not None:
            around.include(scope)
    return found


@lru_cache(maxsize=256)  # a method may be called many times
def spells_a_change(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the function itself spells a write to what may be a tensor, or a backward."""
    own = survey(ast.Module([function], [])).scopes[0]
    return own.writes or own.backward or own.in_place_layer


def _look(found: Survey, parts: frozenset[str], scope: Scope) -> None:
    """Walk over a scope, without functions and classes inside; `parts` need no object before a dot."""
    todo: list[ast.AST | None] = _entry(found, scope)
    names, attributes, stored = scope.names, scope.attributes, found.stored
    while todo:
        node = todo.pop()
        kind = node.__class__
        if kind is ast.Name:
            names.add(node.id)  # type: ignore[union-attr]
            if node.ctx.__class__ is not ast.Load:  # type: ignore[union-attr]
                stored.add(node.id)  # type: ignore[union-attr]
        elif kind is ast.Attribute:
            value, name = node.value, node.attr  # type: ignore[union-attr]
            if value.__class__ is ast.Name and value.id in parts:
                scope.members.add((value.id, name))
            elif value.__class__ is ast.Call and _is_super(value):
                scope.inherited.add(name)
            else:
                attributes.add(name)
                todo.append(value)
            if name[-1] == "_" or name == "backward" or node.ctx.__class__ is not ast.Load:  # type: ignore[union-attr]
                _attribute(found, scope, node)  # type: ignore[arg-type]
        elif kind is not ast.Constant:
            see = _SEE.get(kind)
            if see is not None:
                see(found, scope, node)  # type: ignore[arg-type]
            fields = _PARTS.get(kind)
            for part in _parts(kind) if fields is None else fields:
                inner = getattr(node, part)
                if inner.__class__ is list:
                    todo.extend(inner)
                elif inner is not None:
                    todo.append(inner)


def _assigns_parts(found: Survey, scope: Scope) -> bool:
    """Whether one of the assignments may go to a tensor or a part of one."""
    if not scope.items or not isinstance(scope.node, FUNCTIONS):
        return bool(scope.items)
    evidence = Evidence(scope.node, found.imported)
    return any(evidence.is_write(target, augmented=augmented) for target, augmented in scope.items)


def _entry(found: Survey, scope: Scope) -> list[ast.AST | None]:
    """Where the walk over a scope begins."""
    node = scope.node
    if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return [node]
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *node.decorator_list, *node.body]
    _parameters(found, scope, node.args)
    return [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults, *node.body]


_PARTS: dict[type, tuple[str, ...]] = {}


def _parts(kind: type) -> tuple[str, ...]:
    """The fields of a node where expressions may stand."""
    fields: tuple[str, ...] = getattr(kind, "_fields", ())
    found = _PARTS[kind] = tuple(name for name in fields if name not in _SKIPPED)
    return found


def _parameters(found: Survey, scope: Scope, node: ast.arguments) -> None:
    arguments = (*node.posonlyargs, *node.args, *node.kwonlyargs, node.vararg, node.kwarg)
    found.stored.update(a.arg for a in arguments if a is not None)


def _definition(found: Survey, scope: Scope, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
    owner = scope.node.name if isinstance(scope.node, ast.ClassDef) else scope.owner
    found.scopes.append(Scope(node, scope, owner))


def _attribute(found: Survey, scope: Scope, node: ast.Attribute) -> None:
    name = node.attr
    stored = not isinstance(node.ctx, ast.Load)
    if name == "requires_grad_" or (name == "requires_grad" and stored):  # may make a leaf of what is returned
        scope.backward = scope.backward or is_awaited(getattr(scope.node, "name", ""))
    if stored:
        found.stored_attributes.add(name)
    elif name == "backward":
        scope.backward = True
    elif (
        name in _DUNDERS
        or name.startswith("_foreach_")
        or (name not in _FLAGS and not name.endswith("__") and not name.startswith("_"))
    ):
        scope.writes = True


def _augmented(found: Survey, scope: Scope, node: ast.AugAssign) -> None:
    if not isinstance(node.value, NO_OPERANDS):
        scope.items.append((node.target, True))


def _branch(found: Survey, scope: Scope, node: ast.If) -> None:
    """A loss that is a constant on one way: `if mask.sum() == 0: return torch.tensor(0.0)`."""
    last = node.body[-1]
    made = last.value if isinstance(last, ast.Return) else None
    if isinstance(made, ast.Tuple):
        made = made.elts[0] if made.elts else None
    if isinstance(made, ast.Call) and isinstance(made.func, ast.Attribute) and made.func.attr in _CONSTANTS:
        names = (scope.owner or "", getattr(scope.node, "name", ""))
        scope.backward = scope.backward or any(map(names_a_loss, names))


def _subscript(found: Survey, scope: Scope, node: ast.Subscript) -> None:
    if isinstance(node.ctx, ast.Store) and not is_named(node):
        scope.items.append((node, False))


def _call(found: Survey, scope: Scope, node: ast.Call) -> None:
    called = node.func
    name = ""
    if isinstance(called, ast.Name):
        name = called.id
        scope.called.add(name)
        scope.writes = scope.writes or (name[-1] == "_" and found.imported.get(name, "").startswith("torch."))
    elif isinstance(called, ast.Attribute):
        name = called.attr
        scope.called_attributes.add(name)
    elif isinstance(called, ast.Call) and isinstance(called.func, ast.Name) and called.func.id == "getattr":
        scope.writes = True  # `getattr(y, name)(2)`
    if name == "grad" or (name in _COPIES and is_awaited(getattr(scope.node, "name", ""))):
        scope.backward = True
    scope.calls_a_value = scope.calls_a_value or not name or name in _CALLING
    scope.writes = scope.writes or name in _OPERATORS
    if name in TRANSFORMS:
        _handed(scope, node)
    if name in _HOOKING:  # whatever is called may write to what the module got or gives
        scope.in_place_layer = True
    if _works_in_place(node):
        scope.in_place_layer = True
        scope.writes = scope.writes or not (name[:1].isupper() or not node.args)
    elif name[:1].isupper() and any(isinstance(a, ast.Constant) and a.value is True for a in node.args):
        scope.in_place_layer = True  # `nn.ReLU(True)`, `nn.Dropout(0.5, True)`


def _handed(scope: Scope, node: ast.Call) -> None:
    """What a transform is given is called: `grad(loss)`, `grad(self.loss)`, `grad(partial(loss, k))`."""
    given: ast.expr | None = node
    while isinstance(given, ast.Call):
        given = given.args[0] if given.args else None
    if isinstance(given, ast.Name):
        scope.called.add(given.id)
    elif isinstance(given, ast.Attribute):
        scope.called_attributes.add(given.attr)


def _is_super(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "super"


def _works_in_place(node: ast.Call) -> bool:
    return any(
        k.arg in ("inplace", "out") and not (isinstance(k.value, ast.Constant) and k.value.value is False)
        for k in node.keywords
    )


See = Callable[[Survey, Scope, ast.AST], None]
_SEE: dict[type | None, See] = {
    ast.FunctionDef: _definition,  # type: ignore[dict-item]  # each takes the node type of its key
    ast.AsyncFunctionDef: _definition,  # type: ignore[dict-item]
    ast.ClassDef: _definition,  # type: ignore[dict-item]
    ast.arguments: _parameters,  # type: ignore[dict-item]
    ast.AugAssign: _augmented,  # type: ignore[dict-item]
    ast.If: _branch,  # type: ignore[dict-item]
    ast.Subscript: _subscript,  # type: ignore[dict-item]
    ast.Call: _call,  # type: ignore[dict-item]
}
_PARTS.update(dict.fromkeys((*FUNCTIONS, ast.ClassDef), ()))
