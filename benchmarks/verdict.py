"""The first verdict of a run against `import torch` in a fresh process, in turn; warm verdicts and runs a second."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from gradfix.backward.cases import Program
from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.backward.protocol import Request
from gradfix.backward.server import Server

ROUNDS = 5
WARM = 10
RUNS = 100
BEFORE = """import torch
x = torch.randn(3, requires_grad=True)
y = x.exp()
y[0] = 10
y.sum().backward()
"""
AFTER = BEFORE.replace("y[0]", "y = y.clone(); y[0]")


def verdict(checker: Checker) -> str:
    """One verdict on the program above."""
    line = frozenset({4})
    return checker.judge(Path("program.py"), BEFORE, AFTER, Program(), line, line).verdict.value


def runs_a_second() -> float:
    """Guarded runs of the program above in a warm server, one after the other."""
    request = Request(path="program.py", text=BEFORE, cwd=str(Path.cwd()), seconds=10.0, backwards=8)
    server = Server(sys.executable, Limits(), trust=False)
    try:
        server.run(request)
        start = time.perf_counter()
        for _ in range(RUNS):
            server.run(request)
        return RUNS / (time.perf_counter() - start)
    finally:
        server.close()


def main() -> None:
    imports, firsts, warm = [], [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        imports.append(time.perf_counter() - start)
        start = time.perf_counter()
        with Checker() as checker:
            assert verdict(checker) == "fixed"
            firsts.append(time.perf_counter() - start)
            start = time.perf_counter()
            for _ in range(WARM):
                verdict(checker)
            warm.append(WARM / (time.perf_counter() - start))
    ratios = [first / bare for first, bare in zip(firsts, imports, strict=True)]
    print(
        f"import torch {statistics.median(imports):.2f} s, first verdict {statistics.median(firsts):.2f} s, "
        f"median ratio {statistics.median(ratios):.2f}"
    )
    print(f"warm: {statistics.median(warm):.1f} verdicts a second, of 8 pairs of runs and their oracles each")
    print(f"warm: {runs_a_second():.1f} guarded runs a second")


if __name__ == "__main__":
    main()
