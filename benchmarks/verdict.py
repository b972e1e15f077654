"""The first verdict of a run against `import torch` in a fresh process, in turn; warm verdicts and runs a second."""

from __future__ import annotations

import contextlib
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gradfix.backward.cases import Program
from gradfix.backward.checker import Checker
from gradfix.backward.limits import Limits
from gradfix.backward.server import Server
from gradfix.backward.worker.requests import Request

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


def processor_time() -> float:
    """Seconds of the processor that a guarded run of the program above takes, with all that its server does for it."""
    request = Request(path="program.py", text=BEFORE, cwd=str(Path.cwd()), seconds=10.0, backwards=8)
    spent = []
    for runs in (1, RUNS + 1):
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        server = Server(sys.executable, Limits(), trust=False)
        for _ in range(runs):
            server.run(request)
        server.close()
        spent.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
    return (spent[1] - spent[0]) / RUNS


def runs_a_second(servers: int) -> float:
    """Guarded runs of the program above a second, in so many warm servers side by side."""
    request = Request(path="program.py", text=BEFORE, cwd=str(Path.cwd()), seconds=10.0, backwards=8)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(servers) as threads:
        each = [Server(sys.executable, Limits(), trust=False) for _ in range(servers)]
        for server in each:
            stack.callback(server.close)
            server.run(request)
        start = time.perf_counter()
        list(threads.map(lambda server: [server.run(request) for _ in range(RUNS)], each))
        return servers * RUNS / (time.perf_counter() - start)


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
    print(f"warm: {statistics.median(warm):.1f} verdicts a second, of nine pairs of runs and their oracles each")
    print(f"a guarded run takes {1e3 * processor_time():.1f} ms of one core")
    one, two = zip(*((runs_a_second(1), runs_a_second(2)) for _ in range(ROUNDS)), strict=True)
    ratio = statistics.median(b / a for a, b in zip(one, two, strict=True))
    print(
        f"warm: {statistics.median(one):.1f} guarded runs a second in one server (best {max(one):.1f}), "
        f"{statistics.median(two):.1f} in two (best {max(two):.1f}), median ratio {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
