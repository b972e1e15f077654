"""Which values have the shape of a slot of a buffer: by sizes both were made with, or by what both were cut from."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from gradfix.analysis.text.alikes import ELEMENTWISE, binding, changes_shape
from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.scopes import Bindings, Parents, names_in

_SIZED = frozenset("zeros ones empty new_zeros new_ones new_empty".split())
_LIKE = frozenset("zeros_like ones_like empty_like".split())
_PACKAGES = ("torch", "th")
_ELEMENTWISE = ELEMENTWISE - {"softmax", "log_softmax"} | {"maximum", "minimum", "add", "sub", "mul", "div"}
_OF_TENSORS = frozenset(
    "exp expm1 log log1p log2 log10 sqrt rsqrt square sin cos tan sinh cosh tanh sigmoid relu neg reciprocal softmax "
    "log_softmax logsumexp erf matmul mv mm bmm unsqueeze index_select gather masked_fill".split()
)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Made:
    """How a buffer is made: like a tensor, or of sizes."""

    like: str | None  # the tensor, as a key that other uses of the same binding share
    kind: str | None  # the tensor that gives the buffer dtype and device, as such a key
    sizes: tuple[str | None, ...] | None  # keys that equal sizes share; None where a size has none
    copies: bool  # `x.clone()`: autograd connects the two


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left along one dimension: one slot (`part` is None), or a slice."""

    axis: int  # negative: counted from the end
    part: str | None


def cut_of(index: ast.expr) -> tuple[Cut, ast.expr] | None:
    """The cut that an index makes and the item that makes it, where all other items are `:` or `...`."""
    items = index.elts if isinstance(index, ast.Tuple) else [index]
    chosen = [(i, item) for i, item in enumerate(items) if not _is_whole(item) and not _is_ellipsis(item)]
    if len(chosen) != 1:
        return None
    position, item = chosen[0]
    dots = [i for i, other in enumerate(items) if _is_ellipsis(other)]
    if len(dots) > 1:
        return None
    axis = position - len(items) if dots and dots[0] < position else position
    if isinstance(item, ast.Slice):
        return None if item.step is not None else (Cut(axis, ast.unparse(item)), item)
    return None if int_of(item) is None else (Cut(axis, None), item)


