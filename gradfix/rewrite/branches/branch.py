"""The verb `connect_branch`: a buffer that only a branch connects to the leaves becomes connected on every way."""

from __future__ import annotations

from functools import partial

from gradfix.analysis.facts import ConditionalFill, Spelling
from gradfix.edits import Edit
from gradfix.findings import Applicability, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.branches import anchoring
from gradfix.rewrite.branches.anchoring import anchor_refusal, anchors
from gradfix.rewrite.branches.both_ways import plan_of
from gradfix.rewrite.text import names
from gradfix.rewrite.text.expressions import short
from gradfix.rewrite.writes import obstacles
from gradfix.source import Source


def connect_branch(source: Source, fill: ConditionalFill, spelling: Spelling) -> tuple[Rewrite, ...] | Refusal:
    """Differentiable masking where both ways may be computed; else, and as the alternative, the branch kept and its
    buffer connected after it.

    Both leave values and the gradients of the way taken as they are. Where the branch isn't taken the gradient is zero
    instead of missing: safe only where the program would have failed there.
    """
    if not names.can_spell_torch(spelling):
        return Refusal(
            RefusalKind.SPELLING, "torch isn't imported here, and there is no place to import it", "import torch first"
        )
    name = short(source, fill.buffer)
    grade = Applicability.SAFE if fill.only_connection else Applicability.UNSAFE
    made = []
    if plan_of(source, fill, spelling) is not None:
        title = f"Replace the branch with `torch.where`, assigned to `{name}`"
        made.append(Rewrite(title, grade, partial(_build_masked, fill=fill, spelling=spelling)))
    refusal = anchor_refusal(source, fill)
    if refusal is None:
        seen = any(obstacles.applicability(write) is not Applicability.SAFE for write in fill.writes)
        title = f"Keep the branch, and connect `{name}` to `{anchors(source, fill)[0]}` after it"
        build = partial(anchoring.build, fill=fill, spelling=spelling)
        made.append(Rewrite(title, Applicability.UNSAFE if seen else grade, build))
    if not made:
        assert refusal is not None
        return refusal
    return tuple(made)


def _build_masked(source: Source, *, fill: ConditionalFill, spelling: Spelling) -> tuple[Edit, ...] | Refusal:
    from gradfix.rewrite.branches import masks  # imports LibCST

    return masks.build(source, fill, spelling)
