"""The verdict by the user's own command: its exit codes on a copy of the project with either text."""

from __future__ import annotations

from dataclasses import dataclass

from gradfix.backward.protocol import Run
from gradfix.backward.verdict.oracle import Make
from gradfix.backward.worker.requests import Request
from gradfix.findings import Judgement, Shown, Verdict

_SHOWN = 100  # characters of what the command said last


@dataclass(frozen=True, slots=True)
class Trial:
    """A command with the two texts of a file."""

    before: Request
    after: Request

    @property
    def name(self) -> str:
        """The command, as the report quotes it."""
        return f"`{self.before.command}`"


def by_command(make: Make, trial: Trial) -> Judgement:
    """Run the command with both texts; one that fails only after is run again, and so is the original then."""
    before, after = make(trial.before), make(trial.after)
    verdict, reason = _verdict(trial, before, after)
    if verdict is Verdict.REJECTED and (code_of(make(trial.after)) == 0 or code_of(make(trial.before)) != 0):
        verdict, reason = Verdict.UNCHECKED, f"{trial.name} doesn't end alike each time"
    watched = _is_watched(before, trial.before.lines) and _is_watched(after, trial.after.lines)
    return Judgement(
        verdict,
        reason,
        ran=trial.before.command,
        runs=1,
        error_before=_failure(before),
        shown=Shown(before.executed, after.executed) if watched else None,
    )


def code_of(run: Run) -> int | None:
    """The exit code of the command; None when it didn't come to its end."""
    return None if run.ended is None or run.killed is not None else run.ended.code


def _verdict(trial: Trial, before: Run, after: Run) -> tuple[Verdict, str]:
    name, one, other = trial.name, code_of(before), code_of(after)
    if one is None:
        return Verdict.UNCHECKED, f"{name} was stopped: {before.killed or 'it left no exit code'}"
    if one == 127:
        return Verdict.UNCHECKED, f"{name} can't be run: {_last_line(before)}"
    if other is None:
        return (
            Verdict.REJECTED,
            f"{name} exits with {one} before, after it was stopped: {after.killed or 'no exit code'}",
        )
    reached = bool(before.executed | after.executed)
    watched = _is_watched(before, trial.before.lines) and _is_watched(after, trial.after.lines)
    if not reached and watched:
        return Verdict.NOT_EXERCISED, f"{name} doesn't reach the changed lines"
    if one and other:
        return Verdict.UNCHECKED, f"{name} fails before and after: {_last_line(after)}"
    if one:
        return Verdict.FIXED, f"{name} exits with {one} before, with 0 after"
    if other:
        return Verdict.REJECTED, f"{name} exits with 0 before, with {other} after: {_last_line(after)}"
    if not reached:
        return Verdict.UNCHECKED, f"{name} exits with 0 before and after, and nobody knows which lines it reaches"
    return Verdict.EQUIVALENT, f"{name} exits with 0 before and after"


def _is_watched(run: Run, asked: tuple[int, ...]) -> bool:
    """Whether it is known which of the asked lines ran."""
    return not asked or (run.ended is not None and bool(run.ended.executable))


def _failure(run: Run) -> str | None:
    return None if code_of(run) in (0, None) else _last_line(run) or None


def _last_line(run: Run) -> str:
    lines = [line for text in (run.output, run.errors) for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:_SHOWN] if lines else ""
