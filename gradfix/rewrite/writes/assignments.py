"""Builds the out-of-place forms of `y[i] = v`, `y += v` and `y[i] += v`."""

from __future__ import annotations

import ast
from collections.abc import Callable

import libcst as cst

from gradfix.analysis.facts import IndexKind, Spelling, ValueKind, Write, WriteForm
from gradfix.edits import Edit
from gradfix.findings import Refusal, RefusalKind
from gradfix.rewrite.grounds.dtypes import keeps_dtype
from gradfix.rewrite.grounds.places import is_unpacked, temporary
from gradfix.rewrite.text import names, sites, tree
from gradfix.rewrite.text.expressions import are_places, is_effectless, is_literal_number, is_term, mentions
from gradfix.rewrite.text.numbers import spread
from gradfix.rewrite.text.tree import Tree
from gradfix.rewrite.views import replays
from gradfix.rewrite.views.view_steps import slice_arguments
from gradfix.rewrite.writes import ladder
from gradfix.rewrite.writes.ladder import Form
from gradfix.rewrite.writes.unpacking import NESTED, may_show, one_by_one
from gradfix.source import Source

Edits = tuple[Edit, ...]


def build(source: Source, form: Form, write: Write, spelling: Spelling) -> Edits | Refusal:
    """The edits that give the assignment `write` the spelling `form`."""
    site = sites.site_of(source, write.statement)
    read = tree.read(site, write.statement)
    if isinstance(read, Refusal):
        return read
    if form is Form.ONE_BY_ONE:
        lines = one_by_one(source, read, write)
        return lines if isinstance(lines, Refusal) else sites.replace(site, lines)
    if form is Form.CLONE:
        return _clone(source, site, read, write, spelling)
    line = _FORMS[form](read, write, spelling)
    if not tree.keeps_comments(read, line):
        return Refusal(RefusalKind.SPELLING, "a comment inside the statement would be lost", "the clone form keeps it")
    return sites.replace(site, [line]) + names.import_torch(source, spelling, line)


def arithmetic_on(source: Source, site: sites.Site, write: Write, place: str) -> Edits | Refusal:
    """`y.data *= 2` as `y = y * 2`, with `place` for the target."""
    read = tree.read(site, write.statement)
    if isinstance(read, Refusal):
        return read
    statement = read.statement
    assert isinstance(statement, cst.AugAssign)
    named = statement.with_changes(target=tree.name(place))
    line = read.code(tree.assignment(named, tree.binary(named)))
    if not tree.keeps_comments(read, line):
        return Refusal(RefusalKind.SPELLING, "a comment inside the statement would be lost", "the clone form keeps it")
    return sites.replace(site, [line])


def _arithmetic(read: Tree, write: Write, spelling: Spelling) -> str:
    statement = read.statement
    assert isinstance(statement, cst.AugAssign)
    return read.code(tree.assignment(statement, _sum(statement, write)))


def _plain(read: Tree, write: Write, spelling: Spelling) -> str:
    statement = read.statement
    assert isinstance(statement, cst.AugAssign)
    return read.code(tree.assignment(statement, tree.binary(statement)))


def _sum(statement: cst.AugAssign, write: Write) -> cst.BaseExpression:
    """`y + v`, cast to the dtype of `y` where it may come out wider."""
    result = tree.binary(statement)
    if keeps_dtype(write):
        return result
    holder = statement.target
    if write.form is WriteForm.AUGMENTED_INDEX:
        assert isinstance(holder, cst.Subscript)
        holder = holder.value  # type: ignore[assignment]  # what is indexed can be read as well
    dtype = cst.Attribute(holder, cst.Name("dtype"))
    cast = cst.Attribute(tree.parenthesised(result), cst.Name("to"))
    return cst.Call(cast, [cst.Arg(dtype)])


def _where(read: Tree, write: Write, spelling: Spelling) -> str:
    target, value = _parts(read)
    where = tree.name(names.torch_name(spelling, "where"))
    mask = tree.argument(_items(target)[0])
    return read.line("{y} = {where}({mask}, {v}, {y})", y=target.value, where=where, mask=mask, v=tree.argument(value))


