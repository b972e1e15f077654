"""Writes in place as findings: which of them one codemod reports, and what it says about each."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import partial

from gradfix import rewrite
from gradfix.analysis.facts import ModuleFacts, ObstacleKind, Write, WriteForm
from gradfix.analysis.view_facts import OF_BACKWARD_HOOK, OF_FUNCTION
from gradfix.findings import Finding, Hazard, HazardKind, Refusal, Rewrite, Severity
from gradfix.identity import identity
from gradfix.source import Source

SYMPTOM = r"modified by an inplace operation|leaf Variable that requires grad|is being modified inplace"

Cure = Callable[[Write], "tuple[Rewrite, ...] | Refusal"]

MULTI_VIEW, VIEW, EXPANDED = "multi-view-write", "view-write", "expanded-write"

# Raise before anything else can.
_FIRST = (HazardKind.OUT_WRITTEN, HazardKind.EXPANDED_WRITTEN, HazardKind.VMAP_WRITTEN, HazardKind.GRADIENT_WRITTEN)

_HOLDERS = (ObstacleKind.ALIAS_READ, ObstacleKind.ARGUMENT_READ, ObstacleKind.BASE_READ)


def write_findings(
    code: str, name: str, source: Source, facts: ModuleFacts, forms: frozenset[WriteForm]
) -> Iterator[Finding]:
    """One finding for each tensor that a statement writes in one of `forms`; the most severe write speaks.

    Writes through views are told by `view_findings`.
    """

    def wanted(write: Write) -> bool:
        return write.form in forms and family_of(write) is None

    return findings_of(code, name, source, facts, wanted, partial(_cure, source, facts))


def view_findings(code: str, name: str, source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    """The same for writes of the family `name`, whatever their form."""
    cure = partial(_cure, source, facts)
    return findings_of(code, name, source, facts, lambda write: family_of(write) == name, cure)


def parts_findings(code: str, name: str, source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    """The same for writes to parts of splits; where a base is made of its parts again, one speaks for all writes."""
    groups: dict[int, list[Write]] = {}
    for write in facts.writes:
        for node in write.splits if family_of(write) == MULTI_VIEW else ():
            groups.setdefault(id(node), []).append(write)
    made: dict[int, Rewrite] = {}
    led: set[int] = set()
    for writes in groups.values():
        rebuilt = rewrite.rebuild(source, writes, facts.spelling)
        if rebuilt is not None:
            first, *others = sorted(writes, key=lambda write: -write.severity.rank)
            made[id(first)] = rebuilt
            led |= {id(write) for write in others}

    def cure(write: Write) -> tuple[Rewrite, ...] | Refusal:
        found = _cure(source, facts, write)
        rebuilt = made.get(id(write))
        return found if rebuilt is None else (rebuilt, *(() if isinstance(found, Refusal) else found))

    def wanted(write: Write) -> bool:
        return family_of(write) == MULTI_VIEW and id(write) not in led

    return findings_of(code, name, source, facts, wanted, cure)


def family_of(write: Write) -> str | None:
    """The codemod that tells of a write for what it writes to; None where the spelling decides.

    A part of a split; or a view with a name, or spelled as a method, of a tensor that somebody reads afterwards.
    """
    if not write.hazards:
        return None
    if any(hazard.kind is HazardKind.EXPANDED_WRITTEN for hazard in write.hazards):
        return EXPANDED
    if write.hazards[0].kind is HazardKind.MULTI_VIEW_WRITTEN and write.splits:
        return MULTI_VIEW
    if write.hazards[0].kind is not HazardKind.SAVED_THEN_WRITTEN:
        return None
    read = any(o.certain and o.kind in _HOLDERS for o in write.obstacles)
    return VIEW if (write.named_view and read) or _is_method_view(write.target) else None


def _is_method_view(target: ast.expr) -> bool:
    """`y.diagonal()` or `y.t()[0]`: what is written is the result of a method that makes views."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return isinstance(target, ast.Call) and rewrite.is_view(target)


def findings_of(
    code: str, name: str, source: Source, facts: ModuleFacts, wanted: Callable[[Write], bool], cure: Cure
) -> Iterator[Finding]:
    """One finding for each tensor that a statement writes in a `wanted` write, with what `cure` offers."""
    connecting = {id(write.node) for fill in facts.fills for write in fill.writes}
    seen: set[tuple[int, str]] = set()
    for write in sorted(facts.writes, key=lambda write: -write.severity.rank):
        if not wanted(write) or _stores_item(write):
            continue
        if write.form is WriteForm.FOREIGN and not write.hazards:
            continue  # whether it should be rewritten is a question for its own file
        if write.severity is Severity.INFO and id(write.node) in connecting:
            continue  # zeros-plus-conditional has more to say about it
        root = ast.unparse(_root(write.target))
        if (id(write.statement), root) not in seen:
            seen.add((id(write.statement), root))
            yield _finding(code, name, source, write, root, cure(write))


def _cure(source: Source, facts: ModuleFacts, write: Write) -> tuple[Rewrite, ...] | Refusal:
    return rewrite.out_of_place(source, write, facts.spelling, facts.writes)


