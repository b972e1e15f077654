"""How many functions of libraries a synthesised call reaches: `python -m tests.synthesis.libraries FOLDER...`.

    python -m tests.synthesis.libraries --python VENV/bin/python VENV/lib/python3.11/site-packages/kornia

Each function with a finding at severity info or above that has a fix, evenly spread over the files, is sought a call
that reaches a line of the findings; nothing is judged. A row for each library: the share, and what
the others failed with.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from gradfix import registry
from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.engine import engine, prefilter
from gradfix.errors import FileProblem
from gradfix.findings import Finding
from gradfix.proof.touched import lines_of
from gradfix.source import Source

CODEMODS = registry.builtin()


def functions(folder: Path) -> Iterator[tuple[Path, Source, str, list[Finding]]]:
    """Every function below the folder with findings that have a rewrite, and those findings."""
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if not prefilter.worth_parsing(text, CODEMODS):
            continue
        source = Source.from_text(str(path), text)
        found: dict[str, list[Finding]] = defaultdict(list)
        try:
            for one in engine.check_source(source, CODEMODS):
                if one.rewrites and one.identity.qualname != "<module>":
                    found[one.identity.qualname].append(one)
        except FileProblem:
            continue
        for name, findings in found.items():
            yield path, source, name, findings


def kind_of(reason: str) -> str:
    """A reason without names and numbers, to be counted."""
    told = reason.rpartition("last error ")[2] or reason
    return re.sub(r"\d+|'[^']*'|`[^`]*`", "_", told)[:70]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--python")
    parser.add_argument("--most", type=int, default=60)
    parser.add_argument("--start", type=int, default=0, help="which function is the first of the even choice")
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    for folder in options.folders:
        every = list(functions(folder))
        chosen = every[options.start :: max(1, -(-len(every) // options.most))]
        reached, seconds, reasons = 0, [], Counter[str]()
        with Checker(python=options.python, cwd=folder.parent, limits=Limits(total=1e9, search=60.0)) as checker:
            for path, source, name, findings in chosen:
                targets = [lines_of(source, (), [one.span]) for one in findings]
                kinds = frozenset(one.hazard.kind for one in findings if one.hazard is not None)
                started = time.monotonic()
                found = checker.find_calls(path, source.text, name, [min(t) for t in targets], targets, kinds)
                seconds.append(time.monotonic() - started)
                reached += bool(found.reached)
                if not found.reached:
                    reasons[kind_of(found.reason)] += 1
                if options.v:
                    call = next(filter(None, found.calls), None)
                    print(
                        f"  {path.relative_to(folder)} {name}: {call or found.reason} ({seconds[-1]:.1f} s)", flush=True
                    )
        share = reached / max(1, len(chosen))
        middle = statistics.median(seconds) if seconds else 0.0
        print(
            f"{folder.name}: {reached} of {len(chosen)} ({share:.0%}; {len(every)} in all), {middle:.1f} s each",
            flush=True,
        )
        for reason, count in reasons.most_common(12):
            print(f"    {count} {reason}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
