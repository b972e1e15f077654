"""Statements that make a buffer and write all its slots, or its slices, one after the other: `out[:, 0] = a`, …"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import WriteRecord
from gradfix.analysis.facts import FilledBlock, IndexKind, Piece, Tracked, ValueKind, Write, WriteForm
from gradfix.analysis.hazards.buffers import gives_metadata, only_reads, sets_gradients
from gradfix.analysis.text.nodes import every_node
from gradfix.analysis.text.scopes import Bindings, bound_in, names_in, parents
from gradfix.analysis.text.slot_shapes import Cut, Made, Names, SlotShape, cut_of, int_of, operands, unbound_of

_LEAVING = (ast.Break, ast.Continue, ast.Return, ast.Yield, ast.YieldFrom, ast.Await, ast.NamedExpr)

_BOUNDS = (ast.Name, ast.Constant, ast.UnaryOp)

Describe = Callable[[WriteRecord], Write]


@dataclass(frozen=True, slots=True)
class _Place:
    """A cut of the buffer that is written."""

    write: Write
    record: WriteRecord
    cut: Cut
    item: ast.expr


@dataclass(frozen=True, slots=True)
class _Run:
    """What follows the statement that makes the buffer, up to the write that fills it."""

    made: Made
    places: tuple[_Place, ...]  # in the order of the writes
    between: tuple[ast.stmt, ...]
    rank: int | None
    size: int | None


def blocks_of(m: Machine, tree: ast.Module, writes: Sequence[Write], describe: Describe) -> tuple[FilledBlock, ...]:
    """The blocks of `tree` that fill a buffer by writes of which autograd follows at least one, in source order."""
    candidates = [w for w in writes if w.form is WriteForm.INDEX and isinstance(w.target, ast.Name)]
    if len(candidates) < 2:
        return ()
    finder = _Finder(m, tree, describe)
    created = {id(made): made for write in candidates if (made := finder.creation(write)) is not None}
    found = [finder.block(made) for made in created.values()]
    return tuple(block for block in found if block is not None)


class _Finder:
    """The tree with what the machine wrote down about it."""

    def __init__(self, m: Machine, tree: ast.Module, describe: Describe) -> None:
        self._m = m
        self._parents = parents(tree)
        self._describe = describe
        self._records = {id(record.statement): record for record in m.notes.writes.values()}

    def _names(self, statement: ast.stmt) -> tuple[Names, Bindings]:
        bindings = self._parents.bindings(statement)
        return Names(self._parents, bindings), bindings

    def creation(self, write: Write) -> ast.Assign | None:
        """The last assignment of the buffer before `write` in the same block."""
        assert isinstance(write.target, ast.Name)
        block = self._parents.indexed(write.statement)
        position = block.last_binding(write.target.id, block.positions[id(write.statement)])
        made = None if position is None else block.statements[position]
        whole = isinstance(made, ast.Assign) and len(made.targets) == 1 and isinstance(made.targets[0], ast.Name)
        return made if whole else None  # type: ignore[return-value]

    def block(self, created: ast.Assign) -> FilledBlock | None:
        """What is filled behind `created`; None where something isn't proven."""
        target = created.targets[0]
        assert isinstance(target, ast.Name)
        names, bindings = self._names(created)
        made = names.made(created)
        if made is None or not self._is_alone(created, target.id, bindings):
            return None
        run = self._run(created, target.id, made)
        order = None if run is None else _tiled(run)
        if run is None or order is None or self._is_written_elsewhere(run):
            return None
        found = self._uses(target.id, run, order)
        if found is None or (made.copies and not _connects(names, made, run)):
            return None
        reads, metadata = found
        if reads and self._is_written_later(run):
            return None
        pieces = self._pieces(names, run, order, reads)
        if pieces is None:
            return None
        first = min(i for i, s in enumerate(run.between) if any(s is p.write.statement for p in run.places))
        between, kind = run.between[first:], _kind(names, run)
        return FilledBlock(target.id, created, order[0].cut.axis, pieces, reads, between, metadata, kind)

    def _is_alone(self, created: ast.Assign, name: str, bindings: Bindings) -> bool:
        """Whether nobody but the statements of the function can see the variable, whatever is raised."""
        guarded = any(isinstance(n, ast.Try) or type(n).__name__ == "TryStar" for n in self._parents.up(created))
        return not guarded and not isinstance(bindings.scope, ast.ClassDef) and not bindings.is_seen_elsewhere(name)

    def _run(self, created: ast.Assign, name: str, made: Made) -> _Run | None:
        block = self._parents.block(created)
        position = next(i for i, other in enumerate(block) if other is created)
        places: list[_Place] = []
        for end, statement in enumerate(block[position + 1 :], position + 2):
            place = self._place(statement, name)
            if place is not None:
                places.append(place)
                run = self._measured(made, places, block[position + 1 : end])
                if len(places) > 1 and _tiled(run) is not None:
                    return run
            elif any(node.id == name for node in bound_in(statement)):
                return None
        return None

    def _place(self, statement: ast.stmt, name: str) -> _Place | None:
        record = self._records.get(id(statement))
        if record is None or record.form is not WriteForm.INDEX or record.node is not statement:
            return None
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            return None
        target = statement.targets[0]
        if not isinstance(target, ast.Subscript) or not isinstance(target.value, ast.Name) or target.value.id != name:
            return None
        found = cut_of(target.slice)
        kinds = (IndexKind.INT, IndexKind.SLICE, IndexKind.ELLIPSIS)
        if found is None or any(item.kind not in kinds for item in record.index):
            return None
        return _Place(self._describe(record), record, *found)

    @staticmethod
    def _measured(made: Made, places: Sequence[_Place], between: Sequence[ast.stmt]) -> _Run:
        """The run with rank and size of the buffer, as the facts of a write or the sizes it is made with tell."""
        axis = places[0].cut.axis
        shape = next((p.write.tensor.shape for p in places if p.write.tensor.shape is not None), None)
        rank = len(shape) if shape is not None else None if made.sizes is None else len(made.sizes)
        size = None
        if rank is not None and -rank <= axis < rank:
            key = None if made.sizes is None else made.sizes[axis]
            size = shape[axis] if shape is not None else None
            size = int(key) if size is None and key is not None and key.isdecimal() else size
        return _Run(made, tuple(places), tuple(between), rank, size)

    def _is_written_elsewhere(self, run: _Run) -> bool:
        """Whether something else between the first write and the last writes, or changes the mode of gradients."""
        own = {id(place.record) for place in run.places}
        storages = {storage for place in run.places for storage in place.record.storages}
        bounds = {name for place in run.places for name in names_in(place.item)}
        if any(node.id in bounds for statement in run.between for node in bound_in(statement)):
            return True
        inside = {id(node) for statement in run.between for node in every_node(statement)}
        for statement in run.between:
            for node in every_node(statement):
                if isinstance(node, _LEAVING) or (isinstance(node, (ast.Name, ast.Attribute)) and sets_gradients(node)):
                    return True
        return any(
            id(record.node) in inside and id(record) not in own and not record.storages.isdisjoint(storages)
            for record in self._m.notes.writes.values()
        )

    def _is_written_later(self, run: _Run) -> bool:
        """Whether a view that was read may change, or change the buffer, behind the last write."""
        own = {id(place.record) for place in run.places}
        storages = {storage for place in run.places for storage in place.record.storages}
        others = (record for record in self._m.notes.writes.values() if id(record) not in own)
        return any(not record.storages.isdisjoint(storages) for record in others)

    def _uses(
        self, name: str, run: _Run, order: Sequence[_Place]
    ) -> tuple[tuple[tuple[ast.Subscript, int], ...], bool] | None:
        """Reads of pieces written before, and whether size or dtype are asked; None where there is any other use."""
        written: dict[tuple[object, ...], int] = {}
        reads: list[tuple[ast.Subscript, int]] = []
        metadata = False
        for statement in run.between:
            place = next((p for p in run.places if p.write.statement is statement), None)
            for node in every_node(statement):
                if not isinstance(node, ast.Name) or node.id != name:
                    continue
                around = self._parents.of(node)
                if place is not None and node is place.write.target:
                    continue
                if gives_metadata(self._parents, node):
                    metadata = True
                    continue
                found = cut_of(around.slice) if isinstance(around, ast.Subscript) and around.value is node else None
                number = None if found is None else written.get(_named(found, run))
                if number is None or not isinstance(around, ast.Subscript) or not self._only_reads(around):
                    return None
                if self._m.source.span_of(node).text(self._m.source.text) != name:
                    return None
                reads.append((around, number))
            if place is not None:
                at = next(i for i, other in enumerate(order) if other is place)
                written[_named((place.cut, place.item), run)] = at
        return tuple(reads), metadata

    def _only_reads(self, read: ast.Subscript) -> bool:
        """Whether what uses the piece neither writes to it nor keeps it, as far as one can see."""
        around = self._parents.of(read)
        return isinstance(read.ctx, ast.Load) and not (isinstance(around, ast.Call) and not only_reads(around))

    def _pieces(
        self, names: Names, run: _Run, order: Sequence[_Place], reads: Sequence[tuple[ast.Subscript, int]]
    ) -> tuple[Piece, ...] | None:
        pieces: list[Piece] = []
        for number, place in enumerate(order):
            alike = {i for i, other in enumerate(order) if other.cut.part is None and place.cut.part is None} | {number}
            own = frozenset(id(node) for node, i in reads if i in alike)
            piece = self._piece(place, SlotShape(names, run.made, place.cut, own, run.rank), run)
            if piece is None:
                return None
            pieces.append(piece)
        return tuple(pieces)

    @staticmethod
    def _piece(place: _Place, shape: SlotShape, run: _Run) -> Piece | None:
        write, statement = place.write, place.write.statement
        value = write.value
        if value is None or write.value_changes or not write.tensor.plain:
            return None
        is_slot = place.cut.part is None
        if write.written.kind is ValueKind.NUMBER:
            return Piece(write, is_slot, has_shape=True, is_alike=True)
        tensor = write.written.tensor
        if write.written.kind is not ValueKind.TENSOR and not shape.is_tensor(value, statement):
            return None
        if tensor is not None and not tensor.plain:
            return None
        slot = _slot(write, place, run)
        known = tensor is not None and slot is not None and slot == tensor.shape
        fits = known or shape.fits(value, statement, None if tensor is None else tensor.rank)
        if not fits and not (is_slot and run.rank == 1):
            return None
        return Piece(
            write, is_slot, fits, _is_alike(write) or (_is_floating(write) and shape.is_alike(value, statement))
        )


