"""Loops that write a buffer slot by slot: the slots, what else reads the buffer, and why they can't become a list."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import WriteRecord
from gradfix.analysis.domain.values import Storage
from gradfix.analysis.facts import FilledBuffer, IndexItem, IndexKind, Initial, SlotAccess, SlotWrite, Write, WriteForm
from gradfix.analysis.text import coverage
from gradfix.analysis.text.builtin_names import builtin
from gradfix.analysis.text.scopes import Bindings, Loop, Parents, driving_loop, names_in, parents, stored_in
from gradfix.analysis.text.slots import Chain, access_of, axes_of, chain_of

_FORMS = (WriteForm.INDEX, WriteForm.AUGMENTED_INDEX)
_METADATA = frozenset(
    "shape dtype device ndim size dim numel nelement element_size is_floating_point get_device layout new new_zeros "
    "new_ones new_empty new_full new_tensor".split()
)
_GRADIENT_MODES = frozenset("no_grad enable_grad set_grad_enabled inference_mode".split())
_READERS = frozenset("len print repr str float int bool abs sum max min enumerate zip reversed list tuple".split())
_LIKE = frozenset("zeros_like ones_like empty_like full_like rand_like randn_like randint_like".split())

Describe = Callable[[WriteRecord], Write]


def buffers_of(m: Machine, tree: ast.Module, writes: Sequence[Write], describe: Describe) -> tuple[FilledBuffer, ...]:
    """The loops of `tree` that fill a buffer by writes that autograd follows, in source order."""
    candidates = [w for w in writes if w.form in _FORMS and _root(w.target) is not None and _has_int(w)]
    if not candidates:
        return ()
    finder = _Finder(m, tree, describe)
    found: dict[tuple[int, str], FilledBuffer] = {}
    for write in candidates:
        name = _root(write.target)
        loop = finder.loop_of(write)
        if name is not None and loop is not None and (id(loop), name.id) not in found:
            found[id(loop), name.id] = finder.buffer(loop, name.id)
    return tuple(sorted(found.values(), key=lambda buffer: (buffer.loop.lineno, buffer.loop.col_offset)))


def _has_int(write: Write) -> bool:
    return any(item.kind is IndexKind.INT for item in write.index) or isinstance(write.target, ast.Subscript)


def _root(target: ast.expr) -> ast.Name | None:
    """`y` of `y` and `y[i]`; None for what hangs on something else."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return target if isinstance(target, ast.Name) else None


def only_reads(call: ast.Call) -> bool:
    """A builtin, a function of torch, a module of `self`: of what else is called with the whole buffer, who knows."""
    root = call.func
    while isinstance(root, (ast.Attribute, ast.Subscript)):
        root = root.value
    if not isinstance(root, ast.Name):
        return isinstance(call.func, ast.Attribute)  # a method of a value made on the spot
    if isinstance(call.func, ast.Name):
        return builtin(root) in _READERS
    return root.id in ("torch", "th", "F", "nn", "self", "math")


def sets_gradients(node: ast.Name | ast.Attribute) -> bool:
    """Part of the loop may run without gradients, the list is stacked with them."""
    return (node.id if isinstance(node, ast.Name) else node.attr) in _GRADIENT_MODES


class _Refused(Exception):
    """The slots can't become a list; the message says why."""


@dataclass(frozen=True, slots=True)
class _Use:
    """A use of the buffer's name with all the subscripts on it."""

    name: ast.Name
    subscripts: tuple[ast.Subscript, ...]
    record: WriteRecord | None  # of a write


def _written_access(use: _Use, chain: Chain, axes: tuple[int, ...]) -> SlotAccess:
    """The slot that a write names. Raises `_Refused` where it writes to a part of the slot by another subscript."""
    access = access_of(chain, axes)
    if access.node is not use.subscripts[-1]:
        raise _Refused(
            f"`{ast.unparse(use.subscripts[-1])}` is written, a part of the slot `{ast.unparse(access.node)}`"
        )
    return access


