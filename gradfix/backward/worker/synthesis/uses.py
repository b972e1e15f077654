"""What functions do to their parameters, followed into what those hold: items, fields, and what is unpacked.

    for name, (mean, std) in stats.items():
        total += weights[name] * mean.exp()

`stats` is a dict of pairs of tensors, and `weights` one with the same keys. Standard library only.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Union

from gradfix.backward.worker.synthesis.clues import Clue, annotated, named

_METHODS = (
    ("dict", {"items", "keys", "values", "get", "setdefault"}),
    ("list", {"append", "extend", "insert"}),
    ("str", {"lower", "upper", "startswith", "endswith", "strip"}),
    ("module", {"parameters", "named_parameters", "state_dict", "zero_grad", "children", "modules", "train", "eval"}),
)
_AS_GIVEN = {"list", "tuple", "sorted", "reversed", "iter", "tqdm"}  # calls whose items are those of their argument
_DEEP = 4  # a list in a dict in a list …
_MOST = 2000  # uses followed of one parameter: `for x in x` many times over would never end
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

Loop = Union[ast.For, ast.AsyncFor, ast.comprehension]


class Uses:
    """Reads one piece of code: a function, or a class whose methods share attributes of `self`."""

    def __init__(self, code: ast.AST, tables: dict[str, list[str]], of_tensors: frozenset[str]) -> None:
        """`tables` are the keys of the module's dicts, `of_tensors` the attributes that tensors have."""
        self._tables, self._of_tensors = tables, of_tensors
        self._parents = {child: node for node in ast.walk(code) for child in ast.iter_child_nodes(node)}
        self._loads: dict[tuple[ast.AST | None, str], list[ast.expr]] = defaultdict(list)
        self._attributes: dict[str, list[ast.expr]] = defaultdict(list)  # of `self`
        self._left = 0  # uses that may still be followed
        self._texts: set[tuple[ast.AST | None, str]] = set()  # names of keys of dicts
        for node in ast.walk(code):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self._loads[self._scope(node), node.id].append(node)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and _is_self(node.value):
                self._attributes[node.attr].append(node)
            elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
                self._texts.update((self._scope(node.target), name) for name in _keys_of(node))

    def of_parameter(self, function: ast.AST, name: str, clue: Clue) -> None:
        """Add what the function does to its parameter."""
        self._left = _MOST
        for node in self._loads[function, name]:
            self._use(node, clue, 0)

    def _scope(self, node: ast.AST) -> ast.AST | None:
        """The function that a name stands in."""
        above = self._parents.get(node)
        while above is not None and not isinstance(above, _SCOPES):
            above = self._parents.get(above)
        return above

    def _bound(self, target: ast.expr, clue: Clue, deep: int) -> None:
        """The value of the clue is bound to a target of a loop or an assignment."""
        if deep > _DEEP:
            return
        if isinstance(target, (ast.Tuple, ast.List)):
            if not any(isinstance(one, ast.Starred) for one in target.elts):
                clue.add("list", 4)
                for one, part in zip(target.elts, clue.of_parts(len(target.elts))):
                    self._bound(one, part, deep + 1)
        elif isinstance(target, ast.Name):
            clue.kinds.update(named(target.id).kinds)
            for node in self._loads[self._scope(target), target.id]:
                self._use(node, clue, deep + 1)
        elif isinstance(target, ast.Attribute) and _is_self(target.value):
            for node in self._attributes[target.attr]:
                self._use(node, clue, deep + 1)

    def _use(self, node: ast.expr, clue: Clue, deep: int) -> None:
        """Add what is done where a value is read."""
        parent = self._parents.get(node)
        self._left -= 1
        if deep > _DEEP or self._left < 0:
            return
        if isinstance(parent, ast.Attribute):
            self._attribute(parent, clue, deep)
        elif isinstance(parent, ast.Call):
            _from_call(node, parent, clue)
            loop = self._parents.get(parent)
            if isinstance(loop, (ast.For, ast.AsyncFor, ast.comprehension)) and loop.iter is parent:
                self._through(loop, parent, node, clue, deep)
        elif isinstance(parent, ast.Subscript) and parent.value is node:
            self._subscript(parent, clue, deep)
        elif isinstance(parent, (ast.Subscript, ast.Slice)):
            self._index(parent, clue)
        elif isinstance(parent, ast.BinOp):
            _from_arithmetic(node, parent, clue)
        elif isinstance(parent, ast.Compare):
            _from_comparison(parent, clue)
        elif isinstance(parent, ast.UnaryOp):
            clue.add({ast.Not: "bool", ast.Invert: "bool_tensor"}.get(type(parent.op), "tensor"), 2)
        elif isinstance(parent, (ast.If, ast.IfExp, ast.BoolOp)) and getattr(parent, "test", node) is node:
            clue.add("bool", 2)
        else:
            self._spread(node, parent, clue, deep)

    def _through(self, loop: Loop, call: ast.Call, node: ast.expr, clue: Clue, deep: int) -> None:
        """`for i, x in enumerate(name)`, `for x, y in zip(name, …)`, `for x in reversed(name)`."""
        function = call.func.id if isinstance(call.func, ast.Name) else ""
        targets = loop.target.elts if isinstance(loop.target, ast.Tuple) else []
        target: ast.expr | None = None
        if function == "enumerate" and len(targets) == 2:
            target = targets[1]
        elif function == "zip" and len(targets) == len(call.args) and node in call.args:
            target = targets[call.args.index(node)]
        elif function in _AS_GIVEN:
            target = loop.target
        if target is not None:
            clue.add("list", 1)
            self._bound(target, clue.of_items(), deep)

    def _spread(self, node: ast.expr, parent: ast.AST | None, clue: Clue, deep: int) -> None:
        """`for … in name`, `*name`, `**name`, `a, b = name`, `self.a = name`."""
        if isinstance(parent, (ast.For, ast.AsyncFor, ast.comprehension)) and parent.iter is node:
            clue.add("list", 2)
            clue.add("tensor", 1)
            self._bound(parent.target, clue.of_items(), deep)
        elif isinstance(parent, ast.Starred):
            clue.add("list", 3)
        elif isinstance(parent, ast.keyword) and parent.arg is None:
            clue.add("dict", 4)
        elif isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Tuple):
            clue.add("list", 2)
            self._bound(parent.targets[0], clue, deep)
        elif isinstance(parent, ast.Assign):
            self._bound_again(parent, clue, deep)

    def _bound_again(self, node: ast.Assign, clue: Clue, deep: int) -> None:
        """`self.a = name`, and `b = name.a` which a name is read of from then on."""
        for target in node.targets:
            if isinstance(target, ast.Attribute) or not isinstance(node.value, ast.Name):
                self._bound(target, clue, deep)

    def _attribute(self, node: ast.Attribute, clue: Clue, deep: int) -> None:
        name, above = node.attr, self._parents.get(node)
        is_called = isinstance(above, ast.Call) and above.func is node
        for kind, names in _METHODS:
            if is_called and name in names:
                clue.add(kind, 5)
                if kind == "dict":
                    self._of_dict(node, clue, deep)
                return
        field = clue.of_field(name)
        if name not in self._of_tensors:
            clue.add("object", 4)
            self._use(node, field, deep + 1)
            return
        clue.add("tensor", 5)
        if isinstance(above, ast.Call) and is_called:
            if name == "permute" and len(above.args) > 1:
                clue.ranks[len(above.args)] += 5
            if name == "size" and not above.args:
                self._unpacked(above, clue)
        if name == "shape":
            self._unpacked(node, clue)

    def _of_dict(self, node: ast.Attribute, clue: Clue, deep: int) -> None:
        """`for key, value in name.items()`, `name.values()`. What `name.get(…)` asks for may be missing."""
        call = self._parents.get(node)
        loop = self._parents.get(call) if isinstance(call, ast.Call) else None
        if isinstance(loop, (ast.For, ast.AsyncFor, ast.comprehension)) and loop.iter is call:
            if node.attr == "values":
                self._bound(loop.target, clue.of_items(), deep)
            elif node.attr == "items" and isinstance(loop.target, ast.Tuple) and len(loop.target.elts) == 2:
                self._bound(loop.target.elts[1], clue.of_items(), deep)

    def _at(self, node: ast.expr, index: ast.expr, clue: Clue, deep: int) -> None:
        """What is done to the value at an index or key."""
        if isinstance(index, ast.Constant) and isinstance(index.value, str):
            self._use(node, clue.of_key(index.value), deep + 1)
        else:
            self._use(node, clue.of_items(), deep + 1)

    def _subscript(self, node: ast.Subscript, clue: Clue, deep: int) -> None:
        index = node.slice
        if self._is_key(index):
            clue.add("dict", 6)
            self._at(node, index, clue, deep)
        elif isinstance(index, ast.Tuple):
            count = len([i for i in index.elts if not (isinstance(i, ast.Constant) and i.value in (None, ...))])
            clue.add("tensor", 5)
            clue.ranks[count] += 3
        else:
            clue.add("tensor", 3)
            clue.add("list", 1)
            if not isinstance(index, ast.Slice) and isinstance(node.ctx, ast.Load):
                self._at(node, index, clue, deep)

    def _is_key(self, index: ast.expr) -> bool:
        """Whether only a dict has something there."""
        if isinstance(index, ast.Name):
            return (self._scope(index), index.id) in self._texts
        return isinstance(index, ast.Constant) and isinstance(index.value, str)

    def _index(self, parent: ast.AST, clue: Clue) -> None:
        """`x[name]`, `x[name:]`."""
        inside = parent.value if isinstance(parent, ast.Subscript) else None
        table = self._tables.get(inside.id) if isinstance(inside, ast.Name) else None
        if table:
            clue.choices += table
            clue.add("str", 6)
        else:
            clue.add("int", 3 if isinstance(parent, ast.Slice) else 1)
            clue.add("long", 2 * isinstance(parent, ast.Subscript))
            clue.add("bool_tensor", 1 * isinstance(parent, ast.Subscript))

    def _unpacked(self, shape: ast.AST, clue: Clue) -> None:
        """The rank, where the shape is taken apart."""
        above = self._parents.get(shape)
        if isinstance(above, ast.Assign) and isinstance(above.targets[0], (ast.Tuple, ast.List)):
            names = above.targets[0].elts
            clue.ranks[len([n for n in names if not isinstance(n, ast.Starred)])] += 8


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _keys_of(loop: Loop) -> Iterator[str]:
    """The names that a loop over a dict binds to its keys."""
    call = loop.iter
    of = call.func.attr if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else ""
    target: ast.expr = loop.target
    if of == "items" and isinstance(target, ast.Tuple) and len(target.elts) == 2:
        target = target.elts[0]
    elif of != "keys":
        return
    parts: Sequence[ast.expr] = target.elts if isinstance(target, ast.Tuple) else [target]
    yield from (one.id for one in parts if isinstance(one, ast.Name))


