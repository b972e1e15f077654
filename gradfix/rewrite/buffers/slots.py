"""The verb `stack_slots`: a buffer written slot by slot becomes a list of tensors, stacked after the loop.

No slot is written in place any more, so nothing that backward saved changes; and the cost is one copy of the buffer,
where cloning it before each write costs one a round.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from gradfix.analysis.facts import (
    FilledBuffer,
    Initial,
    SlotAccess,
    SlotWrite,
    Spelling,
    Tracked,
    ValueKind,
    Write,
    WriteForm,
)
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.buffers.fitting import AS_IT_IS, NUMBER, OWN_MEMORY, Fit, fit_of
from gradfix.rewrite.buffers.lists import is_annotated, made_as_list, may_be_list, sealed
from gradfix.rewrite.buffers.renewed import make_anew
from gradfix.rewrite.text import names, sites
from gradfix.rewrite.text.expressions import is_effectless
from gradfix.rewrite.text.numbers import spread
from gradfix.rewrite.text.spans import Rendering, Unit, before_block
from gradfix.rewrite.writes import obstacles
from gradfix.rewrite.writes.ladder import Form
from gradfix.rewrite.writes.rebind import rebind
from gradfix.rewrite.writes.saved_copies import copy_all_saved
from gradfix.source import Source, Span

_FORM = "stack"
_PRODUCTS = (ast.Mult, ast.Div, ast.MatMult, ast.FloorDiv, ast.Mod, ast.Pow)
_COMMENT = Refusal(
    RefusalKind.SPELLING, "a comment stands in an index that has to be taken apart", "move it out of the brackets"
)


def stack_slots(
    source: Source, buffer: FilledBuffer, spelling: Spelling, every: Sequence[Write] = ()
) -> tuple[Rewrite, ...] | Refusal:
    """The ways to keep the slots of `buffer` in a list, and a clone before each write as the last; or why not.

    Of `every` write of the file, those of the buffer tell whether it can be made anew in each round instead.
    """
    refusal = _refusal(source, buffer, spelling)
    if refusal is not None:
        return refusal
    writes = [written.write for written in buffer.writes]
    if any(obstacles.applicability(write) is not Applicability.SAFE for write in writes):
        return Refusal(
            RefusalKind.HELD,
            f"somebody else may hold `{buffer.name.id}`",
            "return it, or collect its slots in a list by hand",
        )
    grade = Applicability.UNSAFE if _may_lose_graph(buffer) else Applicability.SAFE
    made = [Rewrite(_title(buffer, plain=False), grade, _builder(buffer, spelling, plain=False), _FORM)]
    if not all(fit_of(buffer, written).is_exact for written in buffer.writes):
        title = _title(buffer, plain=True)
        made.append(Rewrite(title, Applicability.UNSAFE, _builder(buffer, spelling, plain=True), _FORM))
    copies = _copies(source, buffer, spelling)
    anew = make_anew(source, writes[0], every, spelling)
    if anew is not None:
        made.insert(1 if _is_one_line(buffer) else 0, anew)
    return (*copies, *made, *clones(source, buffer.name.id, writes, spelling))


def stacked_writes(buffer: FilledBuffer, spelling: Spelling) -> tuple[Write, ...]:
    """The writes that become writes to the list: those of the loop, and those before it where they are part of it."""
    initial = () if made_as_list(buffer, spelling) is None else buffer.initial.writes
    return tuple(written.write for written in (*buffer.writes, *initial))


def _is_one_line(buffer: FilledBuffer) -> bool:
    """`out = torch.stack([v for i in range(n)])`: the values are slots already."""
    single = buffer.filling is not None and buffer.filling.is_single and not buffer.filling.leaves_target
    return single and buffer.has_slots and fit_of(buffer, buffer.writes[0]) == AS_IT_IS


def _copies(source: Source, buffer: FilledBuffer, spelling: Spelling) -> tuple[Rewrite, ...]:
    """Copies of the slots that backward needs, where each slot of a list would have to be made and written anyway."""
    if buffer.filling is not None or not any(fit_of(buffer, written) == OWN_MEMORY for written in buffer.writes):
        return ()
    copy = copy_all_saved(source, [w.write for w in buffer.writes if w.write.hazards], spelling)
    safe = copy is not None and copy.applicability is Applicability.SAFE
    return (replace(copy, last_resort=False),) if copy is not None and safe else ()


def _refusal(source: Source, buffer: FilledBuffer, spelling: Spelling) -> Refusal | None:
    name = buffer.name.id
    for written in buffer.writes:
        if (found := obstacles.refusal(source, written.write)) is not None:
            return found
    if buffer.refusal is not None:
        return Refusal(
            RefusalKind.UNKNOWN, buffer.refusal, f"collect the slots of `{name}` in a list by hand, and stack them"
        )
    if not names.can_spell_torch(spelling):
        return Refusal(
            RefusalKind.SPELLING, "torch isn't imported here, and there is no place to import it", "import torch first"
        )
    for written in buffer.writes:
        index = (*written.access.slots, *written.access.rest)
        if _names_slot_twice(buffer, written) and not all(is_effectless(item, spelling) for item in index):
            return Refusal(
                RefusalKind.ORDER,
                "the index has an effect and would be evaluated twice",
                "give the index a name before the write",
            )
    if not buffer.has_slots and any(not read.slots for read in buffer.reads) and not _always_writes(buffer):
        return Refusal(
            RefusalKind.UNKNOWN,
            f"`{name}` may have no slots, and is read as a whole",
            f"make sure that `{name}` isn't empty",
        )
    return None


def _may_lose_graph(buffer: FilledBuffer) -> bool:
    """Whether a buffer that has a graph may keep it where the slots don't.

    Numbers in the place of every slot have none; and where every slot is another one, what the buffer was made of gets
    no gradient instead of zeros, which is no matter only for what fails.
    """
    if not any(written.write.hazards for written in buffer.writes) and not buffer.reads:
        return any(written.write.tensor.tracked is not Tracked.NO for written in buffer.writes)
    return any(
        written.write.tensor.tracked is not Tracked.NO
        and (written.write.written.tensor is None or written.write.written.tensor.tracked is Tracked.NO)
        and written.write.written.kind is not ValueKind.UNKNOWN
        and written.write.form is WriteForm.INDEX
        for written in buffer.writes
    )


def _names_slot_twice(buffer: FilledBuffer, written: SlotWrite) -> bool:
    fit = fit_of(buffer, written)
    return fit.names_slot or written.write.form is WriteForm.AUGMENTED_INDEX


def _always_writes(buffer: FilledBuffer) -> bool:
    """Each round writes a slot, so a round with none would have failed anyway."""
    body = {id(statement) for statement in buffer.loop.body}
    return any(id(written.write.statement) in body for written in buffer.writes)


def _title(buffer: FilledBuffer, *, plain: bool) -> str:
    name = buffer.name.id
    if plain:
        return f"Keep the slots of `{name}` in a list and stack it, taking each value to have a slot's shape and dtype"
    return f"Keep the slots of `{name}` in a list, and stack it after the loop"


def _builder(buffer: FilledBuffer, spelling: Spelling, *, plain: bool) -> partial[tuple[Edit, ...] | Refusal]:
    if buffer.filling is not None:
        from gradfix.rewrite.buffers import collecting

        return partial(collecting.build, buffer=buffer, filling=buffer.filling, spelling=spelling, plain=plain)
    return partial(_build, buffer=buffer, spelling=spelling, plain=plain)


def clones(source: Source, name: str, writes: Sequence[Write], spelling: Spelling) -> tuple[Rewrite, ...]:
    """A clone of the buffer `name` before each write that is a hazard."""
    found = [rebind(source, write, spelling) for write in writes if write.hazards]
    made = [
        r for rewrites in found if not isinstance(rewrites, Refusal) for r in rewrites if r.form == Form.CLONE.value
    ]
    if not made or len(made) < len(found):
        return ()
    title = f"Clone `{name}` before each write: a copy of all slots every time"
    build = partial(_build_clones, made=tuple(made))
    return (Rewrite(title, Applicability.SAFE, build, Form.CLONE.value),)


def _build_clones(source: Source, *, made: Sequence[Rewrite]) -> tuple[Edit, ...] | Refusal:
    edits: list[Edit] = []
    for rewrite in made:
        built = rewrite.build(source)
        if isinstance(built, Refusal):
            return built
        edits += built
    return tuple(edits)


def _build(source: Source, *, buffer: FilledBuffer, spelling: Spelling, plain: bool) -> tuple[Edit, ...] | Refusal:
    """The edits that put a list in the place of the buffer while the loop runs."""
    builder = _Builder(source, buffer, spelling, plain=plain)
    units = builder.units()
    if isinstance(units, Refusal):
        return units
    end = sealed(source, buffer.loop, buffer.name.id, builder.whole(), spelling)
    if end is None:
        return Refusal(
            RefusalKind.SPELLING, "the loop shares its last line with another statement", "put it on lines of its own"
        )
    inside = (edit for edit in Rendering(source, units).edits() if edit.text != edit.span.text(source.text))
    edits = (builder.open(), *inside, *end)
    text = " ".join(edit.text for edit in edits)
    return (*edits, *names.import_torch(source, spelling, text))


class _Builder:
    """The names of one build, and what stands for each use of the buffer."""

    def __init__(self, source: Source, buffer: FilledBuffer, spelling: Spelling, *, plain: bool) -> None:
        self._source = source
        self._buffer = buffer
        self._plain = plain
        name = buffer.name.id
        self._made = made_as_list(buffer, spelling)
        kind = "list" if len(buffer.axes) == 1 else "rows"
        self._own = may_be_list(buffer, spelling) and not is_annotated(source, buffer.loop)  # the name is the list's
        self._list = name if self._own else names.list_name(source, name, kind)
        self._slot = names.fresh(source, f"{name}_slot", f"new_{name}_slot")
        self._stack = names.torch_name(spelling, "stack")
        self._empty_like = names.torch_name(spelling, "empty_like")
        self._spelling = spelling

    def open(self) -> Edit:
        """`h = list(h)`, for a table a list of lists; `h = list(torch.zeros(3))` where `h` is made; or `h_list = …`."""
        if self._made is None:
            line = f"{self._list} = {self._cut(self._buffer.name.id, 0)}"
            return before_block(self._source, self._buffer.loop, [line])
        return Edit(self._source.span_of(self._made), f"{self._list} = {self._cut(self._text(self._made.value), 0)}")

    def _cut(self, tensor: str, depth: int) -> str:
        dim = self._dim(depth)
        is_iterable = dim == 0 and (self._own or self._made is not None)
        parts = tensor if is_iterable else f"{tensor}.unbind({dim})"
        if depth == len(self._buffer.axes) - 1:
            return f"list({parts})"
        row = names.fresh(self._source, "row", "rows") if depth == 0 else f"row{depth + 1}"
        return f"[{self._cut(row, depth + 1)} for {row} in {parts}]"

    def _dim(self, depth: int) -> int:
        """The axis number `depth` in what is left when the axes before it are taken away."""
        axis = self._buffer.axes[depth]
        return axis - depth if axis >= 0 else axis

    def whole(self) -> str:
        """The tensor of all slots."""
        whole = self._stacked(self._list, 0)
        if self._buffer.has_slots:
            return whole
        test = " and ".join(self._list + "[0]" * depth for depth in range(len(self._buffer.axes)))
        return f"{whole} if {test} else {self._buffer.name.id}"

    def _stacked(self, slots: str, depth: int) -> str:
        """The tensor that a list of slots, or of lists of slots, stands for."""
        if depth < len(self._buffer.axes) - 1:
            row = names.fresh(self._source, "row", "rows") if depth == 0 else f"row{depth + 1}"
            slots = f"[{self._stacked(row, depth + 1)} for {row} in {slots}]"
        dim = self._dim(depth)
        return f"{self._stack}({slots})" if dim == 0 else f"{self._stack}({slots}, dim={dim})"

    def units(self) -> list[Unit] | Refusal:
        """What stands for each use."""
        initial = Initial() if self._made is None else self._buffer.initial
        writes, reads = (*initial.writes, *self._buffer.writes), (*initial.reads, *self._buffer.reads)
        accesses = [*reads, *(written.access for written in writes)]
        for access in accesses:
            if not access.is_plain and access.slots and "#" in self._text(access.node):
                return _COMMENT
        found = [self._read(access) for access in reads]
        for written in writes:
            found += self._written(written)
        return found

    def _text(self, node: ast.AST) -> str:
        return self._source.span_of(node).text(self._source.text)

    def _read(self, access: SlotAccess) -> Unit:
        if access.is_plain and len(access.slots) == len(self._buffer.axes):
            name = access.node
            while isinstance(name, ast.Subscript):
                name = name.value
            return Unit(self._source.span_of(name), lambda render: self._list)
        span = self._source.span_of(access.node)
        return Unit(span, lambda render: self._place(access, render) + _rest(access, render))

    def _place(self, access: SlotAccess, render: Rendering) -> str:
        """The slot, or the tensor of all slots in the row, or of all there are."""
        place = self._list + "".join(f"[{render.node(slot)}]" for slot in access.slots)
        depth = len(access.slots)
        return place if depth == len(self._buffer.axes) else self._stacked(place, depth)

    def _written(self, written: SlotWrite) -> list[Unit]:
        write, access = written.write, written.access
        fit = fit_of(self._buffer, written)
        if self._plain and fit != NUMBER and not access.rest:
            fit = AS_IT_IS
        if fit == OWN_MEMORY:
            return [Unit(self._source.span_of(write.statement), lambda render: self._own_memory(written, render))]
        value = self._source.span_of(_value_of(written))
        if write.form is WriteForm.AUGMENTED_INDEX:
            statement = self._source.span_of(write.statement)
            return [Unit(statement, lambda render: self._augmented(written, fit, render))]
        target = Unit(self._source.span_of(access.node), lambda render: self._place(access, render))
        if access.is_plain:
            target = self._read(access)
        if fit == AS_IT_IS:
            return [target]
        whole = _with_parentheses(self._source, value)
        return [target, Unit(whole, lambda render: self._fitted(written, fit, whole, render))]

    def _fitted(self, written: SlotWrite, fit: Fit, span: Span, render: Rendering) -> str:
        if fit == NUMBER:
            value = _value_of(written)
            return spread(self._spelling, self._place(written.access, render), value, render.node(value))
        text = render.inside(span)
        slot = self._place(written.access, render)
        return f"{_receiver(_value_of(written), text)}{self._suffix(fit, slot)}"

    def _suffix(self, fit: Fit, slot: str) -> str:
        return fit.suffix(slot if self._own or self._made is not None else self._buffer.name.id, slot)

    def _augmented(self, written: SlotWrite, fit: Fit, render: Rendering) -> str:
        node = written.write.node
        assert isinstance(node, ast.AugAssign)
        place = self._place(written.access, render)
        operator = (written.write.operator or "+=").removesuffix("=")
        value = render.inside(_with_parentheses(self._source, self._source.span_of(node.value)))
        result = f"{place} {operator} {_operand(node.value, value, operator)}"
        if fit != AS_IT_IS:
            result = f"({result}){self._suffix(fit, place)}"
        return f"{place} = {result}"

    def _own_memory(self, written: SlotWrite, render: Rendering) -> str:
        """Three statements: new memory for the slot, the write into it, and the slot put in its place."""
        write, access = written.write, written.access
        place = self._place(access, render)
        target = self._slot + (_rest(access, render) or "[...]")
        start = f"{place}.clone()" if access.rest else f"{self._empty_like}({place})"
        outer = self._outer_target(write.statement)
        body = target + render.inside(Span(self._source.span_of(outer).end, self._source.span_of(write.statement).end))
        separator = sites.site_of(self._source, write.statement).separator
        return separator.join([f"{self._slot} = {start}", body, f"{place} = {self._slot}"])

    @staticmethod
    def _outer_target(statement: ast.stmt) -> ast.expr:
        assert isinstance(statement, (ast.Assign, ast.AugAssign))
        return statement.target if isinstance(statement, ast.AugAssign) else statement.targets[0]


def _rest(access: SlotAccess, render: Rendering) -> str:
    return "[" + ", ".join(render.node(item) for item in access.rest) + "]" if access.rest else ""


def _value_of(written: SlotWrite) -> ast.expr:
    node = written.write.node
    assert isinstance(node, (ast.Assign, ast.AugAssign))
    return node.value


def _with_parentheses(source: Source, span: Span) -> Span:
    """`span` with one pair of parentheses around it, where there is one."""
    start, end = span.start, span.end
    while start > 0 and source.text[start - 1] in " \t\r\n":
        start -= 1
    while end < len(source.text) and source.text[end] in " \t\r\n":
        end += 1
    if start and source.text[start - 1] == "(" and source.text[end : end + 1] == ")":
        return Span(start - 1, end + 1)
    return span


def _receiver(node: ast.expr, text: str) -> str:
    """`text` fit to stand before a dot."""
    atomic = isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call))
    return text if atomic or (text.startswith("(") and _is_wrapped(text)) else f"({text})"


def _operand(node: ast.expr, text: str, operator: str) -> str:
    """`text` fit to stand on the right of `operator`."""
    atomic = isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.Constant))
    is_product = isinstance(node, ast.BinOp) and isinstance(node.op, _PRODUCTS) and "\n" not in text
    bare = atomic or (is_product and operator in ("+", "-"))
    return text if bare or (text.startswith("(") and _is_wrapped(text)) else f"({text})"


def _is_wrapped(text: str) -> bool:
    """Whether one pair of parentheses stands around all of `text`."""
    try:
        inner = ast.parse(f"_ = {text[1:-1].strip()}")
    except (SyntaxError, ValueError):
        return "\n" in text and text.endswith(")")
    return text.endswith(")") and isinstance(inner.body[0], ast.Assign)