def _kind(names: Names, run: _Run) -> str | None:
    """The name of the tensor that gave the buffer its dtype and device, where it stands for that at every write."""
    key = run.made.kind
    name = None if key is None else key.partition("@")[0]
    stays = name is not None and all(names.key(name, place.write.statement) == key for place in run.places)
    return name if stays else None


def _is_alike(write: Write) -> bool:
    """Whether the facts give value and buffer the same dtype and device."""
    tensor = write.written.tensor
    if tensor is None or tensor.device is None or tensor.device != write.tensor.device:
        return False
    return write.written.same_dtype or (tensor.dtype is not None and tensor.dtype == write.tensor.dtype)


def _is_floating(write: Write) -> bool:
    tensor = write.tensor
    known = tensor.floating or tensor.leaf or tensor.tracked is Tracked.YES
    return known or tensor.dtype in ("float16", "bfloat16", "float32", "float64")


def _slot(write: Write, place: _Place, run: _Run) -> tuple[int | None, ...] | None:
    """The sizes of a piece, where the facts give every one."""
    shape = write.tensor.shape
    if shape is None or not -len(shape) <= place.cut.axis < len(shape):
        return None
    axis = place.cut.axis % len(shape)
    sizes: tuple[int | None, ...] = (*shape[:axis], *shape[axis + 1 :])
    if isinstance(place.item, ast.Slice):
        bounds = _bounds(place.item, run.size)
        sizes = (*shape[:axis], None if bounds is None else bounds[1] - bounds[0], *shape[axis + 1 :])
    return None if None in sizes else sizes


