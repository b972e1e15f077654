"""The table by hazard, from the root: `python -m tests.truth.measure --seeds 0:1000 [--grown] [--rewrites]`.

Each batch runs in a forked child, so that a crash of the interpreter costs one batch, and is counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TypeVar

import torch

from . import grammar, grown, judge, rewrites
from .grammar import Program
from .judge import Class, Judged

BATCH = 50
Generate = Callable[[int], Program]
Row = TypeVar("Row")


@dataclass(slots=True)
class Verdict:
    """What one seed says, small enough to be sent between processes."""

    seed: int
    row: str  # the hazard, or the class of a program without one
    kind: Class
    always: bool = False
    severity: str | None = None  # claimed where it was overwritten first
    writers: int = 0
    missed: tuple[int, ...] = ()
    false_errors: tuple[int, ...] = ()
    warned: tuple[int, ...] = ()
    claimed: bool = False
    crash: str | None = None


@dataclass(slots=True)
class Fixed:
    """What became of the rewrites of one seed under one policy."""

    seed: int
    row: str
    policy: str
    outcome: str
    edits: int
    problems: list[str] = field(default_factory=list)


def verdict(seed: int, generate: Generate = grammar.generate) -> Verdict:
    judged = judge.judge(generate(seed))
    row = judged.hazard if judged.kind in (Class.FAILS, Class.OTHER_HAZARD) else judged.kind.value
    severity = judged.flagged.value if judged.flagged else None
    return Verdict(
        seed,
        row or "",
        judged.kind,
        judged.always,
        severity,
        len(judged.writers),
        judged.missed,
        judged.false_errors,
        judged.warned,
        _claimed(judged),
        judged.crash,
    )


def fixed(seed: int, generate: Generate = grammar.generate) -> list[Fixed]:
    program = generate(seed)
    found = []
    for policy in rewrites.policies(program):
        made = rewrites.check(program, policy)
        name = f"{policy.severity.value}, {policy.form}"
        found.append(Fixed(seed, made.before, name, made.outcome, len(made.applied), made.problems))
    return found


def in_batches(work: Callable[[int], Row], seeds: Iterable[int], processes: int = 1) -> Iterator[Row]:
    """`work` of every seed; of a batch whose process dies, the seeds are told on stderr."""
    seeds = list(seeds)
    batches = [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]
    context = multiprocessing.get_context("fork")
    for start in range(0, len(batches), processes):
        running = []
        for batch in batches[start : start + processes]:
            receiver, sender = context.Pipe(duplex=False)
            child = context.Process(target=_batch, args=(work, batch, sender))
            child.start()
            sender.close()
            running.append((batch, receiver, child))
        for batch, receiver, child in running:
            try:
                yield from receiver.recv()
            except EOFError:
                print(f"the process of seeds {batch[0]}:{batch[-1] + 1} died", file=sys.stderr)
            child.join()


def _batch(work: Callable[[int], Row], seeds: list[int], sender: object) -> None:
    torch.set_num_threads(1)
    sender.send([work(seed) for seed in seeds])  # type: ignore[attr-defined]
    sys.stdout.flush()
    os._exit(0)


def _claimed(judged: Judged) -> bool:
    return any(judged.hazard in claim.kinds for claim in judged.claims)


def table(verdicts: Iterable[Verdict]) -> str:
    """Of failing programs: flagged at the write, as error; of the others: what they carry."""
    every = list(verdicts)
    lines = [
        f"{'class':24}{'programs':>9}{'flagged':>9}{'error':>9}{'writes':>8}{'missed':>8}{'warned':>8}{'false':>7}"
    ]
    for row in sorted({v.row for v in every}, key=lambda name: -sum(v.row == name for v in every)):
        lines.append(_row(row, [v for v in every if v.row == row]))
    failing = [v for v in every if v.kind is Class.FAILS]
    lines.append(_row("all that fail", failing))
    always = [v for v in failing if v.always]
    lines.append(_row("  in every run", always))
    return "\n".join(lines)


def _row(name: str, group: list[Verdict]) -> str:
    failing = bool(group) and group[0].kind is Class.FAILS
    flagged = sum(v.severity is not None for v in group) if failing else sum(v.claimed for v in group)
    errors = _share(sum(v.severity == "error" for v in group), flagged) if failing else ""
    share = _share(flagged, len(group)) if failing or (group and group[0].kind is Class.OTHER_HAZARD) else ""
    warned = _share(sum(bool(v.warned) for v in group), len(group))
    missed = sum(len(v.missed) for v in group)
    wrong = sum(bool(v.false_errors) or v.crash is not None for v in group)
    writes = sum(v.writers for v in group)
    return f"{name:24}{len(group):>9}{share:>9}{errors:>9}{writes:>8}{missed:>8}{warned:>8}{wrong:>7}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _seeds(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=range(400), metavar="A:B")
    parser.add_argument("--grown", action="store_true", help="programs of the second grammar, grown by running them")
    parser.add_argument("--rewrites", action="store_true", help="apply the fixes and compare the runs instead")
    parser.add_argument("--show", action="store_true", help="print the programs that disagree")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    start = time.perf_counter()
    generate = grown.generate if options.grown else grammar.generate
    if options.rewrites:
        every = in_batches(partial(fixed, generate=generate), options.seeds, options.processes)
        _report_rewrites(list(chain.from_iterable(every)), generate if options.show else None)
    else:
        judged = in_batches(partial(verdict, generate=generate), options.seeds, options.processes)
        _report_claims(list(judged), generate, options.show)
    print(f"{len(options.seeds)} programs in {time.perf_counter() - start:.1f} s")


def _report_claims(verdicts: list[Verdict], generate: Generate, show: bool) -> None:
    for v in verdicts:
        if v.false_errors or v.crash or (show and (v.missed or v.warned)):
            what = f"missed {v.missed}, warned {v.warned}, wrong errors {v.false_errors}, {v.crash or 'no crash'}"
            print(f"# seed {v.seed} ({v.row}): {what}")
            print(generate(v.seed).text)
    print(table(verdicts))


def _report_rewrites(found: list[Fixed], show: Generate | None) -> None:
    for one in found:
        if one.problems:
            print(f"# seed {one.seed} ({one.row}; {one.policy}):", *one.problems[:3], sep="\n#   ")
            if show is not None:
                print(show(one.seed).text)
    counts = Counter((one.row, one.policy, one.outcome) for one in found)
    for (row, policy, outcome), count in sorted(counts.items()):
        print(f"{row:24}{policy:22}{outcome:14}{count:>6}")
    print(
        f"{sum(one.edits for one in found)} rewrites, {sum(bool(one.problems) for one in found)} programs that differ"
    )


if __name__ == "__main__":
    main()
