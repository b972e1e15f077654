"""Whether a variable of a function may hold a tensor, told from its assignments alone.

`count += 1` and `table[key] = value` are spelt like writes to tensors. They are none where everything assigned to the
variable is a number, a string, a list, a dict, an array of NumPy or a parameter annotated so. The order of statements
isn't looked at, and whatever isn't understood may be a tensor.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from gradfix.analysis.text.builtin_names import is_other
from gradfix.analysis.text.nodes import nodes_of

Function = ast.FunctionDef | ast.AsyncFunctionDef

_NUMBERS = frozenset("int float bool str len round range isinstance hasattr callable ord repr type format hash".split())
_OF_ITEMS = frozenset("sum max min abs sorted reversed next iter zip enumerate list tuple set frozenset".split())
_HOLDERS = frozenset("list tuple set frozenset dict sorted zip enumerate OrderedDict defaultdict Counter deque".split())
# What no tensor can be changed by: a list, a string, a dict.
NO_OPERANDS = (ast.JoinedStr, ast.List, ast.ListComp, ast.Tuple, ast.Dict, ast.DictComp, ast.Set, ast.SetComp)
_SEQUENCES = (ast.List, ast.ListComp, ast.Tuple)
_PLAIN_METHODS = frozenset(
    "size dim ndimension numel nelement item tolist keys format join startswith endswith".split()
)
_PLAIN_ATTRIBUTES = frozenset("shape dtype device ndim requires_grad is_leaf is_cuda training __name__".split())
_PLAIN_MODULES = ("numpy", "math", "random", "os", "sys", "time", "logging", "json", "re")
_PLAIN_TYPES = frozenset("int float bool str bytes None Literal Callable".split())
_CONTAINERS = frozenset("Tuple tuple List list Sequence Iterable Dict dict Set set Mapping".split())

_TELLING = frozenset(
    {ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr, ast.For, ast.AsyncFor, ast.comprehension}
    | {ast.withitem, ast.Global, ast.Nonlocal, ast.Call}
)


class Evidence:
    """The assignments of one function."""

    def __init__(self, function: Function, modules: Mapping[str, str]) -> None:
        self._modules = modules  # local name of an import -> what it imports
        self._bound: dict[str, list[ast.expr | None]] = {}  # None: anything
        self._put: dict[str, list[ast.expr | None]] = {}  # into what the variable holds
        self._added: dict[str, list[ast.expr | None]] = {}  # by `op=`
        self._parameters = {a.arg: a.annotation for a in _arguments(function.args)}
        for node in nodes_of(function):
            if node.__class__ in _TELLING:
                self._note(node)

    def is_write(self, statement_target: ast.expr, *, augmented: bool) -> bool:
        """Whether assigning to this target (with `augmented`, by `op=`) may write to a tensor."""
        depth, root = 0, statement_target
        while isinstance(root, ast.Subscript):
            depth, root = depth + 1, root.value
        if not isinstance(root, ast.Name):
            return True
        return self._may(root, depth + augmented > 1, set())

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind(target, node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            self._added.setdefault(node.target.id, []).append(node.value)
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and node.value is not None:
            self._bind(node.target, node.value)
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            self._bind(node.target, _item(node.iter))
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._bind(node.optional_vars, None)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            for name in node.names:
                self._bound.setdefault(name, []).append(None)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            root = _root(node.func.value)
            if isinstance(root, ast.Name):
                self._put.setdefault(root.id, []).extend([*node.args, *(k.value for k in node.keywords)])

    def _bind(self, target: ast.expr, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            self._bound.setdefault(target.id, []).append(value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            pairs = isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts)
            for i, part in enumerate(target.elts):
                self._bind(part, value.elts[i] if pairs and isinstance(value, ast.Tuple) else _item(value))
        elif isinstance(target, ast.Starred):
            self._bind(target.value, value)
        elif isinstance(target, ast.Subscript):
            root = _root(target)
            if isinstance(root, ast.Name):
                self._put.setdefault(root.id, []).append(value)

    def _may(self, node: ast.expr | None, deep: bool, seen: set[tuple[str, bool]]) -> bool:
        """Whether an expression may be a tensor, or (`deep`) hold one."""
        if isinstance(node, ast.Name):
            return self._name_may(node.id, deep, seen)
        if isinstance(node, (ast.Constant, ast.JoinedStr, ast.Lambda)):
            return False
        if isinstance(node, (ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.UnaryOp, ast.Starred, ast.NamedExpr)):
            return any(self._may(part, deep, seen) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr))
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            return deep and any(self._may(part, True, seen) for part in node.elts)
        if isinstance(node, ast.Dict):
            return deep and any(self._may(part, True, seen) for part in node.values)
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            return deep and self._may(node.elt, True, seen)
        if isinstance(node, ast.DictComp):
            return deep and self._may(node.value, True, seen)
        if isinstance(node, ast.Subscript):
            return self._may(node.value, True, seen)
        if isinstance(node, ast.Attribute):
            return node.attr not in _PLAIN_ATTRIBUTES and self._modules.get(_name(node.value), "") not in _PLAIN_MODULES
        return not isinstance(node, ast.Call) or self._call_may(node, deep, seen)

    def _name_may(self, name: str, deep: bool, seen: set[tuple[str, bool]]) -> bool:
        if (name, deep) in seen:
            return False
        seen.add((name, deep))
        values = self._bound.get(name, [])
        added = self._added.get(name, [])
        if name in self._parameters:
            if _annotated_tensor(self._parameters[name], deep):
                return True
        elif not values:
            return True  # of an enclosing function or the module
        elif not deep and self._is_sequence(ast.Name(name, ast.Load()), set()):
            return False
        inside = self._put.get(name, []) if deep else []
        return any(value is None or self._may(value, deep, seen) for value in (*values, *added, *inside))

    def _is_sequence(self, node: ast.expr | None, seen: set[str]) -> bool:
        """Whether it surely is a list or tuple. Measured (2.13): what a tensor is added to stays one, or raises."""
        if isinstance(node, ast.Name):
            if node.id in self._parameters or node.id not in self._bound:
                return False
            if node.id in seen:
                return True  # as far as its other values are
            seen.add(node.id)
            return all(self._is_sequence(value, seen) for value in self._bound[node.id])
        if isinstance(node, ast.BinOp):
            return isinstance(node.op, ast.Add) and self._is_sequence(node.left, seen)
        if isinstance(node, ast.Subscript):
            return isinstance(node.slice, ast.Slice) and self._is_sequence(node.value, seen)
        return isinstance(node, _SEQUENCES)

    def _call_may(self, node: ast.Call, deep: bool, seen: set[tuple[str, bool]]) -> bool:
        called = node.func
        if isinstance(called, ast.Attribute):
            if called.attr in _PLAIN_METHODS:
                return False
            if isinstance(called.value, ast.Name) and called.value.id in self._modules:
                short = self._modules[called.value.id].partition(".")[0]
                return short not in _PLAIN_MODULES and (deep or called.attr not in _HOLDERS)
            return self._may(called.value, True, seen)
        name = _name(called)
        if name in _NUMBERS:
            return False
        if name in _HOLDERS and not deep:
            return False
        if name in _OF_ITEMS or name in _HOLDERS:
            return any(self._may(part, True, seen) for part in (*node.args, *(k.value for k in node.keywords)))
        return True


def is_named(node: ast.Subscript) -> bool:
    """True for `table["name"]`, which is no part of a tensor."""
    return isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)


def _arguments(node: ast.arguments) -> Iterator[ast.arg]:
    yield from (*node.posonlyargs, *node.args, *node.kwonlyargs)
    yield from (a for a in (node.vararg, node.kwarg) if a is not None)


def _item(value: ast.expr | None) -> ast.expr | None:
    """Any item of a value."""
    return None if value is None else ast.Subscript(value, ast.Constant(0), ast.Load())


def _root(node: ast.expr) -> ast.expr:
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return node


def _name(node: ast.expr | None) -> str:
    return node.id if isinstance(node, ast.Name) and not is_other(node) else ""


def _annotated_tensor(annotation: ast.expr | None, deep: bool) -> bool:
    """Whether a parameter with this annotation may be a tensor, or (`deep`) hold one."""
    if isinstance(annotation, ast.BinOp):
        return _annotated_tensor(annotation.left, deep) or _annotated_tensor(annotation.right, deep)
    if isinstance(annotation, ast.Constant):
        return annotation.value is not None
    if isinstance(annotation, ast.Subscript):
        kind = _name(annotation.value)
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if kind in ("Optional", "Union") or (deep and kind in _CONTAINERS):
            return any(_annotated_tensor(part, deep) for part in inner if not _is_ellipsis(part))
        return kind not in _CONTAINERS and kind not in _PLAIN_TYPES
    return _name(annotation) not in (_PLAIN_TYPES if deep else _PLAIN_TYPES | _CONTAINERS)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis
