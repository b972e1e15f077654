"""Central differences for one case: which of their two kinds decides, at which passes, and how many runs are made."""

from __future__ import annotations

from dataclasses import replace

from gradfix.backward.protocol import Run
from gradfix.backward.verdict import oracle
from gradfix.backward.verdict.compare import Agreement, DiffersError, same_roots
from gradfix.backward.verdict.endings import same_arguments, same_output
from gradfix.backward.verdict.evidence import Subject
from gradfix.backward.verdict.failures import Failure
from gradfix.backward.verdict.oracle import Make, NoOracleError
from gradfix.backward.verdict.state import left_by_both
from gradfix.backward.verdict.together import Together
from gradfix.backward.worker.requests import Request

_MOST_PASSES = 4  # held against differences in one run


class Differing:
    """Holds the rewritten text's gradients against differences of the original's forward.

    Each pass is looked at as if those before it had changed nothing.
    """

    def __init__(self, make: Make, subject: Subject, before: Run) -> None:
        """`make` carries out a request in a process of its own; a plain run of the original was `before`."""
        self._make, self._subject = make, subject
        self._together = Together(make, before.seconds)
        self._agreed = False  # along every direction
        self._met = False  # all cuts, where they were told
        self._open: set[str] = set()  # reasons why differences can't tell, by processes of their own

    def __call__(
        self,
        first: Request,
        second: Request,
        failure: Failure | None,
        before: Run,
        after: Run,
        *,
        local: Agreement | None,
        prints: bool,
    ) -> str:
        """The name of the oracle they agree with; with `local`, what both compute without gradients agrees, too.

        The passes are those of `after`, the run of the second request, from the first one on that the original fails;
        what it left is driven with what it gave, as far as `before`, the run of the first request, left that, too.

        Along every direction in the first pair that comes to it, along one in the others: each takes four runs.
        Raises `DiffersError`, or `NoOracleError` where differences can't tell.
        """
        first, second = _with_what_is_left(first, second, before, after)
        names = [
            self._at_pass(*_passing_over(number, first, second), failure, local, prints)
            for number in reversed(_passes(after, 0 if failure is None else failure.index))
        ]
        self._agreed = True
        return ", ".join(dict.fromkeys(names))

    def with_cuts_held(self, first: Request, second: Request, before: Run, after: Run, why: str) -> str:
        """The same where only differences that hold constants can tell; else the reason is `why`."""
        if not self._subject.cuts:
            raise NoOracleError(why)
        first, second = _with_what_is_left(first, second, before, after)
        for number in reversed(_passes(after, 0)):
            one, other = _passing_over(number, first, second)
            self._held(self._make, one, other, oracle.DIRECTIONS)
        return oracle.HELD

    def _held(self, make: Make, first: Request, second: Request, enough: int) -> str:
        name = oracle.held_differences(make, first, second, self._subject.cuts, enough, met=self._met)
        self._met = True
        return name

    def _at_pass(
        self, first: Request, second: Request, failure: Failure | None, local: Agreement | None, prints: bool
    ) -> str:
        enough, together = 1 if self._agreed else oracle.DIRECTIONS, self._together
        together.ahead(*oracle.ahead(first, second, enough, held=bool(self._subject.cuts)))
        try:
            name = self._told(first, second, failure, enough, local, prints)
        except (DiffersError, NoOracleError) as why:
            if self._is_known(why) or not together.alone():
                raise
            name = self._told(first, second, failure, enough, local, prints)
        else:
            if self._open and together.alone():  # too few runs were compared for a proof
                name = self._told(first, second, failure, enough, local, prints)
        together.settle()
        return name

    def _is_known(self, why: Exception) -> bool:
        """Whether processes of their own have said so, of this pass or an earlier one."""
        if not isinstance(why, NoOracleError):
            return False
        if not self._together.counts:
            self._open.add(str(why))
            self._together.settle()
        return str(why) in self._open

    def _told(
        self,
        first: Request,
        second: Request,
        failure: Failure | None,
        enough: int,
        local: Agreement | None,
        prints: bool,
    ) -> str:
        if local is not None:
            self._same_without_gradients(first, second, local, prints)
        cuts = self._subject.cuts
        if cuts:
            try:
                return self._held(self._together, first, second, enough)
            except NoOracleError as why:
                undoing = isinstance(why, oracle.PlacelessError)
                return oracle.differences(self._together, first, second, failure, enough, undoing=undoing)
        try:
            return oracle.differences(self._together, first, second, failure, enough)
        except oracle.StoppedError:
            if not self._subject.holds:
                raise
            return self._held(self._together, first, second, enough)

    def _same_without_gradients(self, first: Request, second: Request, local: Agreement, prints: bool) -> None:
        """What both compute up to their first backward, where nothing is tracked and so nothing raises."""
        before, after = (oracle.forward(self._together, request) for request in (first, second))
        same_roots(before.events[0], after.events[0], local)
        same_arguments(before, after, local)
        if prints:
            same_output(before, after, prefix=False)


def _passes(after: Run, first: int) -> list[int]:
    """Which passes from the `first` on are looked at: that one, the first of each other line, and the last."""
    found: dict[object, int] = {}
    for number, event in enumerate(after.events[first:], first):
        found.setdefault((event.kind, event.line), number)
    chosen = [first, *list(found.values())[1 : _MOST_PASSES - 1], max(first, len(after.events) - 1)]
    return list(dict.fromkeys(chosen))


def _with_what_is_left(first: Request, second: Request, before: Run, after: Run) -> tuple[Request, Request]:
    left = left_by_both(before, after)
    return replace(first, left=left), replace(second, left=left)


def _passing_over(number: int, first: Request, second: Request) -> tuple[Request, Request]:
    return replace(first, skipped=number), replace(second, skipped=number)
