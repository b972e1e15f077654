"""The verb `rebuild`: parts of a split are written out of place, and the base, which is read later, is made of them."""

from __future__ import annotations

from collections.abc import Sequence

from gradfix.analysis.facts import Spelling, Write
from gradfix.findings import Rewrite
from gradfix.rewrite.parts import row_loops, unpacked_parts
from gradfix.rewrite.text import names
from gradfix.rewrite.views.replays import HOLDERS
from gradfix.rewrite.writes.obstacles import unchanged
from gradfix.source import Source


def rebuild(source: Source, writes: Sequence[Write], spelling: Spelling) -> Rewrite | None:
    """The rewrite of all writes to the parts of one split; None where the parts aren't all at hand, or nobody asks."""
    splits = {id(node): node for write in writes for node in write.splits}
    if any(unchanged(source, write) for write in writes):
        return None
    if len(splits) != 1 or not names.can_spell_torch(spelling):
        return None
    (node,) = splits.values()
    if not any(o.kind in HOLDERS and o.replay is not None for write in writes for o in write.obstacles):
        return None
    return unpacked_parts.offer(source, node, writes, spelling) or row_loops.offer(source, node, writes, spelling)