def int_of(node: ast.expr | None) -> int | None:
    """An int written out, with a sign or without."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = int_of(node.operand)
        return None if inner is None else -inner
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def _is_whole(item: ast.expr) -> bool:
    return isinstance(item, ast.Slice) and item.lower is None and item.upper is None and item.step is None


def _is_ellipsis(item: ast.expr) -> bool:
    return isinstance(item, ast.Constant) and item.value is ...


class Names:
    """What the names of one scope were given."""

    def __init__(self, parents: Parents, bindings: Bindings) -> None:
        self._parents = parents
        self._bindings = bindings

    def key(self, name: str, at: ast.stmt) -> str | None:
        """The binding of `name` at `at`, where its tensor keeps the shape it was made with."""
        bound = binding(self._parents, self._bindings, at, name)
        if bound is None or self._bindings.is_seen_elsewhere(name) or changes_shape(self._bindings, name):
            return None
        return f"{name}@{bound[0]}"

    def given(self, name: str, at: ast.stmt) -> tuple[ast.Assign, int | None] | None:
        """The assignment that binds `name` at `at`, and the number of the name in a tuple of targets."""
        bound = binding(self._parents, self._bindings, at, name)
        statement = None if bound is None else bound[1]
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1 or self.key(name, at) is None:
            return None
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return statement, None
        if isinstance(target, (ast.Tuple, ast.List)) and all(isinstance(part, ast.Name) for part in target.elts):
            found = [i for i, part in enumerate(target.elts) if isinstance(part, ast.Name) and part.id == name]
            return (statement, found[0]) if len(found) == 1 else None
        return None

    def size(self, node: ast.expr, at: ast.stmt, depth: int = _DEPTH) -> str | None:
        """A size as a key that equal sizes share."""
        if (number := int_of(node)) is not None:
            return str(number)
        if isinstance(node, ast.Name):
            given = self.given(node.id, at) if depth else None
            if given is not None and given[1] is None and (known := self.size(given[0].value, given[0], depth - 1)):
                return known
            if given is not None and given[1] is not None and (whole := self.shape_owner(given[0].value, given[0])):
                return f"size({whole}, {given[1]})"
            return self.key(node.id, at)
        owner, dim = _size_asked(node)
        key = self.key(owner.id, at) if isinstance(owner, ast.Name) else None
        return None if key is None or dim is None else f"size({key}, {dim})"

    def shape_owner(self, node: ast.expr, at: ast.stmt) -> str | None:
        """The tensor of `x.shape` and `x.size()`."""
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            node = node.func if isinstance(node.func, ast.Attribute) and node.func.attr == "size" else node
        elif not isinstance(node, ast.Attribute) or node.attr != "shape":
            return None
        owner = node.value if isinstance(node, ast.Attribute) else None
        return self.key(owner.id, at) if isinstance(owner, ast.Name) else None

    def rank(self, key: str) -> int | None:
        """Of the tensor behind `key`, where somebody unpacks its shape: `n, d = x.shape`."""
        ranks: set[int] = set()
        for targets in self._bindings.stores.values():
            for store in targets:
                around = self._parents.of(store)
                statement = self._parents.of(around) if isinstance(around, ast.Tuple) else None
                if not isinstance(around, ast.Tuple) or not isinstance(statement, ast.Assign):
                    continue
                if len(statement.targets) == 1 and self.shape_owner(statement.value, statement) == key:
                    starred = any(isinstance(part, ast.Starred) for part in around.elts)
                    ranks |= set() if starred else {len(around.elts)}
        return ranks.pop() if len(ranks) == 1 else None

    def are_fixed(self, part: str) -> bool:
        """Whether every name in the bounds of a slice is bound once."""
        return all(
            len(self._bindings.stores.get(name, ())) + (name in self._bindings.parameters) == 1
            for name in names_in(ast.parse(f"_[{part}]", mode="eval").body)
            if name != "_"
        )

    def made(self, statement: ast.Assign) -> Made | None:
        """How `statement` makes a tensor of its own; None where it doesn't, or takes other arguments."""
        call = statement.value
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            return None
        function, owner = call.func.attr, call.func.value
        if any(keyword.arg not in ("dtype", "device") for keyword in call.keywords):
            return None
        package = isinstance(owner, ast.Name) and owner.id in _PACKAGES
        if package and function in _LIKE and len(call.args) == 1 and isinstance(call.args[0], ast.Name):
            key = self.key(call.args[0].id, statement)
            return Made(key, None if call.keywords else key, None, copies=False)
        if function == "clone" and isinstance(owner, ast.Name) and not (package or call.args or call.keywords):
            key = self.key(owner.id, statement)
            return Made(key, key, None, copies=True)
        if function not in _SIZED or (package and function.startswith("new_")):
            return None
        kind = self.key(owner.id, statement) if isinstance(owner, ast.Name) and function.startswith("new_") else None
        if not package and kind is None:
            return None
        sizes = self._sizes(call, statement)
        like = self.shape_owner(call.args[0], statement) if len(call.args) == 1 else self._like(sizes)
        return Made(like, None if call.keywords else kind, sizes, copies=False)

    def _like(self, sizes: tuple[str | None, ...] | None) -> str | None:
        """The tensor that has all these sizes and no others."""
        key = sizes[0].removeprefix("size(").removesuffix(", 0)") if sizes and sizes[0] else None
        return (
            key
            if key and sizes and sizes == tuple(f"size({key}, {dim})" for dim in range(self.rank(key) or 0))
            else None
        )

    def _sizes(self, call: ast.Call, statement: ast.stmt) -> tuple[str | None, ...] | None:
        sizes = call.args
        if len(sizes) == 1 and isinstance(sizes[0], (ast.Tuple, ast.List)):
            sizes = sizes[0].elts
        elif len(sizes) == 1 and int_of(sizes[0]) is None:
            return None  # a number, or a shape
        return None if any(isinstance(s, ast.Starred) for s in sizes) else tuple(self.size(s, statement) for s in sizes)


