"""Loops and blocks that fill a buffer as findings: one for all their writes."""

from __future__ import annotations

from collections.abc import Iterator

from gradfix import rewrite
from gradfix.analysis.facts import FilledBlock, FilledBuffer, ModuleFacts, Write
from gradfix.findings import Finding, Refusal, Severity
from gradfix.identity import identity
from gradfix.source import Source

from ._writes import message


def buffer_findings(code: str, name: str, source: Source, facts: ModuleFacts, *, recurrent: bool) -> Iterator[Finding]:
    """One finding for each loop that fills a buffer and reads its slots (`recurrent`), or doesn't.

    Where the slots can't become a list, each write is left to the codemod of its own spelling.
    """
    connecting = {id(write.node) for fill in facts.fills for write in fill.writes}
    for buffer in facts.buffers:
        connects = any(id(written.write.node) in connecting for written in buffer.writes)
        if not buffer.writes or bool(buffer.reads) is not recurrent or connects:
            continue
        made = rewrite.stack_slots(source, buffer, facts.spelling, facts.writes)
        if isinstance(made, Refusal):
            continue
        writes = rewrite.stacked_writes(buffer, facts.spelling)
        worst = max(writes, key=lambda write: write.severity.rank)
        yield Finding(
            code=code,
            name=name,
            severity=worst.severity,
            message=_message(source, buffer, worst),
            span=source.span_of(worst.node),
            identity=identity(code, worst.function, worst.statement, worst.identity_ordinal, part=buffer.name.id),
            hazard=worst.hazards[0] if worst.hazards else None,
            rewrites=made,
            leads=tuple(source.span_of(write.node) for write in writes),
        )


def block_findings(code: str, name: str, source: Source, facts: ModuleFacts) -> Iterator[Finding]:
    """One finding for each block that writes all parts of a buffer, one after the other, where one is a hazard."""
    connecting = {id(write.node) for fill in facts.fills for write in fill.writes}
    for block in facts.blocks:
        writes = [piece.write for piece in block.pieces]
        worst = max(writes, key=lambda write: write.severity.rank)
        if any(id(write.node) in connecting for write in writes):
            continue
        made = rewrite.join_pieces(source, block, facts.spelling)
        if isinstance(made, Refusal):
            continue
        yield Finding(
            code=code,
            name=name,
            severity=worst.severity,
            message=_block_message(source, block, worst),
            span=source.span_of(worst.node),
            identity=identity(code, worst.function, worst.statement, worst.identity_ordinal, part=block.name),
            hazard=worst.hazards[0] if worst.hazards else None,
            rewrites=made,
            leads=tuple(source.span_of(write.node) for write in writes),
        )


def _block_message(source: Source, block: FilledBlock, worst: Write) -> str:
    if worst.severity is not Severity.INFO:
        return message(source, worst)
    return f"the parts of `{block.name}` are filled in place; harmless, nothing that backward needs was saved"


def _message(source: Source, buffer: FilledBuffer, worst: Write) -> str:
    if worst.severity is not Severity.INFO:
        return message(source, worst)
    reads = " and reads them" if buffer.reads else ""
    fills = f"the loop fills the slots of `{buffer.name.id}` in place{reads}"
    return f"{fills}; harmless, nothing that backward needs was saved"
