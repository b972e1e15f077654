"""Why nothing is said of what was found, one line each."""

from __future__ import annotations

from gradfix.engine.suppress import Unreported
from gradfix.report.visible import visible


def unreported(one: Unreported) -> str:
    """`path:row:col: CODE left out (WHY): MESSAGE`; rows and columns from 1, columns in characters."""
    source, finding = one.source, one.finding
    at = source.position(finding.span.start)
    why = finding.severity.value
    if one.comment is not None:
        why = f"`{one.comment.span.text(source.text)}`, line {source.position(one.comment.span.start).line}"
    return visible(f"{source.path}:{at.line}:{at.column + 1}: {finding.code} left out ({why}): {finding.message}")
