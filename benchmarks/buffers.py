"""Forward and backward of loops that fill a buffer: in place, as a list of slots, and with a clone before each write.

    python benchmarks/buffers.py [--rounds 15] [--slots 200]

Runs the forms in turn (A B C A B C …) and prints medians and their ratios to the form in place. The loops here are ones
that work in place, since there is nothing to compare with where backward fails.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from gradfix import edits, registry
from gradfix.engine import engine
from gradfix.engine.policy import Policy
from gradfix.findings import Applicability, Severity
from gradfix.source import Source

PROGRAMS = {
    "scalars": """
import torch


def f(x, n):
    out = torch.zeros(n)
    for i in range(n):
        out[i] = x[i, 0].exp()
    return out
""",
    "rows": """
import torch


def f(x, n):
    out = torch.zeros(n, x.shape[1])
    for i in range(n):
        out[i] = torch.tanh(x[i])
    return out
""",
    "columns": """
import torch


def f(x, n):
    out = torch.zeros(x.shape[1], n)
    for i in range(n):
        out[:, i] = torch.tanh(x[i])
    return out
""",
    "recurrence": """
import torch


def f(x, n):
    h = torch.zeros(n, x.shape[1])
    h[0] = x[0]
    for t in range(1, n):
        h[t] = h[t - 1] + torch.tanh(x[t])
    return h
""",
    "table": """
import torch


def f(x, n):
    m = int(n**0.5)
    D = torch.zeros(m, m)
    for i in range(1, m):
        for j in range(1, m):
            D[i, j] = x[i, 0] * x[j, 1] + D[i - 1, j - 1] + D[i, j - 1]
    return D
""",
    "mask": """
import torch


def f(x, n):
    y = torch.tanh(x) + 1
    for k in range(20):
        m = y > 1
        y[m] *= 0.9
    return y
""",
}

# What a caller tells of the arguments: without one, a slot may be given what has another shape or dtype.
CALLER = """

if __name__ == "__main__":
    f(torch.rand(200, 64, requires_grad=True), 200).sum().backward()
"""

Function = Callable[[torch.Tensor, int], torch.Tensor]


def function(text: str) -> Function:
    """`f` of a program."""
    names: dict[str, Function] = {}
    exec(compile(text, "<program>", "exec"), names)
    return names["f"]


def rewritten(text: str) -> str:
    """The program as gradfix writes it, harmless writes included."""
    source = Source.from_text("program.py", text)
    codemods = [codemod for codemod in registry.builtin() if codemod.code in ("GF202", "GF203", "GF204")]
    result = engine.fix(source, codemods, Policy(Severity.INFO, Applicability.UNSAFE))
    assert result.applied, "nothing was rewritten"
    return edits.apply(text, result.edits)


def cloned(text: str) -> str:
    """The program with the buffer cloned before each write, as the alternative fix would write it."""
    lines = []
    for line in text.splitlines():
        target = line.strip().split("[")[0]
        if (
            ("] = " in line or "] *= " in line)
            and target.isidentifier()
            and "for" not in line
            and "0] = x[0]" not in line
        ):
            lines.append(line[: len(line) - len(line.lstrip())] + f"{target} = {target}.clone()")
        lines.append(line)
    return "\n".join(lines) + "\n"


def seconds(f: Function, x: torch.Tensor, n: int) -> float:
    """One forward and backward."""
    leaf = x.clone().requires_grad_()
    start = time.perf_counter()
    f(leaf, n).sum().backward()
    return time.perf_counter() - start


def main() -> None:
    """Print one line a program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slots", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'program':12} {'in place':>10} {'list':>10} {'ratio':>6} {'clone':>10} {'ratio':>6}")
    for name, text in PROGRAMS.items():
        x = torch.rand(options.slots, 64)
        forms = [function(form) for form in (text, rewritten(text + CALLER), cloned(text))]
        for form in forms:
            seconds(form, x, options.slots)
        times: list[list[float]] = [[], [], []]
        for _ in range(options.rounds):
            for form, found in zip(forms, times, strict=True):
                found.append(seconds(form, x, options.slots))
        base, listed, copied = map(statistics.median, times)
        print(
            f"{name:12} {base * 1e3:7.2f} ms {listed * 1e3:7.2f} ms {listed / base:6.2f} "
            f"{copied * 1e3:7.2f} ms {copied / base:6.2f}"
        )


if __name__ == "__main__":
    main()
