"""From records to facts: severities, labelled places, obstacles, ordinals."""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import replace

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import BackwardRecord, FillRecord, HazardNote, WriteRecord
from gradfix.analysis.domain.values import Origin, Storage
from gradfix.analysis.facts import (
    BackwardCall,
    ConditionalFill,
    ConditionKind,
    Obstacle,
    ObstacleKind,
    SavedValue,
    Tracked,
    Write,
    WriteForm,
)
from gradfix.analysis.hazards import handed
from gradfix.analysis.hazards.views import Steadiness
from gradfix.analysis.outcome.earlier import earlier
from gradfix.analysis.text.guards import is_guarded
from gradfix.analysis.text.names import SCOPES
from gradfix.analysis.text.targets import root_of
from gradfix.analysis.view_facts import WrittenViews
from gradfix.findings import Earlier, Hazard, HazardKind, Place, Severity

Ordinals = Mapping[int, int]


def written_memory(m: Machine) -> frozenset[Storage]:
    """All memory that is written in place somewhere."""
    return frozenset(storage for record in m.notes.writes.values() for storage in record.storages)


def facts_of_writes(
    m: Machine, ordinals: Ordinals, written: frozenset[Storage], steadiness: Steadiness
) -> tuple[Write, ...]:
    """Writes to tensors that autograd follows, in source order."""
    kept = filter(_is_fact, m.notes.writes.values())
    return tuple(fact_of_write(m, r, ordinals, written, steadiness) for r in sorted(kept, key=_position))


def _is_fact(record: WriteRecord) -> bool:
    return record.known and not record.is_inner and bool(record.recorded or record.hazards)


def _position(record: WriteRecord | BackwardRecord) -> tuple[int, int]:
    node = record.node
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def fact_of_write(
    m: Machine, record: WriteRecord, ordinals: Ordinals, written: frozenset[Storage], steadiness: Steadiness
) -> Write:
    """What codemods are told of a write; `written` is all memory that is written in place somewhere."""
    ordered = sorted(record.hazards, key=lambda note: not any(record.hazards[note].values()))
    severity = Severity.INFO
    if ordered:
        severity = Severity.ERROR if record.is_proven() else Severity.WARNING
    return Write(
        form=record.form,
        node=record.node,
        statement=record.statement,
        function=record.function,
        identity_ordinal=ordinals.get(id(record.statement), 0),
        target=record.target,
        index=record.index,
        value=record.value,
        operator=record.operator,
        method=record.method,
        tensor=record.tensor,
        written=record.written,
        severity=severity,
        hazards=tuple(_hazard(m, steadiness.tree, record, note) for note in ordered),
        obstacles=_obstacles(m, record),
        holder=_holder(record.target) if record.of_tensor else None,
        leaves=_places(ordered, _OF_LEAVES, "leaf"),
        of_module=bool(record.storages) and all(storage.origin is Origin.PARAMETER for storage in record.storages),
        named_view=record.named_view,
        views=_views(record, steadiness),
        expansions=_places(ordered, (HazardKind.EXPANDED_WRITTEN,), "save"),
        refused=_is_refused(record, severity),
        splits=_places(ordered, (HazardKind.MULTI_VIEW_WRITTEN,), "split"),
        makers=tuple(made for made, inside in record.makers.items() if inside and isinstance(made, ast.Call)),
        saved=_saved(m, record, ordered),
        saved_by_known=not any(id(note.save) in m.notes.unfollowed for note in ordered),
        may_be_number=record.may_be_number,
        operands=tuple(record.operands.items()),
        calls=handed.calls_towards(m, record),
        value_changes=not (record.sources - record.storages).isdisjoint(written),
    )


def _views(record: WriteRecord, steadiness: Steadiness) -> WrittenViews:
    views = (record.views or {}).values()
    named = tuple(steady for view in views if (steady := steadiness.steady(view, record.statement)) is not None)
    return WrittenViews(
        named,
        record.is_sure,
        record.is_followed,
        record.is_repeated,
        tuple(record.earlier.values()),
        steadiness.handed_out(named, record.statement) if named else frozenset(),
    )


