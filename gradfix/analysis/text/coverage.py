"""How often a loop runs against how many slots a buffer has: does it write every one of them, once and in order?"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from gradfix.analysis.facts import Filling, SlotWrite, WriteForm
from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.scopes import Bindings, Loop, Parents, names_in, stored_in

_SIZED = frozenset("zeros ones empty new_zeros new_ones new_empty".split())
_FILLED = frozenset("full new_full".split())
_LIKE = frozenset("zeros_like ones_like empty_like full_like".split())
_RESIZING = frozenset("append extend insert pop remove clear resize_ resize_as_ squeeze_ unsqueeze_ t_".split())


@dataclass(frozen=True, slots=True)
class Creation:
    """The only assignment of a buffer, by a function that makes a new tensor and has no effect."""

    statement: ast.Assign
    call: ast.Call


def creation(parents: Parents, bindings: Bindings, loop: Loop, name: str) -> Creation | None:
    """Where the buffer `name` of `loop` is made, when that is before the loop on every way."""
    stores = bindings.stores.get(name, [])
    statement = parents.of(stores[0]) if len(stores) == 1 and name not in bindings.parameters else None
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    call = statement.value
    if not isinstance(call, ast.Call) or _function(call) not in _SIZED | _FILLED | _LIKE:
        return None
    around = [loop, *parents.up(loop)]
    before = any(any(node is inner for inner in around) for node in _after(parents.block(statement), statement))
    return Creation(statement, call) if before else None


def _after(block: Sequence[ast.stmt], statement: ast.stmt) -> Sequence[ast.stmt]:
    position = next(i for i, other in enumerate(block) if other is statement)
    return block[position + 1 :]


def _function(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _size(call: ast.Call, axis: int) -> str | None:
    """The size along `axis` of what `call` makes, as a key that equal sizes share; None when it doesn't say."""
    function = _function(call)
    if function in _LIKE:
        like = call.args[0] if call.args else None
        return None if like is None or axis < 0 else f"size({ast.unparse(like)}, {axis})"
    sizes: list[ast.expr] = list(call.args)
    if sizes and isinstance(sizes[0], (ast.Tuple, ast.List)):
        sizes = sizes[0].elts
    elif function in _FILLED:
        return None
    if any(isinstance(size, ast.Starred) for size in sizes) or not -len(sizes) <= axis < len(sizes):
        return None
    return _key(sizes[axis])


def _key(size: ast.expr) -> str:
    """`len(x)`, `x.shape[0]` and `x.size(0)` alike; the text of any other expression."""
    if isinstance(size, ast.Call) and builtin(size.func) == "len" and len(size.args) == 1:
        return f"size({ast.unparse(size.args[0])}, 0)"
    if isinstance(size, ast.Subscript) and isinstance(size.value, ast.Attribute) and size.value.attr == "shape":
        return f"size({ast.unparse(size.value.value)}, {ast.unparse(size.slice)})"
    if isinstance(size, ast.Call) and isinstance(size.func, ast.Attribute) and size.func.attr == "size" and size.args:
        return f"size({ast.unparse(size.func.value)}, {ast.unparse(size.args[0])})"
    return ast.unparse(size)


def has_slots(
    parents: Parents,
    bindings: Bindings,
    made: Creation | None,
    loop: Loop,
    name: str,
    axes: Sequence[int],
) -> bool:
    """Whether the buffer has at least one slot along every axis, whoever calls with whatever sizes."""
    return bool(axes) and all(
        _asked(parents, loop, name, axis) or (made is not None and _is_positive(parents, bindings, made.call, axis))
        for axis in axes
    )


def _asked(parents: Parents, loop: Loop, name: str, axis: int) -> bool:
    """A statement before the loop uses a slot under a constant number: `h[0] = x0` fails when there is none."""
    block = parents.block(loop)
    position = next(i for i, other in enumerate(block) if other is loop)
    for statement in reversed(block[:position]):
        if not isinstance(statement, (ast.Assign, ast.AugAssign, ast.Expr)) or name in stored_in(statement):
            return False
        for node in ast.walk(statement):
            if isinstance(node, (ast.Lambda, ast.IfExp, ast.BoolOp, ast.comprehension)):
                break
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == name:
                items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                basic = all(isinstance(item, (ast.Slice, ast.Constant, ast.UnaryOp)) for item in items)
                if basic and 0 <= axis < len(items) and _is_int(items[axis]):
                    return True
    return False