def _bounds(item: ast.expr, size: int | None) -> tuple[int, int] | None:
    """First and last slot, but one, of an item in a dimension of a known size."""
    if not isinstance(item, ast.Slice):
        number = int_of(item)
        if number is None or size is None or not -size <= number < size:
            return None
        return number % size, number % size + 1
    lower, upper = int_of(item.lower), int_of(item.upper)
    known = (item.lower is None or lower is not None) and (item.upper is None or upper is not None)
    if not known or size is None:
        return None
    start, end, _ = slice(lower, upper).indices(size)
    return start, max(start, end)


def _tiled(run: _Run) -> list[_Place] | None:
    """The places in the order of their slots, where they are all the slots of one dimension, each once."""
    if len({place.cut.axis for place in run.places}) != 1 or len(run.places) < 2:
        return None
    bounds = [_bounds(place.item, run.size) for place in run.places]
    if run.size is not None and None not in bounds:
        known = sorted(zip(filter(None, bounds), range(len(bounds)), strict=True))
        starts, ends = [b[0] for b, _ in known], [b[1] for b, _ in known]
        whole = (
            starts == [0, *ends[:-1]] and ends[-1] == run.size and all(a < b for a, b in zip(starts, ends, strict=True))
        )
        return [run.places[i] for _, i in known] if whole else None
    return _halves(run.places)


