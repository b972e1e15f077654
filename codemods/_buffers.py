"""Loops that fill a buffer as findings: one for all the writes of a loop."""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.facts import FilledBuffer, ModuleFacts, Write
from gradfix.findings import Finding, Refusal, Severity
from gradfix.identity import identity
from gradfix.rewrite import stack_slots
from gradfix.source import Source

from ._writes import message


def buffer_findings(code: str, name: str, source: Source, facts: ModuleFacts, *, recurrent: bool) -> Iterator[Finding]:
    """One finding for each loop that fills a buffer and reads its slots (`recurrent`), or doesn't.

    Where the slots can't become a list, each write is left to the codemod of its own spelling.
    """
    connecting = {id(write.node) for fill in facts.fills for write in fill.writes}
    for buffer in facts.buffers:
        writes = [written.write for written in buffer.writes]
        if not writes or bool(buffer.reads) is not recurrent or any(id(write.node) in connecting for write in writes):
            continue
        made = stack_slots(source, buffer, facts.spelling)
        if isinstance(made, Refusal):
            continue
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


def _message(source: Source, buffer: FilledBuffer, worst: Write) -> str:
    if worst.severity is not Severity.INFO:
        return message(source, worst)
    reads = " and reads them" if buffer.reads else ""
    fills = f"the loop fills the slots of `{buffer.name.id}` in place{reads}"
    return f"{fills}; harmless, nothing that backward needs was saved"
