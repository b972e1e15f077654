"""The closing lines: how many, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gradfix.findings import BUDGET_SPENT, Applicability, Verdict
from gradfix.results import FileResult, Result, Status


def checked(results: Sequence[Result]) -> str:
    """After `check`: what was found and how much of it `apply` can fix."""
    if not results:
        return "All checks passed!"
    grades = Counter(result.fix.applicability for result in results if result.fix)
    lines = [f"Found {_count(len(results), 'finding')}."]
    if grades[Applicability.SAFE]:
        lines.append(f"[*] {grades[Applicability.SAFE]} fixable with `gradfix apply`{_hidden(grades)}.")
    elif grades[Applicability.UNSAFE]:
        lines.append(f"No fixes available without asking{_hidden(grades)}.")
    return "\n".join(lines)


def applied(files: Sequence[FileResult], *, dry: bool) -> str:
    """After `apply`: what was fixed, what the check said, and what is left."""
    results = [result for file in files for result in file.results]
    done = [result for result in results if result.status in (Status.APPLIED, Status.CURED)]
    left = len(results) - len(done)
    if not results:
        return "All checks passed!"
    touched = sum(bool(file.edits) for file in files)
    verb = "Would fix" if dry else "Fixed"
    where = f" in {_count(touched, 'file')}" if done else ""
    lines = [f"{verb} {_count(len(done), 'finding')}{where}{_verdicts(done)}."]
    if left:
        hidden = Counter(r.fix.applicability for r in results if r.status is Status.LEFT and r.fix)
        rejected = sum(_verdict(r) is Verdict.REJECTED for r in results)
        told = f", {rejected} rejected by the backward check" if rejected else ""
        lines.append(f"{_count(left, 'finding')} left{told}{_hidden(hidden)}.")
    if late := sum(result.judgement is not None and result.judgement.reason == BUDGET_SPENT for result in results):
        lines.append(
            f"{_count(late, 'fix', 'fixes')} came too late to be checked: `--verify-budget SECONDS` gives more time."
        )
    return "\n".join(lines)


def _verdicts(done: Sequence[Result]) -> str:
    counts = Counter(_verdict(result) for result in done)
    told = [f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict]]
    cured = sum(result.status is Status.CURED for result in done)
    if cured:
        told.append(f"{cured} cured with others")
    return f" ({', '.join(told)})" if told else ""


def _verdict(result: Result) -> Verdict | None:
    return result.judgement.verdict if result.judgement else None


def _hidden(grades: Counter[Applicability]) -> str:
    unsafe = grades[Applicability.UNSAFE]
    return f" ({_count(unsafe, 'unsafe fix', 'unsafe fixes')} available with `--unsafe-fixes`)" if unsafe else ""


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