def _finding(
    code: str, name: str, source: Source, write: Write, root: str, made: tuple[Rewrite, ...] | Refusal
) -> Finding:
    return Finding(
        code=code,
        name=name,
        severity=write.severity,
        message=message(source, write),
        span=source.span_of(write.node),
        identity=identity(code, write.function, write.statement, write.identity_ordinal, part=root),
        hazard=write.hazards[0] if write.hazards else None,
        rewrites=() if isinstance(made, Refusal) else made,
        refusal=made if isinstance(made, Refusal) else None,
    )


def message(source: Source, write: Write) -> str:
    """What is wrong with `write`, or that nothing is, in one line about the user's code."""
    text = _one_line(source, write.node)
    elsewhere = f" ({write.method})" if write.form is WriteForm.FOREIGN else ""
    if not write.hazards:
        name = ast.unparse(write.target)
        return f"`{text}` writes to `{name}` in place; harmless, nothing that backward needs was saved"
    first = [hazard for hazard in write.hazards if hazard.kind in _FIRST]
    trouble = _trouble(source, write, (first or write.hazards)[0])
    named = f"`{(first or write.hazards)[0].storage}`"
    return f"`{text}` {trouble.replace(named, named + elsewhere, 1)}"


def _trouble(source: Source, write: Write, hazard: Hazard) -> str:
    name = hazard.storage
    by = _saver(source, hazard)
    match hazard.kind:
        case HazardKind.SAVED_THEN_WRITTEN:
            saved = "saved" if write.severity is Severity.ERROR else "may have saved"
            return f"overwrites `{name}`, which {by} {saved} for backward"
        case HazardKind.LEAF_WRITTEN:
            return f"overwrites `{name}`, a leaf that requires grad: autograd forbids that"
        case HazardKind.LEAF_VIEW_WRITTEN:
            return f"writes through a view of a leaf that requires grad (`{name}`): autograd forbids that"
        case HazardKind.MULTI_VIEW_WRITTEN if hazard.op == OF_BACKWARD_HOOK:
            return f"writes to `{name}`, a view made by {OF_BACKWARD_HOOK} of a module: autograd forbids writing those"
        case HazardKind.MULTI_VIEW_WRITTEN if OF_FUNCTION in (hazard.op or "") and not hazard.of_base:
            return f"writes to `{name}`, which {by} gave as a view of its argument: autograd forbids writing those"
        case HazardKind.MULTI_VIEW_WRITTEN | HazardKind.NO_GRAD_VIEW_WRITTEN if hazard.of_base:
            return f"overwrites `{name}`, of which {by} made a view that is used later: autograd forbids that"
        case HazardKind.MULTI_VIEW_WRITTEN:
            return f"writes to `{name}`, one of several views made by {by}: autograd forbids writing those in place"
        case HazardKind.NO_GRAD_VIEW_WRITTEN:
            return f"writes to `{name}`, a view made by {by} under `no_grad`: autograd forbids writing those in place"
        case HazardKind.EXPANDED_WRITTEN:
            return f"writes to `{name}`, several elements of which share one memory cell since it was expanded"
        case HazardKind.VMAP_WRITTEN:
            return f"writes what differs between the examples of `vmap` to `{name}`, which is one for all of them"
        case HazardKind.GRADIENT_WRITTEN if hazard.op == "+":
            return f"overwrites `{name}`, a gradient that {by} gives to its other operand as well"
        case HazardKind.GRADIENT_WRITTEN:
            return f"writes to `{name}`, a gradient of {by}, all elements of which share one memory cell"
        case HazardKind.OUT_WRITTEN:
            return f"puts its result into `{name}`: functions with `out=` have no derivative"
        case HazardKind.SILENT_WRITE:
            return f"overwrites `{name}` unseen by autograd, and {by} saved it: the gradient is silently wrong"
        case _:
            return f"breaks backward ({hazard.kind.value})"


def _saver(source: Source, hazard: Hazard) -> str:
    """The operation that took the value, with its line, and when it ran if it stands below the write."""
    if hazard.save is None:
        return "an operation"
    where = f"line {source.position(hazard.save.span.start).line}"
    when = where if hazard.earlier is None else f"{where}, {hazard.earlier.value}"
    return f"`{hazard.op}` ({when})"


def _one_line(source: Source, node: ast.AST, limit: int = 60) -> str:
    text = " ".join(source.span_of(node).text(source.text).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _root(target: ast.expr) -> ast.expr:
    """The name or attribute that a chain of subscripts and method calls starts from."""
    while True:
        if isinstance(target, ast.Subscript):
            target = target.value
        elif isinstance(target, ast.Call) and isinstance(target.func, ast.Attribute):
            target = target.func.value
        else:
            return target


def _stores_item(write: Write) -> bool:
    """`d["h"] = v`: no tensor has string keys, so this is no write to one."""
    key = write.index[0].node if write.form is WriteForm.INDEX and len(write.index) == 1 else None
    return isinstance(key, ast.Constant) and isinstance(key.value, str)