def _halves(places: Sequence[_Place]) -> list[_Place] | None:
    """`[:k]` and `[k:]`, or a slot at an end and the rest: all there is, however much that is."""
    if len(places) != 2:
        return None
    for first, second in (places, (places[1], places[0])):
        end, start = _end_of(first.item), _start_of(second.item)
        if end is not None and start is not None and ast.dump(end) == ast.dump(start):
            return [first, second]
    return None


def _end_of(item: ast.expr) -> ast.expr | None:
    """`k` of `[:k]`; 1 of the first slot."""
    if not isinstance(item, ast.Slice):
        return ast.Constant(1) if int_of(item) == 0 else None
    return item.upper if item.lower is None and isinstance(item.upper, _BOUNDS) else None


def _start_of(item: ast.expr) -> ast.expr | None:
    """`k` of `[k:]`; -1, as it is written, of the last slot."""
    if not isinstance(item, ast.Slice):
        return item if int_of(item) == -1 else None
    return item.lower if item.upper is None and isinstance(item.lower, _BOUNDS) else None


def _named(found: tuple[Cut, ast.expr], run: _Run) -> tuple[object, ...]:
    """What a cut takes of the buffer, as a key."""
    cut, item = found
    bounds = _bounds(item, run.size)
    return (cut.axis, cut.part is None, bounds if bounds is not None else ast.unparse(item))


def _connects(names: Names, made: Made, run: _Run) -> bool:
    """Whether a value is computed from the tensor that was copied, which has a gradient either way."""
    return any(
        place.write.value is not None and _comes_from(names, made, place.write.value, place.write.statement)
        for place in run.places
    )


def _comes_from(names: Names, made: Made, node: ast.expr, at: ast.stmt, depth: int = 8) -> bool:
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return made.like is not None and names.key(node.value.id, at) == made.like
    if isinstance(node, ast.Name):
        given = names.given(node.id, at) if depth else None
        if given is None:
            return False
        unbound = unbound_of(given[0].value)
        if unbound is not None:
            return made.like is not None and names.key(unbound[0].id, given[0]) == made.like
        return given[1] is None and _comes_from(names, made, given[0].value, given[0], depth - 1)
    return any(_comes_from(names, made, part, at, depth) for part in operands(node))
