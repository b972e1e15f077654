"""The verb `out_of_place`: every cure of a write in place, best first."""

from __future__ import annotations

from gradfix.analysis.facts import Spelling, Write
from gradfix.findings import Applicability, Refusal, Rewrite
from gradfix.rewrite.flags import drop_flags
from gradfix.rewrite.parameter_copies import copy_parameter
from gradfix.rewrite.plain_views import split_plainly
from gradfix.rewrite.rebind import rebind
from gradfix.rewrite.saved_copies import copy_saved
from gradfix.rewrite.updates import update_quietly
from gradfix.rewrite.working_copies import WORKING_COPY, work_on_copy
from gradfix.source import Source

_BETTER = (Applicability.UNSAFE, Applicability.SAFE)


def out_of_place(source: Source, write: Write, spelling: Spelling) -> tuple[Rewrite, ...] | Refusal:
    """The ways to cure `write`, or why there is none.

    An update of a leaf is one, whatever else could be done. A new tensor for the target comes first where nobody else
    could tell; otherwise backward gets copies of what it needs and the write stays, or a leaf gets a copy
    to work on, which keeps its `.grad` under its name.
    """
    update = update_quietly(source, write, spelling)
    if update is not None:
        return (update,)
    flags = drop_flags(source, write)
    if flags is not None:
        return (flags,)
    made = rebind(source, write, spelling)
    copy = split_plainly(source, write, spelling) or work_on_copy(source, write) or copy_saved(source, write, spelling)
    if isinstance(made, Refusal) or not made:
        copies = tuple(c for c in (copy, copy_parameter(source, write)) if c is not None)
        return copies or made
    if copy is None:
        return made
    first = copy.form == WORKING_COPY or (made[0].applicability, copy.applicability) == _BETTER
    return (copy, *made) if first else (*made, copy)
