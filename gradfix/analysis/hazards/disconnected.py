"""Losses that only some ways through a branch connect to the leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gradfix.analysis.domain.graph import Node, NodeKind, reachable, tracked_when
from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import BareRecord, End
from gradfix.analysis.facts import Tracked


def differentiated(m: Machine, root: Node | None, passed: Mapping[int, Node], *, total: bool) -> None:
    """A backward from `root` passes these nodes; `total`: it has no other root."""
    open_ends = _open_ends(m, passed.values())
    branches = _branches(m, open_ends)
    bare = tracked_when(root, branches, taken=False)
    if not open_ends or bare is tracked_when(root, branches, taken=True):
        return  # the loss is as connected without the branch
    end = End(m.statement, tuple(m.followed[site][0] for site in m.sites if site in m.followed))
    for node in open_ends:
        m.notes.phis[id(node)].meet(end, alone=total and bare is Tracked.NO)


def returned(m: Machine, root: Node) -> None:
    """A loss is returned to callers that nothing is known of."""
    open_ends = _open_ends(m, reachable(root))
    branches = _branches(m, open_ends)
    if open_ends and tracked_when(root, branches, taken=False) is Tracked.NO:
        for node in open_ends:
            record = m.notes.phis[id(node)]
            if isinstance(record, BareRecord):
                record.returned = True


def _open_ends(m: Machine, passed: Iterable[Node]) -> list[Node]:
    """The PHI nodes among them that may leave what comes after them without a graph, and are remembered for it."""
    return [n for n in passed if n.kind is NodeKind.PHI and None in n.inputs and id(n) in m.notes.phis]


def _branches(m: Machine, open_ends: Iterable[Node]) -> frozenset[int]:
    return frozenset(id(branch) for node in open_ends for branch in (node.branch, m.notes.phis[id(node)].branch))
