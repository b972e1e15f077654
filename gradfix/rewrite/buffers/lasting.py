"""Whether a name stands for the same all along: for a number, or for what nothing but reads of the name gets hold of.

A tensor that counts, a list of indices, a mask can change where no statement names them: by another name, by an
attribute, in a function that was handed them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Set

from gradfix.analysis.facts import Spelling
from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.scopes import Bindings, Parents

MAKERS = frozenset(
    "zeros ones empty full eye zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full".split()
)
ASKED = frozenset({"shape", "size", "dtype", "device", "ndim"})
_FRESH = MAKERS | frozenset("tensor arange linspace rand randn randint randperm".split())
_COUNTS = frozenset("len int float bool round".split())
_SIZES = frozenset("size numel dim item".split())
_READERS = _COUNTS | frozenset("range enumerate zip reversed str print".split())
_DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.Compare, ast.BinOp)


def packages_of(spelling: Spelling) -> frozenset[str]:
    """The names by which the file reaches torch and what it takes from it."""
    return frozenset({str(spelling.torch), *(local for local, _ in spelling.names)})


def is_lasting(around: Parents, bindings: Bindings, name: str, packages: Set[str], *, sized: bool) -> bool:
    """Whether nobody can change what `name` stands for; `sized`: whether its number of items is all that matters."""
    stores = bindings.stores.get(name, ())
    given = name in bindings.parameters
    if given and not stores and _is_given_number(bindings.scope, name):
        return True
    if stores and not given and all(_counts(around, store) for store in stores):
        return True
    mentions = [node for node in bindings.names.get(name, ()) if isinstance(node.ctx, ast.Load)]
    ranged = any(_is_ranged(around.of(node)) for node in mentions)
    if not all(_is_own(around, store, packages, ranged=ranged) for store in stores):
        return False
    return all(_is_read(around, node, packages, sized=sized) for node in mentions)


def _is_given_number(scope: ast.AST, name: str) -> bool:
    """Whether the parameter says that it is a number."""
    found = (node for node in ast.walk(getattr(scope, "args", scope)) if isinstance(node, ast.arg))
    kinds = [node.annotation for node in found if node.arg == name]
    return any(builtin(kind) in _COUNTS for kind in kinds)


def _counts(around: Parents, store: ast.Name) -> bool:
    """Whether what is bound is a number, or the sizes of a tensor."""
    outer = around.of(store)
    if isinstance(outer, ast.For):
        return outer.target is store and _is_ranged(outer.iter)
    if isinstance(outer, ast.Tuple):
        whole, place = around.of(outer), outer.elts.index(store)
        if isinstance(whole, ast.For):
            return place == 0 and isinstance(whole.iter, ast.Call) and builtin(whole.iter.func) == "enumerate"
        if not isinstance(whole, ast.Assign) or any(isinstance(part, ast.Starred) for part in outer.elts):
            return False
        value = whole.value
        if isinstance(value, ast.Tuple):
            return len(value.elts) == len(outer.elts) and _is_number(value.elts[place])
        return _is_number(value)
    return isinstance(outer, (ast.Assign, ast.AugAssign)) and _is_number(outer.value)


def _is_number(value: ast.expr) -> bool:
    if isinstance(value, ast.UnaryOp):
        return _is_number(value.operand)
    if isinstance(value, ast.BinOp):
        return _is_number(value.left) and _is_number(value.right)
    if isinstance(value, ast.Subscript):
        return isinstance(value.value, ast.Attribute) and value.value.attr == "shape"
    if isinstance(value, ast.Attribute):
        return value.attr in ("shape", "ndim")
    if isinstance(value, ast.Call):
        function = value.func
        return builtin(function) in _COUNTS or (isinstance(function, ast.Attribute) and function.attr in _SIZES)
    return isinstance(value, ast.Constant)


def _is_own(around: Parents, store: ast.Name, packages: Set[str], *, ranged: bool) -> bool:
    """Whether the name alone holds what is bound; what a range is made with is taken for a number."""
    if _counts(around, store):
        return True
    outer = around.of(store)
    if not isinstance(outer, ast.Assign) or len(outer.targets) != 1:
        return False
    value = outer.value
    if isinstance(value, ast.Call):
        return _is_of_torch(value.func, packages, _FRESH)
    return isinstance(value, _DISPLAYS) or (ranged and isinstance(value, ast.Attribute))


def _is_read(around: Parents, name: ast.Name, packages: Set[str], *, sized: bool) -> bool:
    """Whether a mention of the name only reads what it stands for, and hands it to nobody."""
    node: ast.AST = name
    for outer in _outward(around, name):
        if isinstance(outer, ast.Call):
            reads = builtin(outer.func) in _READERS
            return outer.func is not node and (reads or _is_of_torch(outer.func, packages, _FRESH))
        if isinstance(outer, ast.Attribute):
            return outer.attr in ASKED
        if isinstance(outer, ast.Subscript):
            return outer.slice is node or (sized and isinstance(outer.ctx, ast.Load))
        if isinstance(outer, (ast.For, ast.comprehension)):
            return sized and outer.iter is node
        if isinstance(outer, ast.Compare):
            return not any(isinstance(operator, (ast.In, ast.NotIn)) for operator in outer.ops)
        if isinstance(outer, ast.UnaryOp):
            return not isinstance(outer.op, ast.UAdd)
        if not isinstance(outer, (ast.BoolOp, ast.Tuple, ast.List, ast.keyword)):
            return isinstance(outer, (ast.BinOp, ast.If, ast.While, ast.Slice, ast.FormattedValue, ast.AugAssign))
        node = outer
    return False


def _outward(around: Parents, node: ast.AST) -> Iterator[ast.AST]:
    outer = around.of(node)
    while outer is not None:
        yield outer
        outer = around.of(outer)


def _is_of_torch(function: ast.expr, packages: Set[str], names: Set[str]) -> bool:
    if isinstance(function, ast.Attribute):
        named = isinstance(function.value, ast.Name) and function.value.id in packages
        return function.attr in names and (named or function.attr.startswith("new_"))
    return isinstance(function, ast.Name) and function.id in names & packages


def _is_ranged(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Call) and builtin(node.func) == "range"
