"""Compares the analysis with what the labelled files say of themselves."""

from __future__ import annotations

from labelled_corpus import LabelledFile

from gradfix.analysis.analyse import analyse
from gradfix.analysis.facts import ModuleFacts
from gradfix.source import Source

LOUD = ("error", "warning")


def reported(facts: ModuleFacts) -> set[tuple[str, int]]:
    """(severity, line) of everything the codemods would report; a fill stands for the writes of its branch."""
    found = {(write.severity.value, write.node.lineno) for write in facts.writes if hasattr(write.node, "lineno")}
    for fill in facts.fills:
        found.add((fill.severity.value, fill.branch.lineno))
        found |= {(fill.severity.value, write.node.lineno) for write in fill.writes if hasattr(write.node, "lineno")}
    found |= {(c.severity.value, c.node.lineno) for c in facts.backward_calls if c.severity is not None}
    found |= {(step.severity.value, step.node.lineno) for step in facts.early_steps}
    found |= {(c.severity.value, c.node.lineno) for c in facts.cuts if hasattr(c.node, "lineno")}
    return found


def disagreements(file: LabelledFile) -> list[str]:
    """What the analysis says otherwise than the label, a line each; empty when they agree."""
    got = reported(analyse(Source.from_text(f"{file.name}.py", file.text)))
    loud = {entry for entry in got if entry[0] in LOUD}
    if file.expect not in LOUD:
        return [f"false alarm: {severity} at line {line}" for severity, line in sorted(loud)]
    wanted = {(label.expect, label.line) for label in file.labels if label.expect in LOUD}
    labelled = {label.line for label in file.labels if label.line is not None}
    missing = [f"missed: {severity} at line {line}" for severity, line in wanted if (severity, line) not in got]
    return missing + [
        f"false error at line {line}" for severity, line in loud if severity == "error" and line not in labelled
    ]
