"""Colour, or none: the only place that knows escape sequences."""

from __future__ import annotations

from dataclasses import dataclass

from gradfix.findings import Severity, Verdict

_SEVERITY = {Severity.ERROR: "1;31", Severity.WARNING: "1;33", Severity.INFO: "1;36"}
_VERDICT = {Verdict.FIXED: "32", Verdict.EQUIVALENT: "32", Verdict.REJECTED: "31"}


@dataclass(frozen=True, slots=True)
class Paint:
    """Wraps text in ANSI colours when `on`; gives it back unchanged otherwise."""

    on: bool = False

    def severity(self, text: str, severity: Severity) -> str:
        """Red, yellow or cyan, bold."""
        return self._sgr(text, _SEVERITY[severity])

    def verdict(self, text: str, verdict: Verdict) -> str:
        """Green where the fix is proven, red where it is rejected, yellow where nothing is known."""
        return self._sgr(text, _VERDICT.get(verdict, "33"))

    def bold(self, text: str) -> str:
        """Bold."""
        return self._sgr(text, "1")

    def frame(self, text: str) -> str:
        """The gutter and the arrows: blue, bold."""
        return self._sgr(text, "1;34")

    def added(self, text: str) -> str:
        """A line of the new text: green."""
        return self._sgr(text, "32")

    def removed(self, text: str) -> str:
        """A line of the old text: red."""
        return self._sgr(text, "31")

    def diff(self, patch: str) -> str:
        """A unified diff, line by line."""
        return "".join(self._diff_line(line) for line in patch.splitlines(keepends=True)) if self.on else patch

    def _diff_line(self, line: str) -> str:
        body = line.rstrip("\r\n")
        end = line[len(body) :]
        if body.startswith(("---", "+++")):
            return self.bold(body) + end
        if body.startswith("@@"):
            return self._sgr(body, "36") + end
        if body.startswith("+"):
            return self.added(body) + end
        return self.removed(body) + end if body.startswith("-") else line

    def _sgr(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text else text
