"""Every mistake in every subject, judged by the backward check: `python -m mutants.measure` with `tests` on the path.

    PYTHONPATH=.:tests python -m mutants.measure [--random 0:100] [--mutant NAME] [--shard 0/2]

A row for each mutant: how often it was planted, how many of those changed what the program does, and their verdicts.
Exit code 1 when one that changes behaviour is called fixed or equivalent, or when a mutant is never rejected.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from gradfix.backward.cases import DeclaredCall
from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.findings import Judgement, Verdict

from .behaviour import behaviour, differs, is_of_neither, only_rounds
from .catalogue import MUTANTS, Mutant
from .subjects import Subject, examples, fixtures, planted, random_programs, written

PROVEN = (Verdict.FIXED, Verdict.EQUIVALENT)


@dataclass(frozen=True, slots=True)
class Planted:
    """One mistake in one subject, with what it changes and what the check says."""

    mutant: str
    subject: str
    text: str
    change: str | None  # how it behaves otherwise than the fix
    is_of_neither: bool  # some run is like neither that of the fix nor that of the original
    judgement: Judgement

    @property
    def escaped(self) -> bool:
        """A mistake that changes behaviour is called proven; the original again may be called equivalent."""
        if self.judgement.verdict is Verdict.EQUIVALENT:
            return self.is_of_neither
        return self.change is not None and self.judgement.verdict in PROVEN


def judged(checker: Checker, subject: Subject, text: str) -> Judgement:
    """The check's verdict on `text` as the fix of the subject."""
    before, after = subject.lines(text)
    path = Path(tempfile.gettempdir()) / "gradfix-mutants" / f"{Path(subject.name.split(':')[0]).name}.py"
    return checker.judge(
        path,
        subject.before,
        text,
        subject.case,
        before,
        after,
        kinds=subject.kinds,
        writes=subject.writes,
        cuts=subject.cuts,
    )


def measured(
    checker: Checker, subject: Subject, mutants: Iterable[Mutant] = MUTANTS, *, most: int = 2, all_of_them: bool = False
) -> Iterator[Planted]:
    """Each mistake planted into the subject; only those that change something are judged, unless all are asked for."""
    call = isinstance(subject.case, DeclaredCall)
    right, before = behaviour(subject.after, call=call), behaviour(subject.before, call=call)
    for mutant in mutants:
        for text in planted(subject, mutant, most):
            shown = behaviour(text, call=call)
            change, neither = differs(right, shown), is_of_neither(right, before, shown)
            if change is None and not all_of_them:
                continue
            judgement = judged(checker, subject, text)
            if change is not None and judgement.verdict in PROVEN and only_rounds(subject.after, text, call=call):
                change, neither = None, False
                if not all_of_them:
                    continue
            yield Planted(mutant.name, subject.name, text, change, neither, judgement)


def _subjects(options: argparse.Namespace) -> Iterator[Subject]:
    start, _, end = options.random.partition(":")
    return chain(written(), examples(), fixtures(), random_programs(range(int(start), int(end))))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", default="0:60")
    parser.add_argument("--mutant", action="append")
    parser.add_argument("--subject", default="")
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--most", type=int, default=2)
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    mutants = [m for m in MUTANTS if options.mutant is None or m.name in options.mutant]
    shard, shards = map(int, options.shard.split("/"))
    rows: dict[str, Counter[str]] = {mutant.name: Counter() for mutant in mutants}
    escaped: list[Planted] = []
    with Checker(limits=Limits(total=1e9)) as checker:
        for number, subject in enumerate(_subjects(options)):
            if number % shards != shard or options.subject not in subject.name:
                continue
            good = judged(checker, subject, subject.after)
            print(f"{subject.name}: {good.verdict.value}: {good.reason}", flush=True)
            if good.verdict not in PROVEN:
                continue
            for one in measured(checker, subject, mutants, most=options.most):
                rows[one.mutant][one.judgement.verdict.value] += 1
                if one.escaped:
                    escaped.append(one)
                if one.escaped or options.v:
                    print(_told(subject, one), flush=True)
    for name, row in rows.items():
        print(
            f"{name:32} {sum(row.values()):5} "
            + ", ".join(f"{count} {verdict}" for verdict, count in row.most_common())
        )
    never = [name for name, row in rows.items() if row and not row["rejected"]]
    print(
        f"{len(escaped)} escaped; never rejected: {never}; never planted: {[n for n, row in rows.items() if not row]}"
    )
    return 1 if escaped or never else 0


def _told(subject: Subject, one: Planted) -> str:
    ours, theirs = subject.after.splitlines(), one.text.splitlines()
    lines = [f"  {'ESCAPED ' * one.escaped}{one.mutant}: {one.judgement.verdict.value}: {one.judgement.reason}"]
    lines += [f"    {note}" for note in (*one.judgement.notes, f"truth: {one.change}")]
    lines += [f"    - {line}" for line in ours if line not in theirs]
    lines += [f"    + {line}" for line in theirs if line not in ours]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