def _is_refused(record: WriteRecord, severity: Severity) -> bool:
    """Whether it isn't another hazard that is certain: a write that runs reaches all that share the memory."""
    if severity is not Severity.ERROR:
        return False
    proven = [note for note, passages in record.hazards.items() if any(passages.values())]
    if any(note.kind is HazardKind.MULTI_VIEW_WRITTEN and not note.of_base for note in proven):
        return True
    expanded = [note for note in record.hazards if note.kind is HazardKind.EXPANDED_WRITTEN]
    return all(note.result for note in expanded) and any(note in proven for note in expanded)


_ELSEWHEN = frozenset({HazardKind.VMAP_WRITTEN, HazardKind.GRADIENT_WRITTEN})  # no order of lines tells when
_OF_LEAVES = (HazardKind.LEAF_WRITTEN, HazardKind.LEAF_VIEW_WRITTEN)


def _places(notes: list[HazardNote], kinds: tuple[HazardKind, ...], field: str) -> tuple[ast.expr, ...]:
    """What the notes of these kinds say made the trouble; nothing unless all of it is of this file."""
    made = dict.fromkeys(getattr(note, field) for note in notes if note.kind in kinds)
    found = tuple(node for node in made if isinstance(node, ast.expr))
    return found if len(found) == len(made) else ()


def _saved(m: Machine, write: WriteRecord, notes: list[HazardNote]) -> tuple[SavedValue, ...]:
    """What backward needs copies of; nothing where copies wouldn't cure every hazard."""
    found: list[SavedValue] = []
    for note in notes:
        own = [e for e in note.holders if (e is note.save) is note.result]
        # one layer of a `Sequential` writes what another saved, which no name outside stands for
        within = note.save is write.node and note.result and write.target not in note.holders
        writer = None if note.result else m.notes.last_writes.get(id(note.save))
        overwrites = writer is not None and any(e is writer.target for e in own)
        if note.kind is not HazardKind.SAVED_THEN_WRITTEN or not own or within or overwrites:  # `y.mul_(y)`
            return ()
        record = m.notes.last_writes.get(id(note.save)) if note.result else None
        if record is None or record.target not in note.holders:  # a layer inside may write to what only it sees
            found += [SavedValue(e) for e in own]
        elif record.form in (WriteForm.METHOD, WriteForm.FUNCTION, WriteForm.FLAG) and not _is_mixed(m, note.save):
            found += [SavedValue(e, record.form, record.method) for e in own]
        else:
            return ()
    return tuple(dict.fromkeys(found))


def _is_mixed(m: Machine, call: ast.AST | None) -> bool:
    """True for the call of one layer or another, of which only some work in place."""
    return len(m.notes.layer_modes.get(id(call), ())) > 1


def _holder(target: ast.expr) -> ast.expr | None:
    if isinstance(target, ast.Subscript):
        return target.value
    if isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute):
        return target.func.value
    return target.value if isinstance(target, ast.Attribute) else None


def _hazard(m: Machine, tree: ast.Module, record: WriteRecord, note: HazardNote) -> Hazard:
    name = ast.unparse(record.target)
    saved: Place | None = None
    when: Earlier | None = None
    if note.save is not None:
        when = None if note.kind in _ELSEWHEN else earlier(tree, record.statement, record.node, note.save)
        if note.kind is HazardKind.VMAP_WRITTEN:
            saved = m.place(note.save, f"`{name}` is made here, one for all examples")
        elif note.kind is HazardKind.GRADIENT_WRITTEN:
            saved = m.place(note.save, f"`{note.op}` gives `{name}` here")
        elif note.kind is HazardKind.SAVED_THEN_WRITTEN or note.kind is HazardKind.SILENT_WRITE:
            what = "its result" if note.result else f"`{name}`"
            saved = m.place(note.save, f"`{note.op}` saved {what} for backward here")
        else:
            made = f"`{note.op}` made a view of `{name}` here"
            saved = m.place(note.save, made if note.of_base else f"this view was made here by `{note.op}`")
    place = m.place(record.node, f"`{name}` is overwritten here")
    return Hazard(note.kind, place, saved, name, op=note.op, of_base=note.of_base, earlier=when)


