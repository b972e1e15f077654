"""Reads `fixtures/labelled/`: what each file says about itself. The format is told in `fixtures/README.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "fixtures" / "labelled"

FAILING = ("error", "warning")
FINE = ("harmless", "silent")

_LABEL = re.compile(r"# label: (?P<expect>error|warning) (?P<code>GF\d{3}) (?P<hazard>[a-z-]+) @ (?P<statement>.+)")
_HARMLESS = re.compile(r"# label: (?P<expect>harmless) (?P<code>GF\d{3}) @ (?P<statement>.+)")
_SILENT = re.compile(r"# label: (?P<expect>silent)")
_GRADIENT = re.compile(r"# gradient: not checked, (?P<reason>.+)")
_MARK = re.compile(r"^(?P<code>.*?)\s*# <- (?P<marks>(?:write|saved|backward|cut)(?:, (?:write|saved|backward|cut))*)$")


class LabelError(ValueError):
    """A labelled file whose comments contradict each other."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a file expects at one statement; `silent` expects nothing anywhere and has neither code nor line."""

    expect: str  # error, warning, harmless or silent
    code: str | None = None
    hazard: str | None = None  # value of a `HazardKind`; None for harmless and silent
    statement: str | None = None
    line: int | None = None  # 1-based, in the whole file


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One file of the corpus."""

    path: Path
    labels: tuple[Label, ...]
    saved_lines: frozenset[int]
    cut_lines: frozenset[int]
    gradient_unchecked: str | None  # why gradients aren't compared with differences

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def expect(self) -> str:
        """The strongest expectation of the file."""
        order = (*FAILING, *FINE)
        return min((label.expect for label in self.labels), key=order.index)

    @property
    def is_program(self) -> bool:
        """Whether the file is run as a whole, for want of a `case()`."""
        return "\ndef case(" not in self.path.read_text()

    @property
    def text(self) -> str:
        """What its author wrote: the file without the `case()` at its end. Line numbers stay."""
        text, case, _ = self.path.read_text().partition("\ndef case(")
        return text + "\n" if case else text


def load() -> list[LabelledFile]:
    """Every labelled file, by name.

    Raises:
        LabelError: a file has no label, or a label's statement isn't marked.
    """
    return [read(path) for path in sorted(FOLDER.glob("*.py"))]


def read(path: Path) -> LabelledFile:
    """One labelled file; raises `LabelError` as `load` does."""
    lines = path.read_text().splitlines()
    header = [line for line in _header(lines) if not _GRADIENT.fullmatch(line)]
    marks = _marks(lines)
    unclaimed = [(line, code) for mark, line, code in marks if mark in ("write", "backward", "cut")]
    labels = []
    for comment in header:
        label = _label(path, comment, unclaimed)
        labels.append(label)
    if not labels or ("silent" in {label.expect for label in labels} and len(labels) > 1):
        raise LabelError(f"{path.name}: needs labels, and `silent` stands alone")
    if unclaimed:
        raise LabelError(f"{path.name}: marked but not labelled: {unclaimed}")
    reasons = [match["reason"] for line in _header(lines) if (match := _GRADIENT.fullmatch(line))]
    saved = frozenset(line for mark, line, _ in marks if mark == "saved")
    cuts = frozenset(line for mark, line, _ in marks if mark == "cut")
    return LabelledFile(path, tuple(labels), saved, cuts, reasons[0] if reasons else None)


def _header(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith(("# label: ", "# gradient: ")):
            return
        yield line


def _marks(lines: list[str]) -> list[tuple[str, int, str]]:
    matches = [(number, _MARK.match(line)) for number, line in enumerate(lines, 1)]
    found = [(number, match["code"].strip(), match["marks"].split(", ")) for number, match in matches if match]
    return [(mark, number, code) for number, code, marks in found for mark in marks]


def _label(path: Path, comment: str, unclaimed: list[tuple[int, str]]) -> Label:
    match = _LABEL.fullmatch(comment) or _HARMLESS.fullmatch(comment) or _SILENT.fullmatch(comment)
    if match is None:
        raise LabelError(f"{path.name}: not a label: {comment}")
    fields = match.groupdict()
    if fields["expect"] == "silent":
        return Label("silent")
    for place in unclaimed:
        if place[1] == fields["statement"]:
            unclaimed.remove(place)
            return Label(line=place[0], **{"hazard": None, **fields})
    raise LabelError(f"{path.name}: no marked line reads `{fields['statement']}`")