def _from_call(node: ast.expr, call: ast.Call, clue: Clue) -> None:
    if call.func is node:
        clue.add("callable", 8)
        clue.arity = max(clue.arity, len(call.args))
        return
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if last in ("range", "arange", "eye", "Embedding", "view", "reshape", "expand", "repeat", "zeros", "ones", "randn"):
        clue.add("int", 4)
    elif last in ("Linear", "Parameter", "LayerNorm", "GRUCell", "LSTM", "GRU") or re.match(
        r"(Conv|BatchNorm|Lazy)", last
    ):
        clue.add("int", 3)
    elif last in ("len", "enumerate", "zip", "list", "sum"):
        clue.add("list", 1)
        clue.add("tensor", 2)
    elif last == "join" and not name.startswith("os."):
        clue.add("list", 4)
        clue.of_items().add("str", 6)
    elif last in ("Dropout", "dropout") or name.startswith("math."):
        clue.add("float", 3)
    elif last in ("isinstance",) and len(call.args) == 2:
        annotated(ast.unparse(call.args[1]), clue)
    elif last in ("one_hot", "embedding"):
        clue.add("long", 4)
    elif last in ("cross_entropy", "nll_loss") and node in call.args[1:2]:
        clue.add("long", 5)
        clue.ranks[1] += 2
    elif last in ("gather", "index_select", "scatter_add", "index_add", "scatter") and node in call.args[1:2]:
        clue.add("long", 5)
    elif last in ("where", "masked_fill", "masked_select") and node in call.args[:1]:
        clue.add("bool_tensor", 4)
    elif re.match(r"(torch|F|nn\.functional|self)\.", name):
        clue.add("tensor", 2)


def _from_arithmetic(node: ast.expr, parent: ast.BinOp, clue: Clue) -> None:
    other = parent.right if parent.left is node else parent.left
    if isinstance(parent.op, ast.MatMult):
        clue.add("tensor", 5)
        clue.ranks[2] += 1
    elif isinstance(parent.op, (ast.FloorDiv, ast.Mod)):
        clue.add("int", 3)
    elif isinstance(parent.op, ast.Pow) and parent.left is node and isinstance(other, ast.UnaryOp):
        clue.add("int", 2)
    else:
        clue.add("tensor", 1)
        clue.add("float", 1)


def _from_comparison(parent: ast.Compare, clue: Clue) -> None:
    for other in (parent.left, *parent.comparators):
        items = other.elts if isinstance(other, (ast.Tuple, ast.List, ast.Set)) else [other]
        for item in items:
            if isinstance(item, ast.Constant) and isinstance(item.value, str):
                clue.add("str", 6)
                clue.choices.append(item.value)
            elif isinstance(item, ast.Constant) and isinstance(item.value, (int, float)):
                clue.add("int" if type(item.value) is int else "float", 1)
                clue.add("tensor", 1)