def _is_int(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) is int


def _is_positive(parents: Parents, bindings: Bindings, call: ast.Call, axis: int) -> bool:
    """`zeros(len(x) + 1)`."""
    sizes = list(call.args)
    if sizes and isinstance(sizes[0], (ast.Tuple, ast.List)):
        sizes = sizes[0].elts
    if _function(call) in _LIKE or not -len(sizes) <= axis < len(sizes):
        return False
    if any(isinstance(size, ast.Starred) for size in sizes):
        return False
    size = _literal(parents, bindings, sizes[axis])
    if isinstance(size, ast.Constant):
        return type(size.value) is int and size.value > 0
    if not isinstance(size, ast.BinOp) or not isinstance(size.op, ast.Add):
        return False
    for one, other in ((size.left, size.right), (size.right, size.left)):
        if isinstance(one, ast.Constant) and type(one.value) is int and one.value > 0:
            return _is_size(parents, bindings, other)
    return False


def _literal(parents: Parents, bindings: Bindings, node: ast.expr) -> ast.expr:
    """What the name `node` got, where that is a number written out and nothing else is; any other node itself."""
    if isinstance(node, ast.Name) and node.id not in bindings.parameters and len(bindings.stores.get(node.id, [])) == 1:
        around = parents.of(bindings.stores[node.id][0])
        if isinstance(around, ast.Assign) and len(around.targets) == 1 and isinstance(around.value, ast.Constant):
            return around.value
    return node


def _is_size(parents: Parents, bindings: Bindings, node: ast.expr) -> bool:
    """Never negative: `len(x)`, `x.shape[0]`, or a name that got such a number and no other."""
    if _key(node).startswith("size("):
        return True
    if not isinstance(node, ast.Name) or node.id in bindings.parameters or len(bindings.stores.get(node.id, [])) != 1:
        return False
    stored = bindings.stores[node.id][0]
    around = parents.of(stored)
    if isinstance(around, ast.Assign):
        return not isinstance(around.value, ast.Name) and _is_size(parents, bindings, around.value)
    if not isinstance(around, ast.Tuple) or not isinstance(statement := parents.of(around), ast.Assign):
        return False
    value = statement.value
    if isinstance(value, ast.Tuple) and len(value.elts) == len(around.elts):
        return _key(value.elts[next(i for i, t in enumerate(around.elts) if t is stored)]).startswith("size(")
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Attribute) and value.func.attr == "size" and not value.args
    return isinstance(value, ast.Attribute) and value.attr == "shape"


def named_before(
    parents: Parents, bindings: Bindings, made: Creation, loop: Loop, name: str
) -> tuple[ast.Name, ...] | None:
    """Where the buffer is named between where it is made and `loop`; None where these aren't of one block.

    Functions inside don't use it, as `is_seen_elsewhere` tells: their `lambda t: t.sum()` names something else.
    """
    if not any(other is loop for other in parents.block(made.statement)):
        return None
    inside = {id(node) for node in ast.walk(loop)}
    named = bindings.names.get(name, ())
    return tuple(
        node
        for node in named
        if isinstance(node.ctx, ast.Load)
        and id(node) not in inside
        and node.lineno <= loop.lineno
        and parents.scope(node) is bindings.scope
    )


def filling(
    parents: Parents,
    bindings: Bindings,
    made: Creation | None,
    loop: Loop,
    axes: Sequence[int],
    written: Sequence[SlotWrite],
    is_read: bool,
    reads_metadata: bool,
) -> Filling | None:
    """The proof that `loop` writes each slot once and in order, or None."""
    if not isinstance(loop, ast.For) or len(axes) != 1 or len(written) != 1 or is_read or loop.orelse or made is None:
        return None
    write, access = written[0].write, written[0].access
    if write.form is not WriteForm.INDEX or access.rest or not any(s is write.statement for s in loop.body):
        return None
    counted = _count(loop)
    if counted is None or _leaves_early(loop) or not _is_name(access.slots[0], counted.counter):
        return None
    if counted.counter in {name for statement in loop.body for name in stored_in(statement)}:
        return None
    size = _size(made.call, axes[0])
    if size is None or size != counted.rounds or not _stays(parents, bindings, made, loop, counted.source):
        return None
    name = made.statement.targets[0]
    assert isinstance(name, ast.Name)
    alone = not reads_metadata and named_before(parents, bindings, made, loop, name.id) == ()
    return Filling(
        loop=loop,
        backwards=counted.backwards,
        created=made.statement if alone else None,
        is_single=len(loop.body) == 1,
        leaves_target=_is_read_outside(bindings, loop, stored_in(loop.target)),
    )


