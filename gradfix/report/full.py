"""The full text of a result: both places in the source, the reason, the fix, the verdict with its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gradfix.findings import Applicability, Cost, Finding, Judgement
from gradfix.patches import patch_of
from gradfix.report.paint import Paint
from gradfix.report.snippet import Label, gutter_width, numbered, snippet
from gradfix.report.visible import visible
from gradfix.results import Result, Status

_GRADE = {
    Applicability.SAFE: "safe fix",
    Applicability.UNSAFE: "unsafe fix",
    Applicability.DISPLAYONLY: "suggestion, likely to be incorrect",
}


def full(results: Iterable[Result], paint: Paint) -> str:
    """Every result, a blank line after each; the empty string for none."""
    return "".join("\n".join(_lines(result, paint)) + "\n\n" for result in results)


def evidence(judgement: Judgement) -> str:
    """The line that says what was compared, e.g. "same loss, gradients equal over 8 runs; oracle: …"."""
    parts = [judgement.reason]
    if judgement.oracle and judgement.oracle not in judgement.reason:
        parts.append(f"oracle: {judgement.oracle}")
    if judgement.ran and judgement.ran not in judgement.reason:
        parts.append(f"ran: {judgement.ran}")
    return "; ".join(parts)


def cost_text(cost: Cost) -> str:
    """Time and peak memory before and after: "0.81 -> 0.93 ms, peak memory 0.0 -> 0.4 MiB"."""
    before, after = (1000 * seconds for seconds in cost.seconds)
    least, most = (size / (1 << 20) for size in cost.memory)
    return f"{before:.3g} -> {after:.3g} ms, peak memory {least:.1f} -> {most:.1f} MiB"


def labels(finding: Finding) -> tuple[Label, ...]:
    """The places of a finding: where the value is saved, and where it is overwritten (the main one)."""
    if finding.hazard is None:
        return (Label(finding.span, "", primary=True),)
    write, save = finding.hazard.write, finding.hazard.save
    main = Label(write.span, write.label, primary=True)
    return (main,) if save is None else (Label(save.span, save.label), main)


def _lines(result: Result, paint: Paint) -> Iterator[str]:
    finding, source = result.finding, result.source
    marked = labels(finding)
    at = source.position(finding.span.start)
    changed = _changed(result)
    rows = [source.position(label.span.start).line for label in marked] + [number for _, number, _ in changed]
    gutter = gutter_width(rows)
    head = paint.severity(f"{finding.severity.value}[{finding.code}]", finding.severity)
    yield f"{head}{paint.bold(f': {visible(finding.message)}')}"
    note = " (in the text that the fixes before it made)" if result.passes > 1 else ""
    yield f"{' ' * gutter}{paint.frame('-->')} {visible(source.path)}:{at.line}:{at.column + 1}{note}"
    yield from snippet(source, marked, gutter, paint)
    yield paint.frame(" " * gutter + " |")
    edge = paint.frame(" " * gutter + " =")
    if result.fix is not None:
        yield f"{edge} {paint.bold(_GRADE[result.fix.applicability])}: {visible(result.fix.title)}"
        yield from (numbered(number, sign, text.rstrip("\r\n"), gutter, paint) for sign, number, text in changed)
    if result.status is Status.CURED:
        yield f"{edge} {paint.bold('cured')}: harmless now, by the other fixes of this file"
    if result.refusal is not None:
        yield f"{edge} {paint.bold(_refusal_head(result))}: {visible(refusal_text(result))}"
    for other in result.alternatives:
        yield f"{edge} {paint.bold('or')} ({_GRADE[other.applicability]}): {visible(other.title)}"
    if result.judgement is not None:
        verdict = result.judgement.verdict
        yield f"{edge} {paint.verdict(verdict.value, verdict)}: {visible(evidence(result.judgement))}"
        yield from (f"{edge} {visible(note)}" for note in result.judgement.notes)
        if result.judgement.cost is not None:
            yield f"{edge} cost: {cost_text(result.judgement.cost)}"


def refusal_text(result: Result) -> str:
    """Why there is no fix or why it wasn't applied, with the next best act."""
    if result.refusal is None:
        return ""
    return f"{result.refusal.reason}; {result.refusal.next_act}"


def _refusal_head(result: Result) -> str:
    return "no fix" if result.fix is None else "not applied"


def _changed(result: Result) -> list[tuple[str, int, str]]:
    """The lines the fix takes away (`-`, numbered in the old text) and puts there (`+`, in the new one)."""
    if result.fix is None:
        return []
    lines = (line for hunk in patch_of(result.source, result.fix.edits, context=0) for line in hunk)
    return [
        (line.line_type, line.source_line_no or line.target_line_no or 0, line.value)
        for line in lines
        if line.is_added or line.is_removed
    ]
