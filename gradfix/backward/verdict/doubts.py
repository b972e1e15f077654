"""Both texts ran, and their gradients differ: whether the original's own are the wrong ones."""

from __future__ import annotations

from dataclasses import replace

from gradfix.backward.protocol import Run
from gradfix.backward.verdict import oracle
from gradfix.backward.verdict.compare import Agreement, DiffersError, same_passes, same_roots
from gradfix.backward.verdict.differing import Differing
from gradfix.backward.verdict.endings import (
    ends_in_leaf_of_its_own,
    no_other_error,
    same_arguments,
    same_count,
    same_generators,
    same_output,
)
from gradfix.backward.verdict.evidence import Evidence, Subject, add_once
from gradfix.backward.verdict.failures import Failure
from gradfix.backward.verdict.oracle import Make, NoOracleError
from gradfix.backward.verdict.symptoms import Cure
from gradfix.backward.worker.requests import Request
from gradfix.findings import HazardKind

_HIDDEN = {HazardKind.SAVED_THEN_WRITTEN: Cure.HOOKS, HazardKind.GRADIENT_WRITTEN: Cure.COPIES}
_NO_LEAF = "no oracle: the original differentiates a leaf that isn't one any more"


class Doubts:
    """What becomes of pairs of runs in which the original's own gradients are no oracle."""

    def __init__(self, make: Make, subject: Subject, evidence: Evidence, differing: Differing) -> None:
        """What is settled is written to `evidence`."""
        self._make, self._subject, self._evidence, self._differing = make, subject, evidence, differing

    def settle(self, first: Request, second: Request, before: Run, after: Run, difference: DiffersError) -> None:
        """Both ran, and differ in what `difference` says. Raises it where the original's own are right."""
        if not self._subject.silent:
            self._hidden(first, second, before, after, difference)
        elif ends_in_leaf_of_its_own(before, after):
            self._new_leaf(first, second, before, after)
        else:
            self._same_forward(before, after)
            self._correct(first, second, before, after, difference)

    def connected(self, first: Request, second: Request, before: Run, after: Run) -> None:
        """The rewritten text gives gradients to leaves that had none."""
        if not ends_in_leaf_of_its_own(before, after):
            self._correct(first, second, before, after)
            return
        try:
            self._with_cuts_held(first, second, before, after)
        except NoOracleError as why:
            add_once(self._evidence.unjudged, str(why))

    def before_failure(
        self, first: Request, second: Request, before: Run, after: Run, failure: Failure, local: Agreement
    ) -> None:
        """The original fails at a pass, and those before it give other gradients: differences decide from the first on.

        Raises `DiffersError` where they speak against the rewritten text.
        """
        own_leaf = ends_in_leaf_of_its_own(before, after)
        if not own_leaf or first.plan.scale == 1.0:  # else the original's own leaf is scaled, too
            for one, other in zip(before.events[: failure.passes], after.events, strict=False):
                same_roots(one, other, local)
        if own_leaf:
            name = self._differing.with_cuts_held(first, second, before, after, _NO_LEAF)
        else:
            name = self._differing(first, second, None, before, after, local=None, prints=self._evidence.prints)
        add_once(self._evidence.oracles, name)
        local.passes += 1

    def _hidden(self, first: Request, second: Request, before: Run, after: Run, difference: DiffersError) -> None:
        """A checkpoint may have hidden that what it saved was overwritten, and a hook written to what others get.

        Then the original's own differ from those of a run without that. Else raises `difference`.
        """
        cure = next((cure for kind, cure in _HIDDEN.items() if kind in self._subject.kinds), None)
        if cure is None:
            raise difference
        reference = self._make(oracle.cured(first, [cure]))
        try:
            same_passes(before.events, reference.events, self._evidence.agreement.fresh())
        except DiffersError:
            self._same_forward(before, after)
            self._against(reference, cure, after, second)
            self._evidence.corrected += 1
            return
        raise difference

    def _new_leaf(self, first: Request, second: Request, before: Run, after: Run) -> None:
        """The original's gradients end in a leaf that the rewritten text doesn't have."""
        if first.plan.scale == 1.0:  # else the original's own leaf is scaled, too
            self._same_forward(before, after)
        try:
            if HazardKind.NON_LEAF_GRAD in self._subject.kinds:
                self._against(oracle.run_with_leaves(self._make, first, after), Cure.LEAF, after, second)
                self._evidence.moved += 1
            else:
                self._with_cuts_held(first, second, before, after)
        except NoOracleError as why:
            add_once(self._evidence.unjudged, str(why))

    def _against(self, reference: Run, cure: Cure, after: Run, second: Request) -> None:
        evidence, local = self._evidence, self._evidence.agreement.fresh()
        same_as_reference(self._make, reference, cure.value, after, second, local, prints=evidence.prints)
        evidence.agreement.merge(local)
        add_once(evidence.oracles, cure.value)

    def _with_cuts_held(self, first: Request, second: Request, before: Run, after: Run) -> None:
        add_once(self._evidence.oracles, self._differing.with_cuts_held(first, second, before, after, _NO_LEAF))
        self._evidence.corrected += 1

    def _same_forward(self, before: Run, after: Run) -> None:
        """Only gradients may differ where the original's are in doubt; what follows from them isn't compared."""
        local = self._evidence.agreement.fresh()
        for one, other in zip(before.events[:1], after.events, strict=False):
            same_roots(one, other, local)
        ended = before.ended, after.ended
        state = all(end is not None and end.passes == 0 for end in ended)
        same_arguments(before, after, local, state=state, gradients=False)

    def _correct(
        self, first: Request, second: Request, before: Run, after: Run, difference: DiffersError | None = None
    ) -> None:
        """The original's own gradient is in doubt: central differences decide.

        Where they can't, `difference` counts against a rewrite that connects what the original may have cut on purpose.
        """
        evidence, local = self._evidence, self._evidence.agreement.fresh()
        try:
            name = self._differing(first, second, None, before, after, local=local, prints=evidence.prints)
            add_once(evidence.oracles, name)
            evidence.corrected += 1
        except NoOracleError as why:
            if difference is not None and HazardKind.SILENT_WRITE not in self._subject.kinds:
                raise difference from why
            add_once(evidence.unjudged, str(why))


def same_as_reference(
    make: Make, reference: Run, name: str, after: Run, request: Request, local: Agreement, *, prints: bool
) -> None:
    """The run `after` of `request` computes what the original does under the cures of `name`, `reference`.

    Raises `DiffersError` where it doesn't; with `prints` the output counts, too.
    """
    same_passes(reference.events, after.events, local)
    if Cure.FRESH_LEAVES.value in name:  # a `leaf * 1` shows no `.grad`: neither may the rewritten text
        if after.ended is None or after.ended.error is not None:
            no_other_error(reference, after)
        after = make(replace(request, lines=(), plan=replace(request.plan, fresh_leaves=True)))
    no_other_error(reference, after)
    same_count(reference, after)
    same_generators(reference, after)
    same_arguments(reference, after, local)
    if prints:
        same_output(reference, after, prefix=False)
