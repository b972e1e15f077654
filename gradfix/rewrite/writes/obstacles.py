"""What stands against giving a tensor a new name's worth of memory: who else would see the difference."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from gradfix.analysis.facts import Obstacle, ObstacleKind, Write, WriteForm
from gradfix.findings import Applicability, Refusal, RefusalKind
from gradfix.rewrite.grounds.places import place_of
from gradfix.rewrite.text.expressions import short
from gradfix.rewrite.views import replays
from gradfix.source import Source

_REFUSED = (
    *replays.HOLDERS,
    ObstacleKind.CLOSURE,
    ObstacleKind.ARGUMENT_READ,
    ObstacleKind.PARAMETER,
    ObstacleKind.LEAF_GRAD_READ,
    ObstacleKind.NOT_A_NAME,
    ObstacleKind.GRADIENTS_OFF,
    ObstacleKind.IN_TUPLE,
    ObstacleKind.FROZEN,
    ObstacleKind.COMPUTED,
    ObstacleKind.HOLDS_ITEMS,
)

# Why each refuses, and what to do instead: `target` is written, `other` is whom the obstacle names.
_REASONS: Mapping[ObstacleKind, tuple[RefusalKind, str, str]] = {
    ObstacleKind.ALIAS_READ: (
        RefusalKind.HELD,
        "`{other}` is the same tensor and is read afterwards{line}: it would miss the write",
        "read `{target}` there, or give `{other}` a `.clone()` if it should keep the old value",
    ),
    ObstacleKind.ARGUMENT_READ: (
        RefusalKind.HELD,
        "`{target}` is {other}, which is read after the call{line} and would miss the write",
        "return `{target}`, and give the caller the result",
    ),
    ObstacleKind.BASE_READ: (
        RefusalKind.HELD,
        "`{target}` shares its memory with `{other}`, which is read afterwards{line} and would miss the write",
        "write to `{other}` out of place, then take `{target}` from it again",
    ),
    ObstacleKind.CLOSURE: (
        RefusalKind.SCOPE,
        "`{other}` belongs to an enclosing scope: assigning it here would make a new local variable",
        "declare `nonlocal {other}` or `global {other}`, or pass it in and return it",
    ),
    ObstacleKind.PARAMETER: (
        RefusalKind.LEAF,
        "`{other}` is a parameter of the module: it can't be assigned a plain tensor",
        "work on a local copy (`w = {other}.clone()`), or update it under `torch.no_grad()` if that is meant",
    ),
    ObstacleKind.IN_TUPLE: (
        RefusalKind.NOT_ASSIGNABLE,
        "`{other}` is an item of a tuple, which can't be given a new tensor",
        "make the tuple a list first (`parts = list(parts)`), or give the item a name of its own",
    ),
    ObstacleKind.HOLDS_ITEMS: (
        RefusalKind.NOT_ASSIGNABLE,
        "`{other}` is no tensor itself: the tensors in it are written",
        "hand over clones of them, and go on with those",
    ),
    ObstacleKind.ELSEWHERE: (
        RefusalKind.ELSEWHERE,
        "{other} writes to it, inside of what this line calls",
        "make a new tensor there (`self.h = self.h * 2` for `self.h *= 2`), or save a clone before it is written",
    ),
    ObstacleKind.FROZEN: (
        RefusalKind.NOT_ASSIGNABLE,
        "`{other}` is a field of a named tuple or a frozen dataclass, which can't be given a new tensor",
        "make a new object with the new tensor (`_replace`, `dataclasses.replace`)",
    ),
    ObstacleKind.COMPUTED: (
        RefusalKind.NOT_ASSIGNABLE,
        "`{other}` is computed when it is asked for: there is nothing that a new tensor could be given to",
        "give it a name first (`h = {other}`), and go on with that",
    ),
    ObstacleKind.GRADIENTS_OFF: (
        RefusalKind.LEAF,
        "`{other}` is written with gradients off: a new tensor made there would be cut from the graph",
        "if this is an update, make it after backward; else clone what backward needs before this line",
    ),
    ObstacleKind.LEAF_GRAD_READ: (
        RefusalKind.LEAF,
        "`{other}` is a leaf whose gradient is used{line}: rebinding the name would lose `{other}.grad`",
        "give the changed tensor a name of its own and use that name from here on",
    ),
    ObstacleKind.HANDLED: (
        RefusalKind.MEANING,
        "the program handles {other} that writing `{target}` leads to{line}: a write that works leads on another way",
        "leave it if that is meant; else write out of place and drop the handler",
    ),
}
_NOT_ASSIGNABLE = (
    RefusalKind.NOT_ASSIGNABLE,
    "`{other}` can't be assigned, so a new tensor could not take its place",
    "store the tensor under a name first, and put the result back where it came from",
)


def refusal(source: Source, write: Write, *, replayed: bool = False) -> Refusal | None:
    """Why `write` can't be made a rebinding at all; None when it can. `replayed`: views and their bases follow."""
    for obstacle in write.obstacles:
        if replayed and replays.resolves(write, obstacle):
            continue
        if obstacle.certain and obstacle.kind in _REFUSED and _stands(write, obstacle):
            return _explain(source, write, obstacle)
    if write.tensor.expanded:
        name = short(source, write.target)
        return Refusal(
            RefusalKind.HELD,
            f"several elements of `{name}` may share one memory cell (`expand`), and the write reaches them all",
            f"make `{name}` with `.clone()` or `.repeat()` where it is expanded",
        )
    return None


def unchanged(source: Source, write: Write) -> Refusal | None:
    """Why `write` stays as it is: the program counts on its error, or it is another file that writes."""
    final = (ObstacleKind.ELSEWHERE, ObstacleKind.HANDLED)
    found = (obstacle for obstacle in write.obstacles if obstacle.kind in final)
    return next((_explain(source, write, obstacle) for obstacle in found), None)


def applicability(write: Write, *, replayed: bool = False) -> Applicability:
    """Safe, unless somebody else may hold the tensor and see that the write no longer reaches it."""
    left = (o for o in write.obstacles if not (replayed and replays.resolves(write, o)))
    return Applicability.UNSAFE if any(_stands(write, o) for o in left) else Applicability.SAFE


def _stands(write: Write, obstacle: Obstacle) -> bool:
    """Whether `obstacle` is still one for a rewrite that assigns to the place of `write`."""
    place = place_of(write)
    if obstacle.kind is ObstacleKind.USED_AS_VALUE:
        return False
    if obstacle.kind is ObstacleKind.NOT_A_NAME:
        return place is None and not _is_handed_on(write)
    if (
        obstacle.kind in replays.HOLDERS and place is not None
    ):  # the base itself is assigned, and its later readers follow
        return obstacle.name != ast.unparse(place)
    return True


def _is_handed_on(write: Write) -> bool:
    """The tensor has no name, but the value of the writing call is used: nobody sees the old tensor."""
    calls = (WriteForm.METHOD, WriteForm.FUNCTION, WriteForm.FLAG)
    alone = isinstance(write.statement, ast.Expr) and write.statement.value is write.node
    return write.form in calls and not alone


def _explain(source: Source, write: Write, obstacle: Obstacle) -> Refusal:
    line = "" if obstacle.place is None else f" (line {source.position(obstacle.place.span.start).line})"
    kind, reason, advice = _REASONS.get(obstacle.kind, _NOT_ASSIGNABLE)
    words = {"target": short(source, write.target), "other": obstacle.name, "line": line}
    return Refusal(kind, reason.format(**words), advice.format(**words))