def _size_asked(node: ast.expr) -> tuple[ast.expr | None, int | None]:
    """`x` and the dimension of `len(x)`, `x.shape[0]`, `x.size(0)`."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
        return node.value.value, int_of(node.slice)
    if not isinstance(node, ast.Call) or node.keywords or len(node.args) != 1:
        return None, None
    if builtin(node.func) == "len":
        return node.args[0], 0
    if isinstance(node.func, ast.Attribute) and node.func.attr == "size":
        return node.func.value, int_of(node.args[0])
    return None, None


@dataclass(frozen=True, slots=True)
class SlotShape:
    """The shape that a cut of a buffer has, and the question whether a value has it, too."""

    names: Names
    made: Made
    cut: Cut
    own: frozenset[int]  # ids of expressions that are cuts of the buffer of the same shape
    rank: int | None  # of the buffer
    is_bounded: bool = False  # what is cut has no more dimensions than the slot

    def fits(self, value: ast.expr, at: ast.stmt, rank: int | None) -> bool:
        """Whether `value`, of `rank` dimensions where that is known, has this shape.

        Computed element by element with a slot, a value is never smaller, and larger only by leading dimensions.
        """
        if self.has(value, at):
            return True
        slot = None if self.rank is None else self.rank - (self.cut.part is None)
        return rank is not None and rank == slot and replace(self, is_bounded=True)._reaches(value, at)

    def has(self, node: ast.expr, at: ast.stmt, depth: int = _DEPTH) -> bool:
        """Whether nothing but cuts of this shape, and numbers, goes into `node`, element by element."""
        if id(node) in self.own or self._is_cut(node, at):
            return True
        if isinstance(node, ast.Name):
            given = self.names.given(node.id, at) if depth else None
            return given is not None and given[1] is None and self.has(given[0].value, given[0], depth - 1)
        parts = [part for part in operands(node) if not is_number(part)]
        return bool(parts) and all(self.has(part, at, depth) for part in parts)

    def _reaches(self, node: ast.expr, at: ast.stmt) -> bool:
        if self.has(node, at):
            return True
        if isinstance(node, ast.Name):
            given = self.names.given(node.id, at)
            return given is not None and given[1] is None and self._reaches(given[0].value, given[0])
        return any(self._reaches(part, at) for part in operands(node))

    def is_alike(self, node: ast.expr, at: ast.stmt) -> bool:
        """Whether operators alone compute `node` from cuts of the buffer, or of what gave it dtype and device."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
            powers = isinstance(node.op, ast.Pow)  # in float32 under autocast
            return not powers and all(is_number(p) or self.is_alike(p, at) for p in (node.left, node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self.is_alike(node.operand, at)
        if id(node) in self.own:
            return True
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            return self._gives_kind(self.names.key(node.value.id, at)) and cut_of(node.slice) is not None
        if not isinstance(node, ast.Name):
            return False
        given = self.names.given(node.id, at)
        if given is None:
            return False
        if given[1] is None:
            return self.is_alike(given[0].value, given[0])
        unbound = unbound_of(given[0].value)
        return unbound is not None and self._gives_kind(self.names.key(unbound[0].id, given[0]))

    def is_tensor(self, node: ast.expr, at: ast.stmt) -> bool:
        """Whether nothing but cuts of tensors, and numbers, goes into `node`, element by element."""
        if id(node) in self.own or shows_tensor(node):
            return True
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            return self._gives_kind(self.names.key(node.value.id, at))
        if isinstance(node, ast.Name):
            given = self.names.given(node.id, at)
            if given is None:
                return False
            return unbound_of(given[0].value) is not None or (given[1] is None and self.is_tensor(*_told(given[0])))
        parts = [part for part in operands(node) if not is_number(part)]
        return bool(parts) and all(self.is_tensor(part, at) for part in parts)

    def _gives_kind(self, key: str | None) -> bool:
        return key is not None and key == self.made.kind

    def _is_cut(self, node: ast.expr, at: ast.stmt) -> bool:
        """Whether `node` is cut from another tensor as the slot is from the buffer."""
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            found = cut_of(node.slice)
            key = self.names.key(node.value.id, at)
            return found is not None and key is not None and self._matches(key, found[0])
        given = self.names.given(node.id, at) if isinstance(node, ast.Name) else None
        unbound = unbound_of(given[0].value) if given is not None and given[1] is not None else None
        if given is None or unbound is None:
            return False
        key = self.names.key(unbound[0].id, given[0])
        return key is not None and self._matches(key, Cut(unbound[1], None))

    def _matches(self, key: str, cut: Cut) -> bool:
        """Whether the tensor `key`, cut by `cut`, has the shape of the slot."""
        if key == self.made.like and self._normal(cut) == self._normal(self.cut):
            return self.cut.part is None or self.names.are_fixed(self.cut.part)
        sizes = self.made.sizes
        if sizes is None or cut.part is not None or self.cut.part is not None:
            return False
        rank = self.names.rank(key)
        if rank is None and self.is_bounded and cut.axis == len(sizes) - 1:
            rank = len(sizes)  # no fewer, or the cut would fail
        if rank != len(sizes) or not -rank <= min(cut.axis, self.cut.axis) <= max(cut.axis, self.cut.axis) < rank:
            return False
        mine = [size for dim, size in enumerate(sizes) if dim != self.cut.axis % rank]
        return mine == [f"size({key}, {dim})" for dim in range(rank) if dim != cut.axis % rank]

    def _normal(self, cut: Cut) -> Cut:
        fits = self.rank is not None and -self.rank <= cut.axis < self.rank
        return replace(cut, axis=cut.axis % self.rank) if self.rank and fits else cut


def _told(statement: ast.Assign) -> tuple[ast.expr, ast.stmt]:
    return statement.value, statement


def unbound_of(node: ast.expr) -> tuple[ast.Name, int] | None:
    """The tensor and the dimension of `x.unbind(1)` and `torch.unbind(x, dim=-1)`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "unbind":
        return None
    owner = node.func.value
    package = isinstance(owner, ast.Name) and owner.id in _PACKAGES
    given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "dim")]
    if len(given) != len(node.args) + len(node.keywords):
        return None
    tensor = given.pop(0) if package and given else owner
    dim = 0 if not given else int_of(given[0])
    return None if dim is None or len(given) > 1 or not isinstance(tensor, ast.Name) else (tensor, dim)


def is_number(node: ast.expr) -> bool:
    """A number written out."""
    if isinstance(node, ast.UnaryOp):
        return is_number(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def operands(node: ast.expr) -> list[ast.expr]:
    """The operands of an operation that works element by element; none of any other."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return [node.operand]
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.keywords:
        return []
    if node.func.attr not in _ELEMENTWISE:
        return []
    owner = node.func.value
    return [*node.args] if isinstance(owner, ast.Name) and owner.id in _PACKAGES else [owner, *node.args]


def shows_tensor(value: ast.expr | None) -> bool:
    """Computed by a method that, of all that can be written to a tensor, only tensors have."""
    if isinstance(value, ast.BinOp):
        return shows_tensor(value.left) or shows_tensor(value.right)
    if isinstance(value, ast.UnaryOp):
        return shows_tensor(value.operand)
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in _OF_TENSORS
