"""The backward check: runs the original and the rewritten text under guard and judges the rewrite."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from gradfix.backward.cases import Case, Command, DeclaredCall, RecordedCall
from gradfix.backward.commands import Trial, by_command
from gradfix.backward.limits import Budget, Limits
from gradfix.backward.protocol import ProtocolError, Run
from gradfix.backward.runner import LostError, RefusedError, Runner
from gradfix.backward.server import Server
from gradfix.backward.spawned import Spawned
from gradfix.backward.synthesis import Calls, calls_of, search_for
from gradfix.backward.verdict.evidence import Subject, Way
from gradfix.backward.verdict.judge import CaseJudge
from gradfix.backward.verdict.kept import Made, keep
from gradfix.backward.worker.requests import Place, Request
from gradfix.findings import BUDGET_SPENT, HazardKind, Judgement, Verdict

T = TypeVar("T")


class Checker:
    """Judges rewrites in one guarded server, started with the first of them.

        with Checker(python=find_python(None, None, Path.cwd())) as checker:
            judgement = checker.judge(path, before, after, Program(), {5}, {5, 6})

    Leaving the `with`, also by an interrupt, ends every process it started and removes what they wrote. Not for
    several threads at once: use one checker in each.
    """

    def __init__(
        self,
        *,
        python: str | None = None,
        trust: bool = False,
        limits: Limits | None = None,
        cwd: Path | None = None,
        without: tuple[str, ...] = (),
        budget: Budget | None = None,
        keep: Path | None = None,
    ) -> None:
        """`trust` runs the code even where no wall stands. `cwd` is the directory whose files programs see as theirs.

        `without` leaves out walls ("landlock", "namespaces", "mount"), as on hosts that lack them. A `budget` is shared
        with other checkers; `keep` is a folder to leave the evidence of rejected fixes in.
        """
        self._python = python or sys.executable
        if os.sep in self._python:
            self._python = os.path.abspath(self._python)  # the server starts elsewhere; links stay: they make a venv
        self._trust, self._limits = trust, limits or Limits()
        self._cwd = str((cwd or Path.cwd()).absolute())
        self._without = without
        self._server: Runner | None = None
        self._refused: str | None = None
        self._budget = budget or Budget(self._limits.total)
        self._keep = keep
        self._made: list[Made] = []
        self._stopped = False
        self.walls: tuple[str, ...] = ()  # known once something has run
        self.fresh = False  # whether each run was a process of its own; known then, too

    def __enter__(self) -> Checker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server. The next judgement would start another."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def stop(self) -> None:
        """Hang up on the server for good, from any thread: the judgement under way ends as `unchecked`."""
        self._stopped = True
        if self._server is not None:
            self._server.hang_up()

    def judge(
        self,
        path: Path,
        before: str,
        after: str,
        case: Case,
        changed_before: frozenset[int],
        changed_after: frozenset[int],
        *,
        predicted: bool = False,
        kinds: frozenset[HazardKind] = frozenset(),
        writes: frozenset[int] = frozenset(),
        cuts: tuple[Place, ...] = (),
        shared: bool = False,
    ) -> Judgement:
        """Judge the rewrite of `path` from the text `before` to the text `after`; the file isn't read or written.

        `changed_*` are the 1-based lines that differ. `predicted`: the analysis says the original raises in every run.
        `kinds` are those of the hazards that the rewrite is to cure, `writes` the lines of `before` that cause them,
        `cuts` those of its expressions that cut a graph and no longer do.
        With `shared`, a proven judgement also tells which conflicts the original has.
        """
        subject = Subject(
            path=os.path.abspath(path),
            cwd=self._cwd,
            before=before,
            after=after,
            way=_way(case),
            changed_before=frozenset(changed_before),
            changed_after=frozenset(changed_after),
            predicted=predicted,
            kinds=kinds,
            writes=writes,
            cuts=cuts,
            shared=shared,
        )
        return self._within_budget(
            lambda: self._judged(subject, case), lambda why: Judgement(Verdict.UNCHECKED, why, ran=subject.ran)
        )

    def _judged(self, subject: Subject, case: Case) -> Judgement:
        self._made.clear()
        if isinstance(case, Command):
            if not Path(subject.path).is_relative_to(os.path.abspath(case.root)):
                return Judgement(Verdict.UNCHECKED, f"the file isn't in the project {case.root}", ran=subject.ran)
            return self._kept(subject, by_command(self._run, self._trial(subject, case)))
        limits = replace(self._limits, case=min(self._limits.case, self._budget.left))
        return self._kept(subject, CaseJudge(self._run, subject, limits).judgement())

    def _within_budget(self, work: Callable[[], T], otherwise: Callable[[str], T]) -> T:
        """Do work that makes runs; `otherwise` is the answer, with the reason, where they can't be made."""
        if self._budget.left <= 0:
            return otherwise(BUDGET_SPENT)
        started = time.monotonic()
        try:
            return work()
        except (RefusedError, ProtocolError) as error:
            return otherwise(str(error))
        except LostError as error:
            self.close()
            return otherwise(f"the guarded server was lost: {error}")
        finally:
            self._budget.spend(time.monotonic() - started)

    def find_calls(
        self,
        path: Path,
        text: str,
        function: str,
        lines: Sequence[int],
        targets: Sequence[frozenset[int]],
        kinds: frozenset[HazardKind],
        writes: Sequence[frozenset[int]] = (),
    ) -> Calls:
        """Look for calls of `function`, or of what else leads to `lines`, that reach one line of each target.

        Such that show a hazard of the `kinds`, and run one of the `writes` of the target, are preferred. Nothing is
        judged.
        """
        nothing = (None,) * len(targets)

        def search() -> Calls:
            request = Request(
                path=os.path.abspath(path),
                text=text,
                cwd=self._cwd,
                seconds=min(self._limits.search, max(1.0, self._budget.left)),
                backwards=0,
                search=search_for(lines, targets, kinds, writes),
            )
            return calls_of(self._run(request), targets, function)

        return self._within_budget(search, lambda why: Calls(nothing, why))

    def _trial(self, subject: Subject, case: Command) -> Trial:
        seconds = max(1.0, min(self._limits.command, self._budget.left))
        before, after = (
            Request(
                path=subject.path,
                text=text,
                cwd=subject.cwd,
                seconds=seconds,
                backwards=0,
                command=case.command,
                root=os.path.abspath(case.root),
                lines=tuple(sorted(lines)),
            )
            for text, lines in ((subject.before, subject.changed_before), (subject.after, subject.changed_after))
        )
        return Trial(before, after)

    def _kept(self, subject: Subject, judgement: Judgement) -> Judgement:
        """The judgement, with a note where its evidence lies when the fix is rejected and that was asked for."""
        if self._keep is None or judgement.verdict is not Verdict.REJECTED:
            return judgement
        try:
            place = keep(self._keep, subject, judgement, self._made)
        except OSError as error:
            return replace(judgement, notes=(*judgement.notes, f"its evidence can't be kept: {error.strerror}"))
        return replace(judgement, notes=(*judgement.notes, f"its evidence is kept in {place}"))

    def _run(self, request: Request) -> Run:
        if self._stopped:
            raise RefusedError("the check was stopped")
        if self._refused is not None:
            raise RefusedError(self._refused)
        if self._server is None:
            try:
                self._server = self._started()
            except RefusedError as refusal:
                self._refused = str(refusal)
                raise
            if self._stopped:
                self._server.hang_up()
        try:
            run = self._server.run(request)
        finally:
            self.walls, self.fresh = self._server.walls, self._server.fresh
        if self._keep is not None:
            self._made.append((request, run))
        return run

    def _started(self) -> Runner:
        if sys.platform == "linux" and hasattr(os, "fork"):
            return Server(self._python, self._limits, trust=self._trust, without=self._without)
        if not self._trust:
            raise RefusedError("no wall stands here; pass --trust to run it anyway")
        return Spawned(self._python, self._limits)


def _way(case: Case) -> Way:
    if isinstance(case, DeclaredCall):
        return Way(call=case.call, synthesised=case.synthesised, seed=case.seed)
    if isinstance(case, RecordedCall):
        return Way(call=f"recorded call of {case.function}", recorded=os.path.abspath(case.path))
    if isinstance(case, Command):
        return Way(command=case.command)
    return Way(entry=None if case.entry is None else os.path.abspath(case.entry))
