"""Codemods made of regular expressions: what the engine and the shell do must not depend on real ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from gradfix.analysis.facts import ModuleFacts
from gradfix.codemod import Codemod
from gradfix.edits import Edit
from gradfix.findings import (
    Applicability,
    Finding,
    Hazard,
    HazardKind,
    Identity,
    Place,
    Refusal,
    RefusalKind,
    Rewrite,
    Severity,
)
from gradfix.source import Source, Span

Build = Callable[[Source, "re.Match[str]"], "tuple[Edit, ...] | Refusal"]


def replacing(
    pattern: str,
    replacement: str,
    *,
    code: str = "GF901",
    name: str = "fake",
    severity: Severity = Severity.WARNING,
    applicability: Applicability = Applicability.SAFE,
    also: tuple[str, ...] = (),
    at_top: str = "",
    storage: str | None = None,
) -> Codemod:
    """Finds `pattern` and puts `replacement` (with groups) there; `also` are alternatives, `at_top` goes to the top.

    Each place is a storage of its own, unless all write to `storage`.
    """

    def build(text: str) -> Build:
        def edits(source: Source, match: re.Match[str]) -> tuple[Edit, ...]:
            top = (Edit(Span(0, 0), at_top),) if at_top and not source.text.startswith(at_top) else ()
            return (*top, Edit(Span(*match.span()), match.expand(text)))

        return edits

    builds = [build(text) for text in (replacement, *also)]
    return fake(pattern, builds, code=code, name=name, severity=severity, applicability=applicability, storage=storage)


def refusing(pattern: str, reason: str, *, code: str = "GF902", name: str = "refusing") -> Codemod:
    """Finds `pattern`; building its fix refuses with `reason`."""
    return fake(
        pattern, [lambda source, match: Refusal(RefusalKind.NO_FORM, reason, "do it by hand")], code=code, name=name
    )


def fake(
    pattern: str,
    builds: list[Build],
    *,
    code: str = "GF901",
    name: str = "fake",
    severity: Severity = Severity.WARNING,
    applicability: Applicability = Applicability.SAFE,
    storage: str | None = None,
) -> Codemod:
    """Finds `pattern` everywhere; the ordinal counts equal texts."""

    def find(source: Source, facts: ModuleFacts) -> Iterator[Finding]:
        counts: dict[str, int] = {}
        for match in re.finditer(pattern, source.text, re.MULTILINE):
            text, span = match.group(), Span(*match.span())
            ordinal = counts[text] = counts.get(text, -1) + 1
            yield Finding(
                code=code,
                name=name,
                severity=severity,
                message=f"found `{text}`",
                span=span,
                identity=Identity(code, "<module>", text, ordinal),
                hazard=_hazard(source, span, storage or f"{text}{ordinal}"),
                rewrites=tuple(
                    _rewrite(f"Replace `{text}` ({i})", applicability, b, match) for i, b in enumerate(builds)
                ),
            )

    page = f"{name.capitalize()} page.\n\n## What it does\nNothing real.\n"
    return Codemod(code, name, "0.1", applicability, "symptom", (b"x",), find, page)


def _rewrite(title: str, applicability: Applicability, build: Build, match: re.Match[str]) -> Rewrite:
    return Rewrite(title, applicability, lambda source: build(source, match))


def _hazard(source: Source, span: Span, storage: str) -> Hazard:
    """The value was saved on the first line."""
    saved = Place(source.line_span(1), "saved here")
    return Hazard(HazardKind.SAVED_THEN_WRITTEN, Place(span, "overwritten here"), saved, storage)
