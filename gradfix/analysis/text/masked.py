"""Writes under a mask that `torch.where` can do: the value is computed element by element, and shapes are proven."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from gradfix.analysis.facts import IndexKind, MaskedWrite, Masking, ValueKind, Write, WriteForm
from gradfix.analysis.text.alikes import ELEMENTWISE, covers, is_made_floating, is_reduced, same_shape
from gradfix.analysis.text.scopes import parents

_TESTS = frozenset({"isnan", "isinf", "isfinite", "abs"})
_ALLOWED = (
    *(ast.Name, ast.Attribute, ast.Constant, ast.Compare, ast.UnaryOp, ast.BinOp),
    *(ast.expr_context, ast.operator, ast.cmpop, ast.unaryop),
)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)


def with_whole_masks(tree: ast.Module, writes: Sequence[Write]) -> tuple[Write, ...]:
    """The writes, with word of masks that have the shape of their target."""
    candidates = {id(write) for write in writes if _is_masked(write)}
    if not candidates:
        return tuple(writes)
    finder = _Finder(tree)
    return tuple(
        replace(write, whole_mask=finder.is_whole(write)) if id(write) in candidates else write for write in writes
    )


def maskings_of(tree: ast.Module, writes: Sequence[Write]) -> tuple[Masking, ...]:
    """The masked writes of `tree` that could as well be computed everywhere and selected, in source order."""
    candidates = [write for write in writes if _is_candidate(write)]
    if not candidates:
        return ()
    finder = _Finder(tree)
    found: list[Masking] = []
    paired: set[int] = set()
    by_statement = {id(write.statement): write for write in candidates}
    for write in candidates:
        following = by_statement.get(id(finder.following(write)))
        inverse = following if following is not None and _is_inverse(write, following) else None
        pair = None if inverse is None else finder.pair(write, inverse)
        if pair is not None and id(write) not in paired:
            found.append(pair)
            paired |= {id(write), id(inverse)}
    for write in candidates:
        masked = None if id(write) in paired else finder.masked(write)
        if masked is not None and (masked.places or write.form is WriteForm.AUGMENTED_INDEX):
            found.append(Masking(masked))
    return tuple(sorted(found, key=lambda masking: masking.first.write.statement.lineno))


def _is_masked(write: Write) -> bool:
    """`y[mask] = v` or `y[mask] op= v`, on a name."""
    if write.form not in (WriteForm.INDEX, WriteForm.AUGMENTED_INDEX) or len(write.index) != 1 or write.value is None:
        return False
    return write.index[0].kind is IndexKind.MASK and isinstance(write.target, ast.Name)


def _is_candidate(write: Write) -> bool:
    """A masked write that is a statement of its own."""
    if not _is_masked(write):
        return False
    node = write.node
    single = isinstance(node, ast.AugAssign) or (isinstance(node, ast.Assign) and len(node.targets) == 1)
    return single and node is write.statement and write.operator in (None, "+=", "-=", "*=", "/=", "**=")


def _is_inverse(one: Write, other: Write) -> bool:
    """Of a mask under a name, and `~` it: `x <= 0` isn't the inverse of `x > 0` for NaN."""
    if one.form is not WriteForm.INDEX or other.form is not WriteForm.INDEX:
        return False
    if ast.dump(one.target) != ast.dump(other.target):
        return False
    a, b = one.index[0].node, other.index[0].node
    return any(isinstance(x, ast.Name) and _dump(_inverted(y)) == _dump(x) for x, y in ((a, b), (b, a)))


def _inverted(node: ast.expr) -> ast.expr | None:
    """`m` of `~m`."""
    return node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert) else None


def _dump(node: ast.expr | None) -> str:
    return "" if node is None else ast.dump(node).replace("ctx=Store()", "ctx=Load()")


