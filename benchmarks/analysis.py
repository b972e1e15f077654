"""Time of the static check and of the analysis against `ast.parse` of the same files, in turn, and growth with size."""

from __future__ import annotations

import argparse
import ast
import gc
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gradfix import registry
from gradfix.analysis.analyse import analyse
from gradfix.command_line import run
from gradfix.engine import engine
from gradfix.engine.policy import Policy
from gradfix.engine.prefilter import mentions_torch
from gradfix.errors import FileProblem
from gradfix.project import files
from gradfix.proof.plan import Loaded, Rules
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
    start = time.process_time()
    work()
    return time.process_time() - start


@dataclass
class Times:
    """CPU seconds of a library: parsing what imports torch, analysing that, and checking all of its files."""

    parse: float = 0.0
    analysis: float = 0.0
    check: float = 0.0

    def add(self, path: Path, source: Source | None, rules: Rules) -> None:
        """One file, each of the three after the other: what else the machine does slows all of them alike."""
        if source is not None:
            self.parse += seconds(partial(ast.parse, source.text))
            self.analysis += seconds(partial(analyse, source))
        self.check += seconds(partial(checked, path, rules))


def checked(path: Path, rules: Rules) -> None:
    """What `gradfix check` does with one file: read, prefilter, parse, analyse, find, build the fixes."""
    source, stamp = files.read(path)
    list(run.check(rules, [Loaded(str(path), source, stamp)]))


def fixed(source: Source) -> None:
    """What `gradfix diff` does with one file: find and fix to a fixed point."""
    engine.fix(source, registry.builtin(), Policy())


def torch_source(path: Path) -> Source | None:
    """The file, if it imports torch and parses."""
    data = path.read_bytes()
    try:
        source = Source.from_bytes(str(path), data) if mentions_torch(data) else None
        if source is not None:
            ast.parse(source.text)
    except (FileProblem, SyntaxError):
        return None
    return source


def library(root: str, rules: Rules, every: int) -> None:
    """Print the ratios of one library, or of every n-th of its files: medians over the rounds."""
    paths = sorted(Path(root).rglob("*.py"))[every - 1 :: every]
    sources = [torch_source(path) for path in paths]
    lines = sum(source.line_count for source in sources if source is not None)
    print(f"{root}: {sum(s is not None for s in sources)} of {len(paths)} files import torch, {lines} lines")
    rounds = [Times() for _ in range(ROUNDS)]
    for times in rounds:
        gc.collect()
        for path, source in zip(paths, sources, strict=True):
            times.add(path, source, rules)
    check = statistics.median(t.check / t.parse for t in rounds)
    analysis = statistics.median(t.analysis / t.parse for t in rounds)
    parse = statistics.median(t.parse for t in rounds)
    print(f"  parse {parse:.2f} s; x {analysis:.1f} parse and analysis; x {check:.1f} the whole check", flush=True)


def _sequence(count: int, line: str) -> str:
    return "import torch\n\n\ndef f(x):\n    h = x.exp()\n" + line * count + "    h[0] = 1\n    return h\n"


def _chain(count: int) -> str:
    return "import torch\n\n\ndef f0(x):\n    x[0] = 1\n    return x\n" + "".join(
        f"\n\ndef f{i}(x):\n    return f{i - 1}(x.exp())\n" for i in range(1, count)
    )


def _methods(count: int) -> str:
    head = "import torch\n\n\nclass A(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    body = "    def m{0}(self, x):\n        h = x.exp()\n        h[0] = {0}\n        return self.m{1}(h)\n\n"
    return (
        head
        + "        self.w = torch.nn.Parameter(torch.ones(3))\n\n"
        + "".join(body.format(i, i - 1) for i in range(count))
    )


def _aliases(count: int) -> str:
    lines = "".join(f"    a{i} = h[{i}:]\n" for i in range(count))
    return "import torch\n\n\ndef f(x):\n    h = x.exp()\n" + lines + "    h[0] = 1\n    return h, a0\n"


def _nested(count: int) -> str:
    loop = "    for i in range(3):\n        for j in range(3):\n            h[i, j] = h[j, i] * 2\n"
    return _sequence(count // 3, loop)


def _branches(count: int) -> str:
    head = "import torch\n\n\ndef f(c):\n    x = torch.randn(3, requires_grad=True)\n    t = x * 2\n"
    arm = "    if c[{0}]:\n        h{0} = x.exp()\n        h{0}[0] = 1\n        t = t + h{0}\n"
    return head + "".join(arm.format(i) for i in range(count // 4)) + "    t.sum().backward()\n"


def _entries(count: int) -> str:
    entries = "".join(f"        {i}: x * {i},\n" for i in range(count))
    return "import torch\n\n\ndef f(x):\n    d = {\n" + entries + "    }\n    d[0][0] = 1\n    return d\n"


def _findings(count: int) -> str:
    head = "import torch\n\n\ndef f(x):\n"
    return head + "".join(f"    h{i} = x.sigmoid()\n    h{i} += 1\n" for i in range(count // 2)) + "    return h0\n"


def _items(count: int) -> str:
    entries = "".join(f"        {i}: x * {i},\n" for i in range(count))
    writes = "".join(f"    d[{i}] += 1\n" for i in range(count // 4))
    return "import torch\n\n\ndef f(x):\n    d = {\n" + entries + "    }\n" + writes + "    return d\n"


SHAPES: dict[str, Callable[[int], str]] = {
    "small functions": lambda count: "import torch\n" + "".join(FUNCTION.format(i) for i in range(count // 8)),
    "one function": lambda count: _sequence(count, "    h = h * 2\n"),
    "writes in one function": lambda count: _sequence(count, "    h[0] = h[1] * 2\n"),
    "ifs one after the other": lambda count: _sequence(count // 2, "    if x.sum() > 0:\n        h = h + x\n"),
    "branches that each write a tensor of their own": _branches,
    "nested loops": _nested,
    "calls in a chain": lambda count: _chain(count // 4),
    "methods of one class": lambda count: _methods(count // 5),
    "a dict written out": _entries,
    "a dict whose entries are written": _items,
    "a write to each of many results": _findings,
    "views of one memory": _aliases,
}


def growth(sizes: tuple[int, ...], shapes: list[str]) -> None:
    """Print microseconds a line as texts grow, of the analysis and of fixing: flat is linear."""
    for name in shapes:
        told = []
        for size in sizes:
            source = Source.from_text("grown.py", SHAPES[name](size))
            times = (seconds(partial(analyse, source)), seconds(partial(fixed, source)))
            told.append(" + ".join(f"{time / source.line_count * 1e6:.0f}" for time in times))
        print(
            f"{name}, {' / '.join(map(str, sizes))} lines: {' / '.join(told)} us a line, to analyse + fix", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--every", type=int, default=1, help="take only every n-th file")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rules = Rules(registry.builtin(), Policy())
    for path in given.paths:
        library(path, rules, given.every)
    growth((1_000, 10_000, 100_000), ["small functions"])
    growth((500, 1_000, 2_000, 4_000), list(SHAPES)[1:])


if __name__ == "__main__":
    main()