def _obstacles(m: Machine, record: WriteRecord) -> tuple[Obstacle, ...]:
    found = [*record.obstacles.values(), *_between_links(m, record)]
    if not record.storages.isdisjoint(m.notes.grad_read):
        root = root_of(record.target)
        found.append(Obstacle(ObstacleKind.LEAF_GRAD_READ, ast.unparse(root if root is not None else record.target)))
    return tuple(found)


def _between_links(m: Machine, record: WriteRecord) -> list[Obstacle]:
    """Reads between the links of `y.mul_(2).div_(f())`: a rewrite of the last link takes all of them."""
    known = {obstacle.name for obstacle in record.obstacles.values() if obstacle.kind in _READS}
    found: list[Obstacle] = []
    node: ast.AST = record.node
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call):
        node = node.func.value
        earlier = m.notes.last_writes.get(id(node))
        reads = () if earlier is None or earlier.form is not WriteForm.METHOD else earlier.obstacles.values()
        found += [replace(o, replay=None) for o in reads if o.kind in _READS and o.name not in known]
    return found


_READS = frozenset({ObstacleKind.ALIAS_READ, ObstacleKind.BASE_READ, ObstacleKind.ARGUMENT_READ})


def facts_of_fills(
    m: Machine, tree: ast.Module, writes: tuple[Write, ...], ordinals: Ordinals
) -> tuple[ConditionalFill, ...]:
    """Buffers that only a branch on tensor data connects."""
    by_target = {id(write.target): write for write in writes}
    found = []
    for record in m.notes.fills.values():
        if not record.reached or record.condition is ConditionKind.PYTHON or record.created is None:
            continue
        own = tuple(by_target[key] for key in record.keys if key in by_target)
        if record.rebound and not (record.only_connection and _fails(tree, record)):
            continue  # a term that may be left out of a loss
        if (own or record.rebound) and not _is_filled_elsewhere(m, record):
            found.append(_fill(m, record, own, ordinals))
    return tuple(sorted(found, key=lambda fill: fill.branch.lineno))


def _fails(tree: ast.Module, record: FillRecord) -> bool:
    return not all(is_guarded(tree, record.branch, end) for end in record.ends)


_UNINITIALISED = frozenset({"empty", "empty_like", "new_empty"})


def _is_filled_elsewhere(m: Machine, record: FillRecord) -> bool:
    """Whether memory without numbers of its own gets them from other branches too, which complete this one."""
    made = record.created
    called = made.func if isinstance(made, ast.Call) else None
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    others = [r for r in m.notes.writes.values() if record.storage in r.storages and id(r.target) not in record.keys]
    connecting = [r.written.tensor is not None and r.written.tensor.tracked is not Tracked.NO for r in others]
    return name in _UNINITIALISED and bool(others) and all(connecting)


def _fill(m: Machine, record: FillRecord, writes: tuple[Write, ...], ordinals: Ordinals) -> ConditionalFill:
    name = ast.unparse(record.buffer)
    assert record.created is not None
    created = m.place(record.created, f"`{name}` starts without a graph here")
    hazard = Hazard(HazardKind.DISCONNECTED, m.place(record.branch.test, "only this branch connects it"), created, name)
    return ConditionalFill(
        branch=record.branch,
        function=record.statement_owner,
        identity_ordinal=ordinals.get(id(record.branch), 0),
        buffer=record.buffer,
        created=created,
        writes=writes,
        condition=record.condition,
        only_connection=record.only_connection,
        tensor=record.tensor,
        severity=Severity.WARNING,
        hazards=(hazard,),
        sources=record.sources,
        flat_tests=tuple(
            node for node in ast.walk(record.branch) if isinstance(node, ast.expr) and m.notes.sizes.get(id(node)) == ()
        ),
    )


