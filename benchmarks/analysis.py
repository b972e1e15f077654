"""Time of the analysis against `ast.parse` of the same texts, in turn, and its growth with the size of a file."""

from __future__ import annotations

import ast
import gc
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gradfix.analysis.analyse import analyse
from gradfix.errors import FileProblem
from gradfix.prefilter import mentions_torch
from gradfix.source import Source

ROUNDS = 3
FUNCTION = """def f{0}(x):
    h = x.exp()
    h[0] = {0}
    for t in range(10):
        h = h * 2
    return h.sum()


"""


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def sources(paths: list[str]) -> list[Source]:
    """The files below `paths` that import torch and parse."""
    found = []
    for path in (p for name in paths for p in sorted(Path(name).rglob("*.py"))):
        data = path.read_bytes()
        if mentions_torch(data):
            try:
                source = Source.from_bytes(str(path), data)
                ast.parse(source.text)
            except (FileProblem, SyntaxError):
                continue
            found.append(source)
    return found


def ratio(texts: list[Source]) -> tuple[float, float, float]:
    """Median seconds of parsing, of the analysis (its own parse included), and the median of their ratios."""
    pairs = [
        (seconds(lambda: [ast.parse(s.text) for s in texts]), seconds(lambda: [analyse(s) for s in texts]))
        for _ in range(ROUNDS)
    ]
    parse, analysis = zip(*pairs, strict=True)
    return statistics.median(parse), statistics.median(analysis), statistics.median(a / p for p, a in pairs)


def main(paths: list[str]) -> None:
    warnings.simplefilter("ignore")
    for path in paths:
        texts = sources([path])
        print(f"{path}: {len(texts)} files, {sum(s.line_count for s in texts)} lines")
        parse, analysis, times = ratio(texts)
        print(f"  parse {parse:.2f} s, analysis {analysis:.2f} s, median ratio {times:.1f}")
    for count in (125, 1_250, 12_500):
        text = "import torch\n" + "".join(FUNCTION.format(i) for i in range(count))
        source = Source.from_text("grown.py", text)
        each = seconds(partial(analyse, source)) / source.line_count
        print(f"{source.line_count} lines: {each * 1e6:.1f} us a line")


if __name__ == "__main__":
    main(sys.argv[1:])