def _index_put(read: Tree, write: Write, spelling: Spelling) -> str:
    target, value = _parts(read)
    indices = [
        _tensor_index(read, item, fact.kind, spelling) for item, fact in zip(_items(target), write.index, strict=True)
    ]
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" " if len(indices) > 1 else ""))
    elements = [cst.Element(index, comma) for index in indices[:-1]]
    last = cst.Element(indices[-1], comma) if len(indices) == 1 else cst.Element(indices[-1])
    return read.line(
        "{y} = {put}({indices}, {v})",
        y=target.value,
        put=cst.Attribute(target.value, cst.Name("index_put")),
        indices=cst.Tuple([*elements, last]),
        v=_as_tensor(read, target.value, value, write),
    )


def _tensor_index(read: Tree, item: cst.BaseExpression, kind: IndexKind, spelling: Spelling) -> cst.BaseExpression:
    if kind is not IndexKind.INT:
        return tree.argument(item)
    function = tree.name(names.torch_name(spelling, "tensor"))
    return read.expression("{tensor}({item})", tensor=function, item=tree.argument(item))


def _as_tensor(read: Tree, holder: cst.BaseExpression, value: cst.BaseExpression, write: Write) -> cst.BaseExpression:
    """A number as a tensor of the dtype and device of `holder`; a tensor as it is."""
    if write.form is WriteForm.AUGMENTED_INDEX or write.written.kind is not ValueKind.NUMBER:
        return tree.argument(value)
    template = "{y}.new_tensor({v})" if is_literal_number(write.value) else "{y}.new_full((), {v})"
    return read.expression(template, y=holder, v=tree.argument(value))


def _scatter(read: Tree, write: Write, spelling: Spelling) -> str:
    target, value = _parts(read)
    if write.form is WriteForm.INDEX and write.written.kind is ValueKind.NUMBER:
        value = tree.name(spread(spelling, read.code(target), write.value, read.code(tree.argument(value))))
    return scatter_line(read, write, target, value, spelling)


def scatter_line(read: Tree, write: Write, target: cst.Subscript, value: cst.BaseExpression, spelling: Spelling) -> str:
    """`y = torch.select_scatter(y, value, dim, i)` or its like for slices, for the one axis that `target` restricts."""
    place = ladder.single_axis(write.index)
    assert place is not None
    axis, item = place
    node = _slices(target)[write.index.index(item)]
    function = "select_scatter" if isinstance(node, cst.Index) else "slice_scatter"
    arguments = [read.code(target.value), read.code(tree.argument(value)), *_where_to(read, axis, node)]
    call = tree.name(f"{names.torch_name(spelling, function)}({', '.join(arguments)})")
    return read.line("{y} = {call}", y=target.value, call=call)


def _where_to(read: Tree, axis: int, node: cst.BaseSlice) -> list[str]:
    """What follows the value in the call: the dimension, and the index or start, end and step."""
    if isinstance(node, cst.Index):
        return [str(axis), read.code(tree.argument(node.value))]
    assert isinstance(node, cst.Slice)
    bounds = (node.lower, node.upper, node.step)
    return slice_arguments(axis, [None if b is None else read.code(tree.argument(b)) for b in bounds])


_FORMS: dict[Form, Callable[[Tree, Write, Spelling], str]] = {
    Form.ARITHMETIC: _arithmetic,
    Form.PLAIN: _plain,
    Form.WHERE: _where,
    Form.INDEX_PUT: _index_put,
    Form.SCATTER: _scatter,
}


