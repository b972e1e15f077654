"""The verb `out_of_place`: every cure of a write in place, best first."""

from __future__ import annotations

from gradfix.analysis.facts import Spelling, Write
from gradfix.findings import Applicability, Refusal, Rewrite
from gradfix.rewrite.rebind import rebind
from gradfix.rewrite.saved_copies import copy_saved
from gradfix.source import Source


def out_of_place(source: Source, write: Write, spelling: Spelling) -> tuple[Rewrite, ...] | Refusal:
    """The ways to cure `write`, or why there is none.

    A new tensor for the target comes first where nobody else could tell; otherwise backward gets copies of what it
    needs, and the write stays.
    """
    made = rebind(source, write, spelling)
    copies = copy_saved(source, write, spelling)
    if copies is None:
        return made
    if isinstance(made, Refusal) or not made:
        return (copies,)
    best = made[0].applicability
    if best is not Applicability.SAFE and copies.applicability is Applicability.SAFE:
        return (copies, *made)
    return (*made, copies)
