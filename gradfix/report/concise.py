"""One line a result, for editors and grep: `path:row:col: CODE [*] message`."""

from __future__ import annotations

from collections.abc import Iterable

from gradfix.findings import Applicability, Fix
from gradfix.report.visible import visible
from gradfix.results import Result


def concise(results: Iterable[Result], *, unsafe: bool = False) -> str:
    """The lines, rows and columns from 1, columns in characters. `[*]`: `gradfix apply` (with `unsafe`) fixes it."""
    return "".join(_line(result, unsafe) for result in results)


def fixable(fix: Fix | None, unsafe: bool) -> bool:
    """Whether `gradfix apply` makes this fix without being asked further."""
    if fix is None or fix.applicability is Applicability.DISPLAYONLY:
        return False
    return unsafe or fix.applicability is Applicability.SAFE


def _line(result: Result, unsafe: bool) -> str:
    finding = result.finding
    at = result.source.position(finding.span.start)
    star = "[*] " if fixable(result.fix, unsafe) else ""
    verdict = f" ({result.judgement.verdict.value})" if result.judgement else ""
    place = f"{result.source.path}:{at.line}:{at.column + 1}"
    return visible(f"{place}: {finding.code} {star}{finding.message}{verdict}") + "\n"