def _clone(source: Source, site: sites.Site, read: Tree, write: Write, spelling: Spelling) -> Edits | Refusal:
    """Hoist the value where it may read the tensor, clone the tensor, then write to the clone."""
    value, clones, places = _whole_value(write), replays.clones(source, write), replays.renewed(write)
    hoists = any(_needs_hoist(source, write, value, place, spelling) for place in places)
    plain = not hoists and all(is_effectless(item.node, spelling) for item in write.index)
    if write.form is WriteForm.AUGMENTED_INDEX and (not plain or _saves_operands(write)):
        return _clone_augmented_index(source, site, read, write, spelling, clones)
    if not hoists:
        return replays.cloned_early(source, write) or replays.cloned(source, write)
    if is_unpacked(write) and any(mentions(value, place) for place in places):
        if are_places(value):
            return replays.cloned_early(source, write) or replays.cloned(source, write)
        lines = NESTED if may_show(value) else one_by_one(source, read, write, clones)
        return lines if isinstance(lines, Refusal) else sites.replace(site, lines)
    hoist, rest = _hoisted(read, temporary(source))
    return sites.replace(site, [hoist, *clones, rest])


def _clone_augmented_index(
    source: Source, site: sites.Site, read: Tree, write: Write, spelling: Spelling, clones: list[str]
) -> Edits | Refusal:
    """`y[i] += v` as value, clone, write; the index is evaluated twice."""
    if not all(is_effectless(item.node, spelling) for item in write.index):
        return Refusal(
            RefusalKind.ORDER,
            "the index has an effect and would be evaluated twice",
            "give the index a name before the write",
        )
    statement = read.statement
    assert isinstance(statement, cst.AugAssign)
    result = tree.binary(statement) if ladder.is_basic(write.index) else _sum(statement, write)
    value = cst.Name(temporary(source))
    hoist = read.line("{value} = {result}", value=value, result=result)
    return sites.replace(site, [hoist, *clones, read.code(tree.assignment(statement, value))])


def _saves_operands(write: Write) -> bool:
    """Whether backward of `y[i] op= v` itself needs `y[i]`: a sum needs nothing, nor does a multiple by a number."""
    assert isinstance(write.node, ast.AugAssign)
    if isinstance(write.node.op, (ast.Add, ast.Sub)):
        return False
    return not (isinstance(write.node.op, (ast.Mult, ast.Div)) and write.written.kind is ValueKind.NUMBER)


def _needs_hoist(source: Source, write: Write, value: ast.expr, place: ast.expr, spelling: Spelling) -> bool:
    if mentions(value, place) and (is_unpacked(write) or not is_term(place, value)):
        return True
    return not is_effectless(value, spelling) and names.visible_to_calls(source, write.statement, place)


def _whole_value(write: Write) -> ast.expr:
    """The right side of the statement, all of it where several targets share it."""
    assert isinstance(write.node, (ast.Assign, ast.AugAssign, ast.AnnAssign))
    assert write.node.value is not None
    return write.node.value


def _hoisted(read: Tree, value: str) -> tuple[str, str]:
    """The assignment of the statement's value to the name `value`, and the statement with that name instead."""
    statement = read.statement
    assert isinstance(statement, (cst.Assign, cst.AugAssign, cst.AnnAssign))
    assert statement.value is not None
    hoist = read.line("{name} = {value}", name=cst.Name(value), value=statement.value)
    return hoist, read.code(statement.with_changes(value=cst.Name(value)))


def _parts(read: Tree) -> tuple[cst.Subscript, cst.BaseExpression]:
    """The subscript written, and the value it gets."""
    statement = read.statement
    if isinstance(statement, cst.AugAssign):
        assert isinstance(statement.target, cst.Subscript)
        return statement.target, tree.binary(statement)
    assert isinstance(statement, cst.Assign)
    target = statement.targets[0].target
    assert isinstance(target, cst.Subscript)
    return target, statement.value


def _slices(target: cst.Subscript) -> list[cst.BaseSlice]:
    first = target.slice[0].slice
    if len(target.slice) == 1 and isinstance(first, cst.Index) and isinstance(first.value, cst.Tuple):
        return [cst.Index(element.value) for element in first.value.elements]
    return [element.slice for element in target.slice]


def _items(target: cst.Subscript) -> list[cst.BaseExpression]:
    items = []
    for item in _slices(target):
        assert isinstance(item, cst.Index)
        items.append(item.value)
    return items
