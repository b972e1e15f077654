"""Leaves the evidence of a rejected fix behind: both texts, what was concluded, what each run said and printed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gradfix.backward.protocol import Run
from gradfix.backward.verdict.evidence import Subject
from gradfix.backward.worker.requests import Request
from gradfix.findings import Judgement

Made = tuple[Request, Run]


def keep(folder: Path, subject: Subject, judgement: Judgement, made: Sequence[Made]) -> Path:
    """Write the evidence into a new folder in `folder`. Returns the new one. Raises `OSError`."""
    path = Path(subject.path)
    place = Path(tempfile.mkdtemp(dir=folder, prefix=f"{path.stem}-"))
    _write(place / f"before{path.suffix}", subject.before)
    _write(place / f"after{path.suffix}", subject.after)
    _write(place / "verdict.txt", _verdict(subject, judgement))
    for number, (request, run) in enumerate(made, 1):
        name = f"run-{number:02}-{'before' if request.text == subject.before else 'after'}"
        _write(place / f"{name}.txt", _told(request, run))
        for kind, text in (("stdout", run.output), ("stderr", run.errors)):
            if text:
                _write(place / f"{name}.{kind}", text)
    return place


def _verdict(subject: Subject, judgement: Judgement) -> str:
    lines = [subject.path, f"{judgement.verdict.value}: {judgement.reason}", f"ran: {judgement.ran}"]
    lines += [f"the original raised: {judgement.error_before}"] * (judgement.error_before is not None)
    return "\n".join([*lines, *judgement.notes]) + "\n"


def _told(request: Request, run: Run) -> str:
    """What was asked for, how it ended, and every backward pass."""
    asked = {key: value for key, value in asdict(request).items() if key not in ("text", "path")}
    lines = [json.dumps(asked), f"{run.seconds:.3f} s, exit code {run.status}"]
    lines += [f"stopped: {run.killed}"] * (run.killed is not None)
    for event in run.events:
        lines.append(f"line {event.line}: autograd.{event.kind}" + (f" raised {event.error}" if event.error else ""))
        lines += [f"  loss {root} {_values(root.values)}" for root in event.roots]
        lines += [
            f"  gradient of {', '.join(leaf.names) or leaf.key}: "
            + ("None" if leaf.gradient is None else f"{leaf.gradient} {_values(leaf.gradient.values)}")
            for leaf in event.leaves
        ]
    if run.ended is not None and run.ended.error is not None:
        lines.append(f"ended with {run.ended.error}")
    return "\n".join(lines) + "\n"


def _values(values: Sequence[float] | None) -> str:
    return "" if values is None else str(list(values[:20])) + ("..." if len(values) > 20 else "")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