@dataclass(frozen=True, slots=True)
class _Count:
    """A loop that counts from 0 up, or down to 0."""

    counter: str
    rounds: str  # key of the number of rounds
    source: ast.expr  # what that number is taken from
    backwards: bool


def _count(loop: ast.For) -> _Count | None:
    call, target = loop.iter, loop.target
    if not isinstance(call, ast.Call) or call.keywords:
        return None
    backwards = builtin(call.func) == "reversed" and len(call.args) == 1
    if backwards:
        inner = call.args[0]
        if not isinstance(inner, ast.Call) or builtin(inner.func) != "range":
            return None
        call = inner
    function = builtin(call.func)
    if call.keywords:
        return None
    if function == "range" and isinstance(target, ast.Name):
        return _range(call, target.id, backwards)
    if function == "enumerate" and len(call.args) == 1 and isinstance(target, ast.Tuple):
        counter = target.elts[0]
        if isinstance(counter, ast.Name) and isinstance(call.args[0], ast.Name):
            return _Count(counter.id, f"size({call.args[0].id}, 0)", call.args[0], False)
    return None


def _range(call: ast.Call, counter: str, backwards: bool) -> _Count | None:
    if len(call.args) == 1:
        return _Count(counter, _key(call.args[0]), call.args[0], backwards)
    texts = [ast.unparse(argument) for argument in call.args]
    if len(texts) == 2 and texts[0] == "0":
        return _Count(counter, _key(call.args[1]), call.args[1], backwards)
    first = call.args[0]
    down = len(texts) == 3 and texts[1:] == ["-1", "-1"] and not backwards
    if down and isinstance(first, ast.BinOp) and isinstance(first.op, ast.Sub) and ast.unparse(first.right) == "1":
        return _Count(counter, _key(first.left), first.left, True)
    return None


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _leaves_early(loop: ast.For) -> bool:
    """Whether a round may end, or the loop, before the write."""
    return any(isinstance(node, (ast.Break, ast.Continue)) for node in ast.walk(loop))


def _stays(parents: Parents, bindings: Bindings, made: Creation, loop: ast.For, source: ast.expr) -> bool:
    """Whether the number of rounds is what it was when the buffer was made."""
    if any(isinstance(node, ast.Call) and not _asks_size(node) for node in ast.walk(source)):
        return False
    if any(isinstance(node, ast.Attribute) and node.attr not in ("shape", "size") for node in ast.walk(source)):
        return False
    around = [node for node in parents.up(loop) if isinstance(node, (ast.For, ast.While, ast.AsyncFor))]
    inside = [node for node in around if not any(inner is made.statement for inner in ast.walk(node))]
    last = inside[-1] if inside else loop
    first, end = made.statement.lineno, last.end_lineno or last.lineno
    wanted = names_in(source)
    for name in wanted:
        if any(first <= node.lineno <= end for node in bindings.stores.get(name, [])):
            return False
    resizing = (node for name in _RESIZING for node in bindings.attributes.get(name, ()))
    resized = {node.value.id for node in resizing if isinstance(node.value, ast.Name)}
    return resized.isdisjoint(wanted)


def _asks_size(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return builtin(call.func) == "len"
    return isinstance(call.func, ast.Attribute) and call.func.attr == "size"


def _is_read_outside(bindings: Bindings, loop: ast.For, names: set[str]) -> bool:
    read = bindings.read_outside_loops(frozenset(names))
    inside = {id(node) for node in ast.walk(loop)} if read else set()
    return any(id(node) not in inside for node in read)
