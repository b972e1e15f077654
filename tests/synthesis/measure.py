"""How many fixes are proven by synthesised calls alone: `python -m tests.synthesis.measure [--held-out] [NAME...]`.

Each failing function and module of `tests/fixtures/labelled/`, without the `case()` at its end, is fixed and judged by
nothing but calls that the search finds. A row for each that isn't proven, then the totals. The server, which imports
torch, starts once a run, before the first file; that is told on its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gradfix import registry
from gradfix.backward.cases import Program
from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.backward.synthesis import Calls
from gradfix.command_line import run
from gradfix.engine.engine import Policy
from gradfix.findings import Applicability, Severity, Verdict
from gradfix.proof.plan import Loaded, Plan, Rules
from gradfix.proof.proof import Proof
from gradfix.results import Result
from gradfix.source import Source
from tests.labelled_corpus import FAILING, load

HELD_OUT = Path(__file__).parent / "held_out"
PROVEN = (Verdict.FIXED, Verdict.EQUIVALENT)


@dataclass(frozen=True, slots=True)
class Row:
    """One file: the verdict on each of its fixes, and the seconds it took."""

    name: str
    applied: tuple[Result, ...]
    rejected: tuple[Result, ...]
    seconds: float

    @property
    def proven(self) -> bool:
        """Every fix is."""
        return bool(self.applied) and not self.rejected and all(_verdict(r) in PROVEN for r in self.applied)


def texts(*, held_out: bool) -> Iterator[tuple[str, str]]:
    """Names and texts of what is measured."""
    if held_out:
        yield from ((path.stem, path.read_text(encoding="utf-8")) for path in sorted(HELD_OUT.glob("*.py")))
        return
    for file in load():
        if file.expect in FAILING and not file.is_program:
            yield file.name, file.text


def judged(name: str, text: str, checker: Checker, applicability: Applicability) -> Row | None:
    """The verdicts on one text; None where nothing of it is fixed."""
    rules = Rules(registry.builtin(), Policy(Severity.WARNING, applicability))
    loaded = Loaded(f"/nowhere/{name}.py", Source.from_text(f"/nowhere/{name}.py", text))
    (planned,) = run.plan(rules, [loaded], lambda path: ())
    assert isinstance(planned, Plan), planned
    if not planned.fixed.applied:
        return None
    started = time.monotonic()
    result = run.prove(rules, planned, checker, proven=False)
    assert result.problem is None, result.problem
    fixed = [r for r in result.results if r.fix is not None and r.judgement is not None]
    rejected = tuple(r for r in fixed if _verdict(r) is Verdict.REJECTED)
    applied = tuple(r for r in fixed if _verdict(r) is not Verdict.REJECTED)
    return Row(name, applied, rejected, time.monotonic() - started)


def searched(name: str, text: str, checker: Checker, applicability: Applicability) -> tuple[Calls, float] | None:
    """What the search alone finds, for all fixes of a text."""
    rules = Rules(registry.builtin(), Policy(Severity.WARNING, applicability))
    loaded = Loaded(f"/nowhere/{name}.py", Source.from_text(f"/nowhere/{name}.py", text))
    (planned,) = run.plan(rules, [loaded], lambda path: ())
    if not isinstance(planned, Plan) or not planned.fixed.applied:
        return None
    proof = Proof(rules, planned, checker)
    started = time.monotonic()
    answers = [answer for name in planned.sought for told in proof.found(name).values() for answer in told]
    return Calls(tuple(call for call, _ in answers), "; ".join(dict.fromkeys(why for _, why in answers))), (
        time.monotonic() - started
    )


def _verdict(result: Result) -> Verdict:
    assert result.judgement is not None
    return result.judgement.verdict


def _told(result: Result) -> str:
    judgement = result.judgement
    assert judgement is not None
    return f"{result.finding.code} {judgement.verdict.value}: {judgement.reason} [{judgement.ran}]"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--safe", action="store_true", help="without unsafe fixes")
    parser.add_argument("--calls", action="store_true", help="only look for calls")
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    applicability = Applicability.SAFE if options.safe else Applicability.UNSAFE
    rows: list[Row] = []
    with Checker(limits=Limits(total=1e9)) as checker:
        started = time.monotonic()
        checker.judge(Path("nothing.py"), "", "", Program(), frozenset(), frozenset())
        start = time.monotonic() - started
        for name, text in texts(held_out=options.held_out):
            if options.names and name not in options.names:
                continue
            if options.calls:
                found = searched(name, text, checker, applicability)
                if found is not None:
                    missing = None in found[0].calls
                    print(f"{'MISSING ' * missing}{name}: {found[1]:.2f} s {found[0].calls}{found[0].reason * missing}")
                continue
            row = judged(name, text, checker, applicability)
            if row is None:
                continue
            rows.append(row)
            if options.v or not row.proven or row.seconds > 3:
                print(f"{name}: {row.seconds:.1f} s", flush=True)
                for result in (*row.applied, *row.rejected):
                    print(f"    {_told(result)}", flush=True)
    if not rows:
        return 0
    verdicts = Counter(_verdict(r).value for row in rows for r in (*row.applied, *row.rejected))
    proven = sum(row.proven for row in rows)
    seconds = [row.seconds for row in rows]
    print(f"{proven} of {len(rows)} files proven ({proven / max(1, len(rows)):.0%}); fixes: {dict(verdicts)}")
    print(f"seconds a file: median {statistics.median(seconds):.2f}, largest {max(seconds):.2f}; start {start:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
