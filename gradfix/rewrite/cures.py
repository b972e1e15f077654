"""The verb `out_of_place`: every cure of a write in place, best first."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from gradfix.analysis.facts import Spelling, Write, WriteForm
from gradfix.findings import Applicability, HazardKind, Refusal, RefusalKind, Rewrite
from gradfix.rewrite.buffers.renewed import make_anew
from gradfix.rewrite.callers.definitions import definition_around
from gradfix.rewrite.callers.handed_back import hand_back
from gradfix.rewrite.callers.returned_gradients import return_gradient
from gradfix.rewrite.grounds.derivatives import reshaped_view, without_derivative
from gradfix.rewrite.grounds.places import place_of, root_of
from gradfix.rewrite.views.function_views import clone_given
from gradfix.rewrite.views.plain_views import split_plainly
from gradfix.rewrite.views.replays import replay_of
from gradfix.rewrite.writes.flags import drop_flags
from gradfix.rewrite.writes.ladder import Form
from gradfix.rewrite.writes.obstacles import unchanged
from gradfix.rewrite.writes.parameter_copies import copy_parameter
from gradfix.rewrite.writes.rebind import rebind
from gradfix.rewrite.writes.saved_copies import copy_saved
from gradfix.rewrite.writes.updates import update_quietly, update_unread
from gradfix.rewrite.writes.working_copies import WORKING_COPY, work_on_copy
from gradfix.source import Source

_GRADES = tuple(Applicability)  # safest first
_BETTER = (Applicability.UNSAFE, Applicability.SAFE)
_COPYING = frozenset({Form.CLONE.value, Form.ONE_BY_ONE.value, Form.REFILL.value})
_ONE_FOR_ALL = Refusal(
    RefusalKind.NO_FORM,
    "a copy of what is one for all examples would be one for all of them, too",
    "put the values together with `torch.stack`, or begin with `torch.zeros_like` of something that is mapped",
)


def out_of_place(
    source: Source, write: Write, spelling: Spelling, writes: Sequence[Write] = ()
) -> tuple[Rewrite, ...] | Refusal:
    """The ways to cure `write`, one of all `writes` of the file, or why there is none.

    An update of a leaf is one, whatever else could be done. A new tensor for the target comes first where nobody else
    could tell; then a parameter is handed back to callers that are all seen; otherwise backward gets copies of what it
    needs and the write stays, or a leaf gets a copy to work on, which keeps its `.grad` under its name.
    """
    if (refused := unchanged(source, write) or reshaped_view(write)) is not None:
        return refused
    kinds = {hazard.kind for hazard in write.hazards}
    if HazardKind.VMAP_WRITTEN in kinds:
        return _for_each_example(source, write, spelling)
    if HazardKind.GRADIENT_WRITTEN in kinds:
        return return_gradient(source, write)
    alone = update_quietly(source, write, spelling, writes) or drop_flags(source, write)
    if alone is not None:
        return (alone,)
    if (refused := without_derivative(write)) is not None:
        return refused
    made = rebind(source, write, spelling)
    anew = make_anew(source, write, writes, spelling)
    if anew is not None and not isinstance(made, Refusal):
        return (anew, *made)
    copy = (
        clone_given(source, write)
        or split_plainly(source, write, spelling)
        or work_on_copy(source, write, writes, spelling)
        or copy_saved(source, write, spelling)
    )
    unread = update_unread(source, write, spelling) if copy is None else None
    if unread is not None:
        return (unread,)
    if copy is not None and copy.form == WORKING_COPY and not isinstance(made, Refusal):
        made = _no_safer_than(copy, made)
    ways = _with_copies(source, write, spelling, made, copy)
    if write.form is WriteForm.FOREIGN:
        return ways or made  # of the function that writes, this file has nothing to change
    if isinstance(made, Refusal) or (made and made[0].applicability is not Applicability.SAFE):
        handed = hand_back(source, write, spelling)
        if handed is not None:
            ways = (handed, *ways) if handed.applicability is Applicability.SAFE else (*ways, handed)
    return ways or made


def _with_copies(
    source: Source, write: Write, spelling: Spelling, made: tuple[Rewrite, ...] | Refusal, copy: Rewrite | None
) -> tuple[Rewrite, ...]:
    """The forms with a new tensor and with a copy, best first; a copy of a parameter where there is no new tensor."""
    if isinstance(made, Refusal) or not made:
        return tuple(way for way in (copy, copy_parameter(source, write, spelling)) if way is not None)
    return made if copy is None else _ranked(source, write, made, copy)


def _no_safer_than(copy: Rewrite, made: tuple[Rewrite, ...]) -> tuple[Rewrite, ...]:
    """The forms with a new tensor, graded no safer than the copy that a leaf gets to work on."""
    return tuple(
        replace(way, applicability=max(way.applicability, copy.applicability, key=_GRADES.index)) for way in made
    )


def _ranked(source: Source, write: Write, made: tuple[Rewrite, ...], copy: Rewrite) -> tuple[Rewrite, ...]:
    """The forms with a new tensor, and the one with a copy where it belongs among them."""
    first = copy.form == WORKING_COPY or (made[0].applicability, copy.applicability) == _BETTER
    if first or (copy.applicability is Applicability.SAFE and _replays_often(write)):
        return (copy, *made)
    if _changes_argument(source, write):
        return (made[0], replace(copy, last_resort=False), *made[1:])
    return (*made, copy)


def _for_each_example(source: Source, write: Write, spelling: Spelling) -> tuple[Rewrite, ...] | Refusal:
    """The forms that make a new tensor, which has the batch of all that it is computed from."""
    made = rebind(source, write, spelling)
    if isinstance(made, Refusal):
        return made
    return tuple(rewrite for rewrite in made if rewrite.form not in _COPYING) or _ONE_FOR_ALL


def _changes_argument(source: Source, write: Write) -> bool:
    """Whether the write reaches what a caller handed over: callers that this file doesn't have may count on it."""
    place = place_of(write)
    root = None if place is None else root_of(place)
    definition = definition_around(source, root) if isinstance(root, ast.Name) else None
    return definition is not None and isinstance(root, ast.Name) and definition.parameter(root.id) is not None


def _replays_often(write: Write) -> bool:
    """Whether a replay would be one of several: one copy of what was saved, or parts that may be written, is less."""
    replay = replay_of(write)
    return bool(replay) and (replay.is_tied or write.views.is_followed or write.views.is_repeated)