def facts_of_backwards(m: Machine, ordinals: Ordinals) -> tuple[BackwardCall, ...]:
    """Calls that start backward."""
    found = []
    for record in sorted(m.notes.backwards.values(), key=_position):
        hazards: tuple[Hazard, ...] = ()
        if record.perhaps_non_scalar:
            name = ast.unparse(record.root)
            has = "has" if record.non_scalar else "may have"
            place = m.place(record.node, f"`{name}` {has} more than one element here")
            hazards = (Hazard(HazardKind.NON_SCALAR_BACKWARD, place, None, name),)
        found.append(
            BackwardCall(
                node=record.node,
                statement=record.statement,
                function=record.function,
                identity_ordinal=ordinals.get(id(record.statement), 0),
                root=record.root,
                tensor=record.tensor,
                has_gradient=record.has_gradient,
                severity=None if not hazards else Severity.ERROR if record.non_scalar else Severity.WARNING,
                hazards=hazards,
                elsewhere=m.notes.elsewhere.get(id(record.node)),
            )
        )
    return tuple(found)


def ordinals_of(m: Machine, tree: ast.Module) -> Ordinals:
    """For each statement with something to say: which one it is among equal statements of its function."""
    wanted = {id(r.statement): r.statement for r in m.notes.writes.values() if _is_fact(r)}
    wanted |= {id(r.statement): r.statement for r in m.notes.backwards.values()}
    wanted |= {id(r.branch): r.branch for r in m.notes.fills.values()}
    wanted |= {id(r.statement): r.statement for r in m.notes.bare.values() if r.starved or r.returned}
    wanted |= {id(r.statement): r.statement for r in m.notes.cuts.values() if r.losses}
    wanted |= {id(r.statement): r.statement for r in m.notes.second_backwards.values()}
    wanted |= {id(r.statement): r.statement for r in m.notes.swaps.values()}
    wanted |= {id(r.statement): r.statement for r in m.notes.non_leaf_grads.values()}
    lines = sorted(statement.lineno for statement in wanted.values())
    result: dict[int, int] = {}
    scopes: list[ast.AST] = [tree] if lines else []
    while scopes:
        statements = list(_statements(scopes.pop()))
        scopes.extend(s for s in statements if isinstance(s, SCOPES) and _holds_one(s, lines))
        shapes = {(type(s), _length(s)) for s in statements if id(s) in wanted}
        counts: dict[str, int] = {}
        for statement in statements if shapes else ():
            if (type(statement), _length(statement)) in shapes:
                key = ast.dump(statement)
                if id(statement) in wanted:
                    result[id(statement)] = counts.get(key, 0)
                counts[key] = counts.get(key, 0) + 1
    return result


def _holds_one(scope: ast.stmt, lines: list[int]) -> bool:
    """Whether one of these lines, which are in order, belongs to the scope."""
    at = bisect_left(lines, scope.lineno)
    return at < len(lines) and lines[at] <= (scope.end_lineno or scope.lineno)


def _length(statement: ast.stmt) -> int:
    return (statement.end_lineno or statement.lineno) - statement.lineno


def _statements(scope: ast.AST) -> Iterator[ast.stmt]:
    stack: list[ast.AST] = list(reversed(getattr(scope, "body", [])))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.stmt):
            yield node
            if isinstance(node, SCOPES):
                continue
            for part in ("finalbody", "orelse", "handlers", "cases", "body"):
                stack.extend(reversed(getattr(node, part, [])))
        elif isinstance(node, (ast.ExceptHandler, ast.match_case)):
            stack.extend(reversed(node.body))
