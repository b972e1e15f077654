"""From records of gradients that never arrive to facts."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from gradfix.analysis.backward_facts import NonLeafGrad, SecondBackward
from gradfix.analysis.domain.machine import Machine
from gradfix.findings import Hazard, HazardKind, Severity


def facts_of_again(m: Machine, ordinals: Mapping[int, int]) -> tuple[SecondBackward, ...]:
    """Calls of backward that meet a graph without its values."""
    found = []
    for record in sorted(m.notes.second_backwards.values(), key=lambda r: (r.node.lineno, r.node.col_offset)):
        name = ast.unparse(record.node.func)
        first = m.place(record.first, "the graph is freed here")
        place = m.place(record.node, "and needed again here")
        hazard = Hazard(HazardKind.SECOND_BACKWARD, place, first, name)
        severity = Severity.ERROR if record.certain else Severity.WARNING
        ordinal = ordinals.get(id(record.statement), 0)
        found.append(
            SecondBackward(
                node=record.node,
                statement=record.statement,
                function=record.function,
                identity_ordinal=ordinal,
                first=record.first,
                severity=severity,
                hazards=(hazard,),
                looped=record.looped,
                shared=record.shared,
                stepped=record.stepped,
                of_gradients=record.of_gradients,
                elsewhere=m.notes.elsewhere.get(id(record.node)),
                freed_elsewhere=m.notes.elsewhere.get(id(record.first)),
            )
        )
    return tuple(found)


def facts_of_grads(m: Machine, ordinals: Mapping[int, int]) -> tuple[NonLeafGrad, ...]:
    """Places that want the gradient of what was computed."""
    found = []
    for record in sorted(m.notes.non_leaf_grads.values(), key=lambda r: (r.node.lineno, r.node.col_offset)):
        name = ast.unparse(record.target)
        made = record.made if isinstance(record.made, ast.expr) else None
        place = m.place(record.node, f"`{name}` is no leaf")
        computed = None if made is None else m.place(made, "it is computed here")
        found.append(
            NonLeafGrad(
                node=record.node,
                statement=record.statement,
                function=record.function,
                identity_ordinal=ordinals.get(id(record.statement), 0),
                target=record.target,
                made=made,
                leaf=record.leaf if isinstance(record.leaf, ast.expr) else None,
                by_optimizer=record.by_optimizer,
                severity=Severity.ERROR if record.certain else Severity.WARNING,
                hazards=(Hazard(HazardKind.NON_LEAF_GRAD, place, computed, name),),
            )
        )
    return tuple(found)