class _Finder:
    """The tree, and what is known of its names."""

    def __init__(self, tree: ast.Module) -> None:
        self._parents = parents(tree)

    def following(self, write: Write) -> ast.stmt | None:
        """The statement behind that of `write`."""
        block = self._parents.indexed(write.statement)
        behind = block.positions[id(write.statement)] + 1
        return block.statements[behind] if behind < len(block.statements) else None

    def pair(self, write: Write, inverse: Write) -> Masking | None:
        """Two writes that together fill the target; at least one must read it, or its graph would be lost."""
        first, second = self.masked(write), self.masked(inverse)
        if first is None or second is None or not (first.reads_target or second.reads_target):
            return None
        return Masking(first, second)

    def masked(self, write: Write) -> MaskedWrite | None:
        """The facts of one write; None where it can't be computed without the mask."""
        mask, value = write.index[0].node, write.value
        if value is None or not write.whole_mask or not _is_effectless(mask):
            return None
        places: list[ast.Subscript] = []
        steep = write.operator in ("/=", "**=")
        if not self._is_elementwise(write, value, places, steep=steep):
            return None
        target = _dump(write.target)
        reads = write.form is WriteForm.AUGMENTED_INDEX or any(_dump(place.value) == target for place in places)
        assert isinstance(write.target, ast.Name)
        bindings = self._parents.bindings(write.statement)
        floating = is_made_floating(self._parents, bindings, write.statement, write.target)
        return MaskedWrite(write, mask, tuple(places), reads, floating)

    def is_whole(self, write: Write) -> bool:
        """Whether the mask has the shape of the target."""
        rank = write.tensor.rank
        if rank is not None and write.index[0].rank == rank:
            return True
        statement = write.statement
        bindings = self._parents.bindings(statement)
        return covers(self._parents, bindings, statement, write.index[0].node, write.target)

    def _alike(self, write: Write, node: ast.expr) -> bool:
        statement = write.statement
        return same_shape(self._parents, self._parents.bindings(statement), statement, node, write.target)

    def _is_elementwise(self, write: Write, value: ast.expr, places: list[ast.Subscript], *, steep: bool) -> bool:
        """Whether `value` is computed element by element; finds the tensors it starts from.

        `steep`: what is made of it may have an infinite slope.
        """
        if isinstance(value, ast.Constant):
            return type(value.value) in (int, float)
        if isinstance(value, ast.Name):
            return self._is_single(write, value, steep=steep)
        if isinstance(value, ast.Subscript):
            if _dump(value.slice) != _dump(write.index[0].node) or not isinstance(value.value, ast.Name):
                return False
            places.append(value)
            return _dump(value.value) == _dump(write.target) or self._alike(write, value.value)
        steep = steep or not (isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Add, ast.Sub, ast.Mult)))
        parts = elementwise_operands(value)
        return bool(parts) and all(self._is_elementwise(write, part, places, steep=steep) for part in parts)

    def _is_single(self, write: Write, name: ast.Name, *, steep: bool) -> bool:
        """A Python number, or a tensor without dimensions.

        A tensor must be a term or a factor: it isn't replaced where the mask is False, since that would give it
        dimensions, and its dtype more weight.
        """
        facts = dict(write.operands).get(name.id)
        if facts is not None and facts.kind is ValueKind.NUMBER:
            return True
        single = facts is not None and facts.tensor is not None and facts.tensor.rank == 0
        bindings = self._parents.bindings(write.statement)
        return not steep and (single or is_reduced(self._parents, bindings, write.statement, name))


def elementwise_operands(value: ast.expr) -> list[ast.expr]:
    """The operands of an elementwise operation; none of any other expression."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, _OPERATORS):
        return [value.left, value.right]
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        return [value.operand]
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return []
    if value.func.attr not in ELEMENTWISE or not all(_is_bound(keyword) for keyword in value.keywords):
        return []
    given = [*value.args, *(keyword.value for keyword in value.keywords)]
    owner = value.func.value
    return given if isinstance(owner, ast.Name) and owner.id in ("torch", "th", "F") else [owner, *given]


def _is_bound(keyword: ast.keyword) -> bool:
    """Of `clamp(min=0.5)`."""
    return keyword.arg in ("min", "max")


def _is_effectless(mask: ast.expr) -> bool:
    """Made of names, numbers, comparisons and tests: may be evaluated again, or a little earlier."""
    for node in ast.walk(mask):
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Attribute) or node.func.attr not in _TESTS or node.keywords:
                return False
        elif not isinstance(node, _ALLOWED):
            return False
    return True
