"""Results as JSON: ruff's keys, with the related place, the alternatives and the verification beside them.

Rows and columns count from 1, columns in characters, ends are exclusive. `applicability` is `safe`, `unsafe` or
`displayonly`. docs/json.md lists the keys: one may be added in any release, none is renamed in a minor one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from gradfix.edits import Edit
from gradfix.errors import FileProblem
from gradfix.findings import Cost, Finding, Fix, Judgement
from gradfix.results import Result
from gradfix.source import Source

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def structured(results: Iterable[Result], problems: Iterable[FileProblem] = ()) -> str:
    """A JSON list with one object a result; files that couldn't be done have `code` null, as ruff's syntax errors."""
    rows: list[Json] = [_result(result) for result in results]
    rows += [_problem(problem) for problem in problems]
    return dumps(rows)


def dumps(value: Json) -> str:
    """Indented JSON with a final newline."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def location(source: Source, offset: int) -> Json:
    """`{"row": …, "column": …}` of an offset, both from 1."""
    at = source.position(offset)
    return {"row": at.line, "column": at.column + 1}


def refusal(result: Result) -> Json:
    """Why there is no fix or why it wasn't applied: `reason` and `advice`."""
    if result.refusal is None:
        return None
    refusal = result.refusal
    return {"kind": refusal.kind.value, "reason": refusal.reason, "advice": refusal.next_act}


def related(source: Source, finding: Finding) -> list[Json]:
    """The other places of a finding: where the value was saved, and where it is overwritten."""
    if finding.hazard is None:
        return []
    places = [("overwritten-at", finding.hazard.write)]
    if finding.hazard.save is not None:
        places.insert(0, ("saved-at", finding.hazard.save))
    return [
        {
            "kind": kind,
            "message": place.label,
            "location": location(source, place.span.start),
            "end_location": location(source, place.span.end),
        }
        for kind, place in places
    ]


def _result(result: Result) -> Json:
    source, finding = result.source, result.finding
    return {
        "cell": None,
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "message": finding.message,
        "filename": _absolute(source.path),
        "location": location(source, finding.span.start),
        "end_location": location(source, finding.span.end),
        "noqa_row": source.position(finding.span.start).line,
        "url": None,
        "hazard": finding.hazard.kind.value if finding.hazard else None,
        "identity": str(finding.identity),
        "related": related(source, finding),
        "status": result.status.value,
        "pass": result.passes,
        "fix": _fix(source, result.fix) if result.fix else None,
        "alternatives": [_fix(source, fix) for fix in result.alternatives],
        "refusal": refusal(result),
        "verification": _judgement(result.judgement) if result.judgement else None,
    }


def _problem(problem: FileProblem) -> Json:
    row: Json = {"row": problem.line or 1, "column": 1}
    return {
        "cell": None,
        "code": None,
        "name": "file-problem",
        "severity": "error",
        "message": problem.reason,
        "filename": _absolute(problem.path),
        "location": row,
        "end_location": row,
        "noqa_row": None,
        "url": None,
        "fix": None,
    }


def _fix(source: Source, fix: Fix) -> Json:
    return {
        "applicability": fix.applicability.value,
        "message": fix.title,
        "edits": [_edit(source, edit) for edit in fix.edits],
    }


def _edit(source: Source, edit: Edit) -> Json:
    return {
        "content": edit.text,
        "location": location(source, edit.span.start),
        "end_location": location(source, edit.span.end),
    }


def _judgement(judgement: Judgement) -> Json:
    return {
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "ran": judgement.ran,
        "error_before": judgement.error_before,
        "oracle": judgement.oracle,
        "runs": judgement.runs,
        "max_abs_grad_diff": judgement.max_difference,
        "notes": list(judgement.notes),
        "remaining": list(judgement.remaining),
        "cost": None if judgement.cost is None else _cost(judgement.cost),
    }


def _cost(cost: Cost) -> Json:
    (seconds_before, seconds_after), (bytes_before, bytes_after) = cost.seconds, cost.memory
    return {
        "seconds": {"before": seconds_before, "after": seconds_after},
        "peak_bytes": {"before": bytes_before, "after": bytes_after},
    }


def _absolute(path: str) -> str:
    return str(Path(path).absolute())
