"""From records of ways out of a function to facts."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence

from gradfix.analysis.domain.machine import Machine
from gradfix.analysis.domain.records import BareRecord, End
from gradfix.analysis.text.guards import is_kept_away
from gradfix.analysis.text.nodes import every_node, nodes_of
from gradfix.analysis.text.scopes import names_in, stored_in_targets
from gradfix.analysis.way_facts import BareWay, Operand
from gradfix.findings import Hazard, HazardKind, Severity


def _is_inside(node: ast.expr, body: Sequence[ast.stmt] | ast.expr) -> bool:
    return any(inner is node for part in ([body] if isinstance(body, ast.expr) else body) for inner in every_node(part))


def _from_the_start(ends: Collection[End]) -> list[End]:
    """Without those of a passage that is a part of another one: what calls it may ask before it does."""
    parts = {end._replace(calls=end.calls[i:]) for end in ends for i in range(1, len(end.calls) + 1)}
    return [end for end in ends if end not in parts]


def _certain_operands(m: Machine, record: BareRecord) -> tuple[Operand, ...]:
    """Those that hold a tensor in every call that is known: `w` may be a number in another one."""
    scope = record.scope
    if scope is None or not record.operands:
        return record.operands
    given = {name: kinds for (node, name), kinds in m.notes.given.items() if node == id(scope) and False in kinds}
    doubtful = {name for name, kinds in given.items() if True in kinds}
    assigned = [node for node in nodes_of(scope) if isinstance(node, ast.Assign)] if doubtful else []
    for node in assigned:  # in the order of the text
        if not doubtful.isdisjoint(names_in(node.value)):
            doubtful |= stored_in_targets(node)
    return tuple(operand for operand in record.operands if operand.name not in doubtful | given.keys())


def facts_of_ways(m: Machine, tree: ast.Module, ordinals: Mapping[int, int]) -> tuple[BareWay, ...]:
    """Ways that leave a backward nothing to go back through, where nothing keeps such a run from it."""
    found = []
    cases = {id(branch) for branch in m.notes.cases.values()}
    for record in m.notes.bare.values():
        proven = not all(is_kept_away(tree, *end) for end in _from_the_start(record.starved))
        if not proven and (record.starved or not record.returned):
            continue
        name = ast.unparse(record.node)
        decides = m.place(record.branch.test, "which this decides")
        place = m.place(record.node, f"`{name}` has no graph")
        found.append(
            BareWay(
                node=record.node,
                statement=record.statement,
                test=record.branch.test,
                when=None if id(record.branch) in cases else _is_inside(record.node, record.branch.body),
                function=record.function,
                identity_ordinal=ordinals.get(id(record.statement), 0),
                tensor=record.tensor,
                proven=proven,
                operands=_certain_operands(m, record),
                records=record.records,
                severity=Severity.WARNING,
                hazards=(Hazard(HazardKind.DISCONNECTED, place, decides, name),),
            )
        )
    return tuple(sorted(found, key=lambda fact: (fact.node.lineno, fact.node.col_offset)))