class _Finder:
    """The tree with what the machine wrote down about it."""

    def __init__(self, m: Machine, tree: ast.Module, describe: Describe) -> None:
        self._m = m
        self._parents = parents(tree)
        self._describe = describe
        self._writers: dict[Storage, list[WriteRecord]] = {}
        for record in m.notes.writes.values():
            for storage in record.storages:
                self._writers.setdefault(storage, []).append(record)

    def loop_of(self, write: Write) -> Loop | None:
        """The outermost loop that goes through the slots `write` names."""
        loops = [node for node in self._parents.up(write.statement) if isinstance(node, (ast.For, ast.While))]
        index: set[str] = set()
        target: ast.expr = write.target
        for item in write.index:
            index |= names_in(item.node)
        while isinstance(target, ast.Subscript):
            index |= names_in(target.slice)
            target = target.value
        return driving_loop(loops, index)

    def buffer(self, loop: Loop, name: str) -> FilledBuffer:
        """The facts of the buffer `name` in `loop`."""
        bindings = self._parents.bindings(loop)
        uses: list[_Use] = []
        refusal: str | None = None
        try:
            self._check_scope(loop, name, bindings)
            uses = [self._use(node) for node in ast.walk(loop) if isinstance(node, ast.Name) and node.id == name]
            uses.sort(key=lambda use: (use.name.lineno, use.name.col_offset))
            self._check_writes(loop, name, uses)
        except _Refused as error:
            refusal = str(error)
        return self._described(loop, name, uses, refusal, bindings)

    def _described(
        self, loop: Loop, name: str, uses: list[_Use], refusal: str | None, bindings: Bindings
    ) -> FilledBuffer:
        records = [(use, use.record) for use in uses if use.record is not None]
        facts = [(use, self._describe(record)) for use, record in records]
        shape = next((known for use, w in facts if (known := self._shape(use, w)) is not None), None)
        axes: tuple[int, ...] = ()
        written: list[SlotWrite] = []
        reads: list[SlotAccess] = []
        try:
            if refusal is not None:
                raise _Refused(refusal)
            rank = None if shape is None else len(shape)
            chains = [self._chain(use, rank) for use, _ in facts]
            axes = axes_of(chains, shape, stored_in(loop))
            if not axes:
                raise _Refused(f"the writes to `{name}` don't name their slots by ints along one dimension")
            pairs = zip(facts, chains, strict=True)
            written = [SlotWrite(write, _written_access(use, chain, axes)) for (use, write), chain in pairs]
            others = [use for use in uses if use.record is None and not self._is_metadata(use)]
            reads = [access_of(self._chain(use, rank), axes) for use in others]
        except _Refused as error:
            refusal, axes = str(error), ()
            written = [SlotWrite(write, SlotAccess(use.name, ())) for use, write in facts]
        metadata = any(use.record is None and self._is_metadata(use) for use in uses)
        made = coverage.creation(self._parents, bindings, loop, name)
        initial = None if made is None else self._initial(made, loop, bindings, axes, shape)
        place = uses[0].name if uses else ast.Name(name, ast.Load(), lineno=loop.lineno, col_offset=loop.col_offset)
        return FilledBuffer(
            loop=loop,
            name=place,
            axes=axes,
            shape=shape,
            writes=tuple(written),
            reads=tuple(reads),
            reads_metadata=metadata,
            has_slots=coverage.has_slots(self._parents, bindings, made, loop, name, axes)
            or self._has_sizes(made, axes),
            filling=coverage.filling(self._parents, bindings, made, loop, axes, written, bool(reads), metadata),
            refusal=refusal,
            created=None if made is None or initial is None else made.statement,
            initial=initial or Initial(),
        )

    def _initial(
        self,
        made: coverage.Creation,
        loop: Loop,
        bindings: Bindings,
        axes: tuple[int, ...],
        shape: tuple[int | None, ...] | None,
    ) -> Initial | None:
        """What is done with slots between `made` and `loop`; None where the buffer is used in another way there."""
        target = made.statement.targets[0]
        assert isinstance(target, ast.Name)
        named = coverage.named_before(self._parents, bindings, made, loop, target.id)
        if named is None or (named and not axes):
            return None
        block = self._parents.block(loop)
        between = {id(s) for s in block[block.index(made.statement) + 1 : block.index(loop)]}
        writes: list[SlotWrite] = []
        reads: list[SlotAccess] = []
        try:
            for use in map(self._use, named):
                chain, record = self._chain(use, None if shape is None else len(shape)), use.record
                access = access_of(chain, axes) if record is None else _written_access(use, chain, axes)
                statement = next(node for node in self._parents.up(use.name) if isinstance(node, ast.stmt))
                if len(access.slots) != len(axes) or id(statement) not in between:
                    return None
                if record is None:
                    reads.append(access)
                elif record.form is WriteForm.INDEX:
                    writes.append(SlotWrite(self._describe(record), access))
                else:
                    return None
        except _Refused:
            return None
        return Initial(tuple(writes), tuple(reads))

    def _has_sizes(self, made: coverage.Creation | None, axes: tuple[int, ...]) -> bool:
        """Whether every call of the function that was followed made the buffer with slots along all axes."""
        shape = None if made is None else self._m.notes.sizes.get(id(made.call))
        if shape is None or not axes or not all(-len(shape) <= axis < len(shape) for axis in axes):
            return False
        return all((shape[axis] or 0) > 0 for axis in axes)

    def _shape(self, use: _Use, write: Write) -> tuple[int | None, ...] | None:
        """Of the buffer; a write to `D[i][j]` knows that of `D[i]`."""
        picked = [self._m.notes.read_indices.get(id(subscript)) for subscript in use.subscripts[:-1]]
        ints = [item.kind is IndexKind.INT for items in picked for item in items or ()]
        if write.tensor.shape is None or None in picked or not all(ints):
            return None
        return (*(None for _ in ints), *write.tensor.shape)

    def _check_scope(self, loop: Loop, name: str, bindings: Bindings) -> None:
        """Nobody but the statements of this scope may see the variable, and only the loop's end may assign it."""
        if isinstance(bindings.scope, ast.ClassDef):
            raise _Refused(f"`{name}` is an attribute of a class in the making")
        if bindings.is_seen_elsewhere(name):
            raise _Refused(f"`{name}` is used by another function, too")
        for node in self._parents.up(loop):
            if isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
                raise _Refused(f"where an exception ends the loop, `{name}` would be left as it was before it")
        if any(node.id == name for node in self._stores_in(loop, bindings, name)):
            raise _Refused(f"`{name}` is assigned anew in the loop")
        for node in ast.walk(loop):
            if isinstance(node, (ast.Yield, ast.YieldFrom)):
                raise _Refused(f"the loop yields, and whoever gets `{name}` meanwhile may keep it")
            if isinstance(node, (ast.Name, ast.Attribute)) and sets_gradients(node):
                raise _Refused("gradients are turned on or off in the loop")

    @staticmethod
    def _stores_in(loop: Loop, bindings: Bindings, name: str) -> Iterator[ast.Name]:
        inside = {id(node) for node in ast.walk(loop)}
        return (node for node in bindings.stores.get(name, []) if id(node) in inside)

    def _use(self, name: ast.Name) -> _Use:
        if self._m.source.span_of(name).text(self._m.source.text) != name.id:
            raise _Refused(f"`{name.id}` stands inside a string")
        subscripts: list[ast.Subscript] = []
        current: ast.expr = name
        parent = self._parents.of(current)
        while isinstance(parent, ast.Subscript) and parent.value is current:
            subscripts.append(parent)
            current, parent = parent, self._parents.of(parent)
        written = isinstance(current, ast.Subscript) and not isinstance(current.ctx, ast.Load)
        if not written:
            if not subscripts and isinstance(parent, ast.Call) and not only_reads(parent):
                raise _Refused(f"`{ast.unparse(parent.func)}` may write to `{name.id}` or keep it")
            return _Use(name, tuple(subscripts), None)
        record = self._m.notes.writes.get(id(subscripts[-1].value))
        if record is None or record.form not in _FORMS or not self._is_assignment(record):
            raise _Refused(f"`{ast.unparse(current)}` is written in a way that has no form with a list")
        return _Use(name, tuple(subscripts), record)

    @staticmethod
    def _is_assignment(record: WriteRecord) -> bool:
        if record.form is WriteForm.AUGMENTED_INDEX:
            return True
        node = record.node
        return isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Subscript)

    def _check_writes(self, loop: Loop, name: str, uses: Sequence[_Use]) -> None:
        """Nothing else may write the memory of the buffer while the loop runs."""
        own = [use.record for use in uses if use.record is not None]
        storages = dict.fromkeys(storage for record in own for storage in record.storages)
        inside = {id(node) for node in ast.walk(loop)}
        functions = {record.function for record in own}
        others = {id(record): record for storage in storages for record in self._writers[storage]}
        for mine in own:
            others.pop(id(mine), None)
        meddling = [r.node for r in others.values() if id(r.node) in inside or r.function not in functions]
        if meddling:
            first = min(meddling, key=lambda node: self._m.source.span_of(node))
            raise _Refused(f"`{ast.unparse(first)[:48]}` writes to the memory of `{name}`, too")

    def _is_metadata(self, use: _Use) -> bool:
        return not use.subscripts and gives_metadata(self._parents, use.name)

    def _chain(self, use: _Use, rank: int | None) -> Chain:
        def items_of(subscript: ast.Subscript) -> tuple[IndexItem, ...] | None:
            if use.record is not None and subscript is use.subscripts[-1]:
                return use.record.index
            return self._m.notes.read_indices.get(id(subscript))

        chain = chain_of(use.name, use.subscripts, items_of, rank)
        if chain is None:
            raise _Refused(f"`{ast.unparse(use.subscripts[-1])}` is never reached")
        return chain


def gives_metadata(parents: Parents, name: ast.Name) -> bool:
    """`out.shape`, `out.size(0)`, `len(out)`, `torch.empty_like(out)`: the values don't matter."""
    parent = parents.of(name)
    if isinstance(parent, ast.Attribute):
        return parent.attr in _METADATA
    if isinstance(parent, ast.Call) and name in parent.args[:1]:
        function = parent.func
        if isinstance(function, ast.Name):
            return builtin(function) == "len"
        return isinstance(function, ast.Attribute) and function.attr in _LIKE
    return False
