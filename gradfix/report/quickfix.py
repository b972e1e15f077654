"""What an editor can do at one place, as JSON.

Every edit is given three ways, so that any editor can use it without counting: `utf16` and `utf8` are ranges as in the
Language Server Protocol (line and character from 0, characters in units of that encoding), `bytes` are offsets into the
text encoded in UTF-8, without a byte order mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gradfix.edits import Edit
from gradfix.findings import Applicability, Fix
from gradfix.report.structured import Json, dumps, location, refusal, related
from gradfix.results import Result
from gradfix.source import Source, Span


def quickfix_json(source: Source, results: Iterable[Result]) -> str:
    """One object: the file and its findings, each with its fixes, best first."""
    return dumps({"filename": source.path, "findings": [_finding(source, result) for result in results]})


def _finding(source: Source, result: Result) -> Json:
    finding = result.finding
    fixes = [fix for fix in (result.fix, *result.alternatives) if fix is not None]
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "message": finding.message,
        "location": location(source, finding.span.start),
        "end_location": location(source, finding.span.end),
        "range": _ranges(source, finding.span),
        "related": related(source, finding),
        "fixes": [_fix(source, finding.code, fix, first=index == 0) for index, fix in enumerate(fixes)],
        "refusal": refusal(result),
    }


def _fix(source: Source, code: str, fix: Fix, *, first: bool) -> Json:
    suggestion = " (suggestion)" if fix.applicability is Applicability.DISPLAYONLY else ""
    return {
        "title": f"gradfix ({code}): {fix.title}{suggestion}",
        "kind": "quickfix",
        "is_preferred": first and fix.applicability is Applicability.SAFE,
        "applicability": fix.applicability.value,
        "edits": [_edit(source, edit) for edit in fix.edits],
    }


def _edit(source: Source, edit: Edit) -> Json:
    return {"new_text": edit.text, "range": _ranges(source, edit.span)}


def _ranges(source: Source, span: Span) -> Json:
    return {
        "utf16": _range(source, span, source.utf16_column),
        "utf8": _range(source, span, source.utf8_column),
        "bytes": [len(source.text[:offset].encode()) for offset in (span.start, span.end)],
    }


def _range(source: Source, span: Span, column: Callable[[int], int]) -> Json:
    return {end: _at(source, offset, column) for end, offset in (("start", span.start), ("end", span.end))}


def _at(source: Source, offset: int, column: Callable[[int], int]) -> Json:
    return {"line": source.position(offset).line - 1, "character": column(offset)}
