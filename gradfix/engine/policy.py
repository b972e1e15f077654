"""What is reported and what is applied, as the user asked for it."""

from __future__ import annotations

from dataclasses import dataclass

from gradfix import torch_tables
from gradfix.findings import Applicability, Finding, Rewrite, Severity

CLONE = "clone"  # the form of a rewrite that clones the tensor before the write
_GRADES = tuple(Applicability)  # safest first


@dataclass(frozen=True, slots=True)
class Policy:
    """What is reported and what is applied."""

    severity: Severity = Severity.WARNING  # the lowest reported and fixed
    applicability: Applicability = Applicability.SAFE  # the least safe applied
    form: str = "functional"  # or "clone": which of several fixes comes first
    torch: str = torch_tables.NEWEST  # the release, of `torch_tables.MINORS`, that the code runs on

    def wants(self, finding: Finding) -> bool:
        """Whether it is reported and fixed."""
        return finding.severity.rank >= self.severity.rank

    def allows(self, applicability: Applicability) -> bool:
        """Whether a fix of this grade is applied."""
        return _GRADES.index(applicability) <= _GRADES.index(self.applicability)

    def preference(self, rewrite: Rewrite) -> tuple[int, bool]:
        """Sorts rewrites that come best first: what the policy applies goes before what it doesn't."""
        grade = _GRADES.index(rewrite.applicability)
        if self.form == CLONE:
            return grade, rewrite.form != CLONE
        return max(0, grade - _GRADES.index(self.applicability)), False
