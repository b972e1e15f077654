"""How severe the facts of a module are at most."""

from __future__ import annotations

from collections.abc import Iterator

from gradfix.analysis.facts import ModuleFacts
from gradfix.findings import Severity


def reaches(facts: ModuleFacts, least: Severity) -> bool:
    """Whether some fact is at least that severe."""
    return any(severity.rank >= least.rank for severity in _severities(facts))


def _severities(facts: ModuleFacts) -> Iterator[Severity]:
    yield from (write.severity for write in facts.writes)
    yield from (slot.write.severity for buffer in facts.buffers for slot in buffer.writes)
    yield from (call.severity for call in facts.backward_calls if call.severity is not None)
    yield from (Severity.WARNING for _ in facts.swaps)
    yield from (way.severity for way in facts.bare_ways)
    for group in (facts.fills, facts.second_backwards, facts.non_leaf_grads, facts.cuts, facts.early_steps):
        yield from (fact.severity for fact in group)
